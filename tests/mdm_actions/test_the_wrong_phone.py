"""A phone that was named by mistake is let go, and its line works on, whatever it answers afterwards."""

from datetime import UTC, datetime

import pytest

from shared.events.mdm_actions import WipeConfirmed, WipeFailed, WipeSent
from shared.events.payload import Payload
from shared.events.reporter import LossReportAmended
from tests.mdm_actions.bench import CALLBACK, Company
from tests.mdm_actions.conftest import Serving


@pytest.mark.parametrize(("errors", "told"), [({}, WipeConfirmed), ({"EraseDevice": 12021}, WipeFailed)])
async def test_its_line_is_not_stopped_when_its_wipe_could_not_be_taken_back_in_time(
    serving: Serving, company: Company, errors: dict[str, int], told: type[Payload]
) -> None:
    async with serving() as service:
        async with service.timers():
            incident, device, phone = await service.lost_phone(company)
            other = company.row("A-2")
            await service.import_(company, [company.row("A-9"), other])
            await phone.tell("offline")
            await phone.behave(errors=errors)
            await service.say(company.order(incident, device), incident, company.name)
            await service.told(incident, WipeSent)
        amended = LossReportAmended(
            device=company.device(other), callback=CALLBACK, changed=["device"], known_at=datetime.now(UTC)
        )
        # Without timers nothing is taken back before the phone has answered.
        await service.say(amended, incident, company.name)
        await phone.tell("online")
        await service.told(incident, told)
        assert "suspend_line" not in [kind for kind, _ in await service.commands(incident)]
