"""Whatever course a case takes, the rules of containment hold. Drills, so that hundreds of steps take seconds."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.events import Event
from shared.events.mdm_actions import CarrierSuspended, SuspensionTrigger
from shared.events.payload import Answer, Payload
from shared.events.reporter import (
    ContainmentStep,
    DeviceRecovered,
    IncidentCancelled,
    IncidentClosed,
    IncidentReopened,
    LineResumptionRequested,
    LineSuspensionRequested,
    LossReportAmended,
    ReportVerified,
    StepRequested,
    WipeWithdrawn,
)
from shared.messaging import Timer
from tests.mdm_actions.bench import CALLBACK, Company, Service, lost, new_incident
from tests.mdm_actions.conftest import Serving

_PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"

_SAYINGS: dict[str, Callable[[], Payload]] = {
    "verified": lambda: ReportVerified(method="call_back", verified_at=datetime.now(UTC)),
    "recovered": lambda: DeviceRecovered(
        recovered_at=datetime.now(UTC), from_whom="police", identity_checked=Answer.YES
    ),
    "cancelled": lambda: IncidentCancelled(reason="found"),
    "closed": lambda: IncidentClosed(outcome="written_off", prevention_actions=0),
    "reopened": lambda: IncidentReopened(reason="again"),
    "stop_line": lambda: LineSuspensionRequested(reason="misuse_of_line", named_by=_PERSON),
    "resume_line": lambda: LineResumptionRequested(reason="wanted"),
    "lock": lambda: StepRequested(step=ContainmentStep.LOCK, reason="desk"),
    "locate": lambda: StepRequested(step=ContainmentStep.LOCATE, reason="desk"),
    "unlock": lambda: StepRequested(step=ContainmentStep.UNLOCK, reason="desk"),
}
_STEP = st.sampled_from([*_SAYINGS, "wipe", "withdraw", "fire", "fire", "fire"])


async def _fire(service: Service, incident: str) -> None:
    """Let the next timer of this incident fire, whenever its time would have been."""
    row = await service.kit.pool.fetchrow(
        "UPDATE timer SET attempt = attempt + 1 WHERE (subject, name) IN (SELECT subject, name FROM timer "
        "WHERE subject = $1 ORDER BY due_at LIMIT 1) RETURNING subject, name, due_at, attempt, payload, armed",
        incident,
    )
    if row is not None:
        timer = Timer(**dict(row))
        await service.parts.timers[timer.kind](timer)


@dataclass
class _Told:
    """An event of this service, and which phone the case was about when it was told."""

    event: Event
    lost: str


async def _course(service: Service, company: Company, devices: list[str], door: str, steps: list[str]) -> list[_Told]:
    """Take the steps; `devices`: of these the first was reported, and each time that it turns out to be another one,
    the next."""
    incident, version, nonce = new_incident(), 1, "0" * 32
    told: list[_Told] = []

    async def say(payload: Payload) -> None:
        await service.say(payload, incident, company.name, drill=True)

    await say(lost(devices[0], door=door))
    for step in steps:
        match step:
            case "fire":
                await _fire(service, incident)
            case "wipe":
                order = company.order(incident, devices[0], version=version, drill=True)
                nonce = order.statement.nonce
                await say(order)
            case "withdraw":
                version += 1
                await say(WipeWithdrawn(nonce=nonce, reason="wait", decision_version=version))
            case "other_phone":
                version += 1
                devices = [*devices[1:], devices[0]]
                now = datetime.now(UTC)
                await say(LossReportAmended(device=devices[0], callback=CALLBACK, changed=["device"], known_at=now))
            case _:
                version += step == "recovered"
                await say(_SAYINGS[step]())
        events = await service.events(incident)
        told += [_Told(event, devices[0]) for event in events[len(told) :]]
    return told


def _first(names: list[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


type Scene = tuple[Service, dict[str, str], dict[str, str]]


@pytest.fixture
async def scene(serving: Serving, company: Company) -> AsyncIterator[Scene]:
    """The service without its timers, a company phone and a personal one."""
    async with serving() as service:
        ours, personal = company.row("A-1"), company.row("A-2", ownership="personal")
        await service.import_(company, [ours, personal])
        yield service, ours, personal


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(_STEP, max_size=14), door=st.sampled_from(["signed_in", "emergency"]), is_ours=st.booleans())
async def test_no_course_breaks_the_order_of_containment(
    scene: Scene, company: Company, *, steps: list[str], door: str, is_ours: bool
) -> None:
    service, ours, personal = scene
    await service.kit.pool.execute("DELETE FROM nonce")
    await service.kit.pool.execute("DELETE FROM breaker")
    told = await _course(service, company, [company.device(ours if is_ours else personal)], door, steps)
    events = [one.event for one in told]
    names = [event.entry.name for event in events if event.entry]
    if not is_ours:
        assert not {"WipeSent", "WipeConfirmed"} & set(names)
    if door == "emergency" and "verified" not in steps:
        assert not {"DeviceLocked", "DeviceLocated", "SessionsRevoked"} & set(names)
    assert _first(names, "DeviceLocked") <= _first(names, "DeviceLocated")
    assert names.count("WipeConfirmed") <= names.count("WipeSent") <= steps.count("wipe")
    assert names.count("CarrierResumed") <= names.count("CarrierSuspended")
    for place, event in enumerate(events):
        if event.envelope.type == CarrierSuspended.event_type:
            _may_stop(CarrierSuspended.read(event.value), names[:place], steps)
    assert [event.envelope.sequence for event in events] == list(range(1, len(events) + 1))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(st.one_of(_STEP, st.sampled_from(["other_phone", "wipe", "stop_line"])), max_size=14))
@example(steps=["stop_line", "other_phone", "fire", "fire", "fire", "fire", "fire"])
@example(steps=["wipe", "other_phone", "fire", "fire", "fire", "fire", "fire"])
async def test_only_the_line_of_the_phone_that_is_lost_is_stopped(
    scene: Scene, company: Company, *, steps: list[str]
) -> None:
    service, ours, other = scene
    await service.kit.pool.execute("DELETE FROM nonce")
    await service.kit.pool.execute("DELETE FROM breaker")
    devices = [company.device(ours), company.device(other)]
    for told in await _course(service, company, devices, "signed_in", steps):
        if told.event.envelope.type == CarrierSuspended.event_type:
            assert CarrierSuspended.read(told.event.value).device == told.lost


def _may_stop(suspended: CarrierSuspended, before: list[str], steps: list[str]) -> None:
    match suspended.trigger:
        case SuspensionTrigger.WIPE_CONFIRMED:
            assert "WipeConfirmed" in before
        case SuspensionTrigger.WIPE_FAILED:
            assert "WipeFailed" in before
        case SuspensionTrigger.WIPE_EXPIRED:
            assert "WipeExpired" in before
        case SuspensionTrigger.TIMER:
            assert "fire" in steps
        case _:
            assert "stop_line" in steps
