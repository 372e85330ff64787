"""A wipe leaves only for two signatures that hold here and now, and is taken back when they no longer do."""

import asyncio
from typing import Any

import pytest

from services.mdm_actions.approvers import ApproversFileError
from shared.events.mdm_actions import (
    BreakerOpened,
    BreakerReset,
    CarrierSuspended,
    CommandRejected,
    DeviceLocated,
    SuspensionTrigger,
    WipeConfirmed,
    WipeDisarmed,
    WipeExpired,
    WipeFailed,
    WipeSent,
)
from shared.events.payload import Ownership
from shared.events.reporter import LossReportAmended, WipeWithdrawn
from tests.mdm_actions.bench import CALLBACK, Company, Service, eventually, lost, new_incident
from tests.mdm_actions.conftest import Serving, approvers_file
from tests.stack.installed import Installed


async def _refused(service: Service, incident: str, count: int = 1) -> str:
    return (await service.told(incident, CommandRejected, count)).reason


async def test_an_order_counts_once_however_often_it_is_sent(service: Service, company: Company) -> None:
    incident, device, phone = await service.lost_phone(company)
    await phone.tell("offline")
    order = company.order(incident, device)
    await service.say(order, incident, company.name)
    await service.told(incident, WipeSent)
    await service.say(order, incident, company.name)
    assert await _refused(service, incident) == "nonce_already_used"
    await service.say(company.order(incident, device), incident, company.name)
    assert await _refused(service, incident, 2) == "wipe_already_open"
    assert [kind for kind, _ in await service.commands(incident)].count("wipe") == 1


async def test_a_forged_order_reaches_no_phone(service: Service, company: Company, other_company: Company) -> None:
    incident, device, phone = await service.lost_phone(company)
    strangers = other_company.order(incident, device, organisation=company.name)
    await service.say(strangers, incident, company.name)
    assert await _refused(service, incident) == "key_unknown"
    other_case = company.order(new_incident(), device)
    await service.say(other_case, incident, company.name)
    assert await _refused(service, incident, 2) == "incident_differs"
    assert "EraseDevice" not in await phone.obeyed()
    assert "wipe" not in [kind for kind, _ in await service.commands(incident)]


async def test_a_personal_phone_is_never_wiped_whatever_is_signed(service: Service, company: Company) -> None:
    row = company.row("A-1", ownership="personal")
    await service.import_(company, [row])
    phone = await service.world.phone(row["udid"])
    incident, device = new_incident(), company.device(row)
    await service.say(lost(device), incident, company.name)
    await eventually(phone.obeyed, lambda done: done == ["DeviceLock"])
    for count, ownership in enumerate((Ownership.COMPANY, Ownership.PERSONAL), start=1):
        await service.say(company.order(incident, device, ownership=ownership), incident, company.name)
        assert await _refused(service, incident, count) == "personal_device"
    assert await phone.obeyed() == ["DeviceLock"]


async def test_a_wipe_that_is_withdrawn_is_never_handed_out(service: Service, company: Company) -> None:
    incident, device, phone = await service.lost_phone(company)
    await phone.tell("offline")
    order = company.order(incident, device)
    await service.say(order, incident, company.name)
    await service.told(incident, WipeSent)
    withdrawn = WipeWithdrawn(nonce=order.statement.nonce, reason="device_found", decision_version=2)
    await service.say(withdrawn, incident, company.name)
    disarmed = await service.told(incident, WipeDisarmed)
    assert disarmed.method == "queue_row_deactivated"
    assert "suspend_line" not in [kind for kind, _ in await service.commands(incident)], "nothing was wiped"
    before = await phone.obeyed()
    await phone.tell("online")
    await service.ring(incident, "locate")
    await eventually(phone.obeyed, lambda done: len(done) > len(before))
    assert "EraseDevice" not in await phone.obeyed()
    # A signature from before the withdrawal is worth nothing afterwards; one for the new decision is.
    await service.say(company.order(incident, device), incident, company.name)
    assert await _refused(service, incident) == "decision_version_stale"
    await service.say(company.order(incident, device, version=2), incident, company.name)
    await service.told(incident, WipeConfirmed)


async def test_another_phone_on_the_report_makes_the_signatures_stale(service: Service, company: Company) -> None:
    incident, device, phone = await service.lost_phone(company)
    other = company.row("A-2")
    await service.import_(company, [company.row("A-9"), other])
    other_phone = await service.world.phone(other["udid"])
    await phone.tell("offline")
    await service.say(company.order(incident, device), incident, company.name)
    await service.told(incident, WipeSent)
    amended = LossReportAmended(
        device=company.device(other), callback=CALLBACK, changed=["device"], known_at=lost(None).reported_at
    )
    await service.say(amended, incident, company.name)
    await service.told(incident, WipeDisarmed)
    await phone.tell("online")
    # The wrong phone is let go, the right one is locked.
    await eventually(phone.obeyed, lambda done: done[-1:] == ["DisableLostMode"])
    await eventually(other_phone.obeyed, lambda done: done[:2] == ["EnableLostMode", "DeviceLocation"])
    assert not (await phone.state())["erased"]


async def test_an_order_that_ran_out_is_taken_back_and_the_line_stops(service: Service, company: Company) -> None:
    incident, device, phone = await service.lost_phone(company)
    await phone.tell("offline")
    await service.say(company.order(incident, device), incident, company.name)
    await service.told(incident, WipeSent)
    await service.ring(incident, "expire")
    await service.told(incident, WipeExpired)
    suspended = await service.told(incident, CarrierSuspended)
    assert suspended.trigger is SuspensionTrigger.WIPE_EXPIRED
    await eventually(lambda: service.waiting(incident), lambda timers: "disarm" not in timers)
    await phone.tell("online")
    await asyncio.sleep(0.5)  # several polls of the phone: an erase would have come by now
    assert "EraseDevice" not in await phone.obeyed()


async def test_enrolling_again_drops_the_wipe_and_says_so(service: Service, company: Company) -> None:
    incident, device, phone = await service.lost_phone(company)
    await phone.tell("offline")
    await service.say(company.order(incident, device), incident, company.name)
    await service.told(incident, WipeSent)
    await phone.tell("enrol")
    await phone.tell("online")
    failed = await service.told(incident, WipeFailed)
    assert failed.reason in ("re_enrolled", "dropped_from_queue")
    assert (await service.told(incident, CarrierSuspended)).trigger is SuspensionTrigger.WIPE_FAILED


async def test_a_phone_that_erases_itself_without_a_word_is_not_called_wiped(
    service: Service, company: Company
) -> None:
    incident, device, phone = await service.lost_phone(company)
    await phone.behave(vanish_on_erase=True)
    await service.say(company.order(incident, device), incident, company.name)
    await service.told(incident, WipeSent)
    await eventually(phone.state, lambda state: state["erased"])
    assert ("wipe", "queued") in await service.commands(incident)
    assert "WipeConfirmed" not in await service.names(incident)


async def test_too_many_wipes_open_the_breaker_until_two_people_reset_it(service: Service, company: Company) -> None:
    rows = [company.row(f"A-{number}") for number in range(7)]
    await service.import_(company, rows)
    for row in rows[:6]:
        await (await service.world.phone(row["udid"])).tell("offline")
    incidents = []
    for row in rows[:6]:
        incident, device = new_incident(), company.device(row)
        incidents.append((incident, device))
        await service.say(lost(device), incident, company.name)
        await service.say(company.order(incident, device), incident, company.name)
    last, device = incidents[-1]
    assert await _refused(service, last) == "breaker_open"
    opened = await service.told(f"org-{company.name}", BreakerOpened)
    assert (opened.reason, opened.count, opened.limit) == ("wipes_per_window", 6, 5)
    for incident, _ in incidents[:-1]:
        await service.told(incident, WipeSent)

    body = {"reason": "exercise_ended"}
    first = await service.call("POST", "/v1/breaker/reset", company.name, "approver", sub="one", json=body)
    assert first.json()["open"]
    again = await service.call("POST", "/v1/breaker/reset", company.name, "approver", sub="one", json=body)
    assert again.json()["open"]
    second = await service.call("POST", "/v1/breaker/reset", company.name, "incident_lead", sub="two", json=body)
    assert not second.json()["open"]
    reset = await service.told(f"org-{company.name}", BreakerReset)
    assert len(reset.reset_by) == 2
    await service.say(company.order(last, device), last, company.name)
    await service.told(last, WipeSent)


async def test_a_drill_touches_no_phone_and_trips_no_real_breaker(service: Service, company: Company) -> None:
    row = company.row("A-1")
    await service.import_(company, [row])
    phone = await service.world.phone(row["udid"])
    incident, device = new_incident(), company.device(row)
    await service.say(lost(device), incident, company.name, drill=True)
    await service.say(company.order(incident, device, drill=True), incident, company.name, drill=True)
    await service.told(incident, WipeConfirmed)
    await service.told(incident, CarrierSuspended)
    assert all(event.envelope.drill for event in await service.events(incident))
    assert await phone.obeyed() == []
    assert await service.world.journal("carrier", row["sim_id"]) == []
    # A real loss of the same phone starts from the beginning.
    real = new_incident()
    await service.say(lost(device), real, company.name)
    await service.told(real, DeviceLocated)
    await service.say(company.order(real, device), real, company.name)
    await service.told(real, CarrierSuspended)


async def test_a_broken_approvers_file_stops_every_wipe_and_nothing_else(
    service: Service, company: Company, installation: Installed
) -> None:
    incident, device, _ = await service.lost_phone(company)
    approvers_file(installation).write_text("{")
    await service.say(company.order(incident, device), incident, company.name)
    assert await _refused(service, incident) == "approvers_file_broken"


async def test_the_service_does_not_start_on_a_broken_approvers_file(serving: Serving, installation: Installed) -> None:
    approvers_file(installation).write_text('{"desk-1": {"person": "somebody"}}')
    with pytest.raises(ApproversFileError, match="desk-1"):
        async with serving():
            pass


async def test_a_phone_set_up_anew_since_the_order_is_left_alone(serving: Serving, company: Company) -> None:
    async with serving() as service:
        async with service.timers():
            incident, device, phone = await service.lost_phone(company)
        # Two people signed; before the command leaves, the phone is set up anew by somebody.
        await service.say(company.order(incident, device), incident, company.name)
        await asyncio.sleep(1.1)  # NanoMDM keeps the moment of an enrolment to the second
        await phone.tell("enrol")
        async with service.timers():
            failed: Any = await service.told(incident, WipeFailed)
            assert failed.reason == "re_enrolled"
        assert "EraseDevice" not in await phone.obeyed()


async def test_a_phone_that_becomes_personal_while_its_wipe_is_armed_is_not_wiped(
    service: Service, company: Company
) -> None:
    row = company.row("A-1")
    await service.import_(company, [row])
    phone = await service.world.phone(row["udid"])
    incident, device = new_incident(), company.device(row)
    await service.say(lost(device), incident, company.name)
    await service.told(incident, DeviceLocated)
    await phone.tell("offline")
    await service.say(company.order(incident, device), incident, company.name)
    await service.told(incident, WipeSent)
    await service.import_(company, [row | {"ownership": "personal"}])
    await service.told(incident, WipeDisarmed)
    before = await phone.obeyed()
    await phone.tell("online")
    await service.ring(incident, "locate")
    await eventually(phone.obeyed, lambda done: len(done) > len(before))
    assert "EraseDevice" not in await phone.obeyed()
