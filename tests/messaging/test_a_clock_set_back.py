"""A clock that is set back moves nothing: times and timers go by the database's, order is by sequence and offset."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from shared.events import Event, Reading, Signer
from shared.events.reporter import IncidentCancelled
from shared.messaging import Scope, Timer, Unit, Units, hear
from shared.messaging.clock import DatabaseClock, running
from shared.messaging.heard import Verdict
from shared.messaging.lease import Holder
from shared.messaging.timer import Timers
from tests.messaging.conftest import Bus, until


class _Heard:
    """Keeps the verdict on each event, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str, Verdict]] = []

    async def take(self, unit: Unit, readings: Sequence[Reading]) -> None:
        events = [reading for reading in readings if isinstance(reading, Event)]
        for event, verdict in zip(events, await hear(unit, events), strict=True):
            self.events.append((event.envelope.sequence, event.envelope.id, verdict))


async def test_events_stay_in_their_order_and_are_all_heard_when_the_clock_is_set_back(bus: Bus, incident: str) -> None:
    moment = datetime.now(UTC)
    clock = DatabaseClock(wall=lambda: moment)
    units = Units(bus.pools["reporter"], Signer("reporter", bus.keys["reporter"]), log_topic=bus.topic, clock=clock)
    ids = []
    for back in (0, 1, 26, 2):
        moment = datetime.now(UTC) - timedelta(hours=back)
        async with units.begin() as unit:
            scope = Scope(incident, "acme-kk")
            ids.append(await unit.emit(IncidentCancelled(reason="false_alarm"), scope, actor="service/reporter"))
    heard = _Heard()

    async def all_heard() -> bool:
        return len(heard.events) >= len(ids)

    async with bus.relaying(), bus.hearing(heard):
        await until(all_heard, "four events")
    assert heard.events == [(at, event_id, Verdict.NEXT) for at, event_id in enumerate(ids, 1)]


@pytest.mark.parametrize("wrong_by", [timedelta(hours=-1), timedelta(hours=1)], ids=["set back", "set forward"])
async def test_timers_fire_when_they_are_due_whatever_the_clock_of_the_process_says(
    bus: Bus, incident: str, wrong_by: timedelta
) -> None:
    clock = DatabaseClock(wall=lambda: datetime.now(UTC) + wrong_by)
    units = Units(bus.pools["reporter"], Signer("reporter", bus.keys["reporter"]), log_topic=bus.topic, clock=clock)
    moments: list[datetime] = []

    async def again(timer: Timer) -> None:
        async with units.begin() as unit:
            moments.append(unit.now)
            await unit.finish(timer)

    async def fired() -> bool:
        return bool(moments)

    async def looked() -> bool:
        return abs(units.now() - datetime.now(UTC)) < timedelta(seconds=1)

    timers = asyncio.create_task(Timers(units, {"t": again}, bus.health, Holder(bus.dsn, "reporter")).run())
    try:
        await until(looked, "the process goes by the database's clock")
        async with units.begin() as unit:
            due = unit.now + timedelta(seconds=0.3)
            await unit.arm(incident, "t:x", due)
        await until(fired, "the timer fired")
    finally:
        timers.cancel()
        await asyncio.gather(timers, return_exceptions=True)
    # The process knows the database's clock as well as the database is quick to answer.
    assert timedelta(seconds=-0.2) <= moments[0] - due < timedelta(seconds=5)


def test_an_answer_that_came_late_does_not_move_a_clock_that_it_does_not_contradict() -> None:
    clock = DatabaseClock()
    true = datetime(2026, 11, 24, 14, 40, tzinfo=UTC)
    began = running()
    clock.set(true, began)
    before = clock() - running()
    asked = running() - timedelta(seconds=3)
    clock.set(true + (asked - began), asked)
    assert clock() - running() - before < timedelta(milliseconds=1)


def test_a_clock_that_an_answer_contradicts_moves_as_far_as_it_must() -> None:
    clock = DatabaseClock()
    true = datetime(2026, 11, 24, 14, 40, tzinfo=UTC)
    clock.set(true, running())
    clock.set(true + timedelta(hours=1), running())
    assert abs(clock() - true - timedelta(hours=1)) < timedelta(milliseconds=100)
