"""A phone that has not fetched its lock is pushed again: the first push may have been lost on its way."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from services.mdm_actions.domain.command import Kind, State
from services.mdm_actions.store import Command
from services.mdm_actions.waking import is_to_be_woken
from tests.mdm_actions.bench import Company, Service, eventually, lost, new_incident
from tests.mdm_actions.conftest import Serving

NOW = datetime(2026, 11, 25, 23, 40, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class _Overheard(httpx2.AsyncBaseTransport):
    """Keeps the devices of each push that NanoMDM is asked for."""

    def __init__(self, *, fails: bool = False) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._fails = fails
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.pushed: list[list[str]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path.startswith("/v1/push/"):
            self.pushed.append(request.url.path.removeprefix("/v1/push/").split(","))
            await self.goes_on.wait()
            if self._fails:
                raise httpx2.ReadTimeout("the push service is silent")
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def until_pushed(self, udid: str, times: int) -> None:
        async def so_often() -> int:
            return sum(udid in udids for udids in self.pushed)

        await eventually(so_often, lambda found: found >= times)


async def test_it_is_pushed_at_each_look_until_it_has_answered(serving: Serving, company: Company) -> None:
    overheard = _Overheard()
    row, incident = company.row("A-1"), new_incident()
    async with httpx2.AsyncClient(transport=overheard) as outward, serving(outward=outward) as service:
        await service.import_(company, [row])
        phone = await service.world.phone(row["udid"])
        await phone.tell("offline")
        async with service.timers():
            await service.say(lost(company.device(row)), incident, company.name)
            await service.until_command(incident, "lost_mode", "queued")
            await overheard.until_pushed(row["udid"], 2)
            await phone.tell("online")
            await service.until_command(incident, "lost_mode", "succeeded")


async def test_a_slow_push_keeps_no_look_waiting_and_the_next_one_is_for_all(
    serving: Serving, company: Company
) -> None:
    overheard = _Overheard()
    overheard.goes_on.clear()
    rows = [company.row(f"A-{number}") for number in range(3)]
    async with httpx2.AsyncClient(transport=overheard) as outward, serving(outward=outward) as service:
        await service.import_(company, rows)
        async with service.timers():
            for row in rows:
                await (await service.world.phone(row["udid"])).tell("offline")
                await service.say(lost(company.device(row)), new_incident(), company.name)

            async def looked_at_often() -> int:
                found: int = await service.kit.pool.fetchval(
                    "SELECT count(*) FROM timer WHERE name LIKE 'watch:%' AND (payload->>'pause')::float8 = 0.2"
                )
                return found

            await eventually(looked_at_often, lambda found: found >= len(rows))
            assert len(overheard.pushed) == 1
            overheard.goes_on.set()

            async def at_once() -> set[str]:
                return set(overheard.pushed[1]) if len(overheard.pushed) > 1 else set()

            waited = {row["udid"] for row in rows} - set(overheard.pushed[0])
            await eventually(at_once, lambda udids: udids >= waited)


async def test_a_push_service_that_is_silent_keeps_no_order_from_leaving(serving: Serving, company: Company) -> None:
    overheard = _Overheard(fails=True)
    rows = [company.row("A-1"), company.row("A-2")]
    async with httpx2.AsyncClient(transport=overheard) as outward, serving(outward=outward) as service:
        await service.import_(company, rows)
        sleeping, other = [await service.world.phone(row["udid"]) for row in rows]
        await sleeping.tell("offline")
        async with service.timers():
            await service.say(lost(company.device(rows[0])), new_incident(), company.name)
            await overheard.until_pushed(sleeping.udid, 2)
            incident = new_incident()
            await service.say(lost(company.device(rows[1])), incident, company.name)
            await service.until_command(incident, "lost_mode", "succeeded")
            assert not any((await service.kit.health.ready()).values()), "orders go out all the same"
        assert await other.obeyed()


async def test_its_lock_waits_for_years_and_is_obeyed_when_it_comes_back(service: Service, company: Company) -> None:
    row, incident = company.row("A-1"), new_incident()
    await service.import_(company, [row])
    phone = await service.world.phone(row["udid"])
    await phone.tell("offline")
    async with service.timers():
        await service.say(lost(company.device(row)), incident, company.name)
        await service.until_command(incident, "lost_mode", "queued")
        ends = await service.kit.pool.fetchval(
            "SELECT expires_at - ordered_at FROM command WHERE incident = $1 AND kind = 'lost_mode'", incident
        )
        assert ends > timedelta(days=5 * 365)
        await phone.tell("online")
        await service.until_command(incident, "lost_mode", "succeeded")


def _command(since: timedelta, *, kind: Kind = Kind.LOST_MODE, state: State = State.QUEUED) -> Command:
    return Command(
        command=str(uuid.uuid4()), incident=new_incident(), organisation="acme-kk", drill=False, kind=kind, state=state,
        provider="nanomdm", target="A-1", device=None, line=None, holder=None, statement=None, trigger=None,
        reason=None, cause=None, traceparent=None, ordered_at=NOW - since, expires_at=NOW + timedelta(days=30),
        sent_at=None, ended_at=None, disarming_at=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("since", "pause", "woken"),
    [
        (timedelta(seconds=5), timedelta(seconds=5), True),
        (9 * MINUTE, MINUTE, True),
        (11 * MINUTE, MINUTE, False),
        (60.5 * MINUTE, MINUTE, True),
        (61.5 * MINUTE, MINUTE, False),
        (timedelta(hours=30, seconds=20), MINUTE, True),
    ],
    ids=["at first", "nine minutes", "eleven minutes", "an hour", "after it", "next day"],
)
def test_it_is_pushed_often_at_first_and_then_once_an_hour(since: timedelta, pause: timedelta, *, woken: bool) -> None:
    assert is_to_be_woken(_command(since), NOW, pause) is woken


@pytest.mark.parametrize(
    "state", [state for state in State if state is not State.QUEUED], ids=lambda state: state.value
)
def test_only_a_phone_that_has_not_fetched_it_is_pushed(state: State) -> None:
    assert not is_to_be_woken(_command(timedelta(seconds=5), state=state), NOW, MINUTE)


def test_nobody_pushes_a_line_or_an_account() -> None:
    for kind in (Kind.SUSPEND_LINE, Kind.RESUME_LINE, Kind.REVOKE_SESSIONS):
        assert not is_to_be_woken(_command(timedelta(seconds=5), kind=kind), NOW, MINUTE)
