"""A database's clock that was set back delays nothing that was about to come, and hurries nothing that came since.

The clock of a server cannot be set under a test: what was seen of it is set forward in its place, by as much.
"""

import asyncio
from datetime import UTC, datetime, timedelta

from shared.messaging import Timer
from shared.messaging.lease import Holder
from shared.messaging.set_back import follow_the_clock
from shared.messaging.timer import Timers
from tests.messaging.conftest import Bus

_BACK = timedelta(hours=2)
_SET = "INSERT INTO timer (subject, name, due_at) VALUES ($1, $2, now() + $3)"
_LEASED = "UPDATE timer SET due_at = now() + $2, held_until = now() + $2, attempt = 1 WHERE name = $1"
_SEEN = "UPDATE clock SET seen_at = clock_timestamp() + $1"
_LEFT = "SELECT due_at - now() AS left, held_until = due_at AS leased FROM timer WHERE name = $1"


async def _set(bus: Bus, subject: str, name: str, due_in: timedelta, *, lease: timedelta | None = None) -> None:
    """A timer that is due so long from now, and then leased until so long from now."""
    await bus.pools["reporter"].execute(_SET, subject, name, due_in)
    if lease is not None:
        await bus.pools["reporter"].execute(_LEASED, name, lease)


async def _was_seen(bus: Bus, back: timedelta) -> None:
    """The clock was seen, and then set back."""
    assert not await follow_the_clock(bus.pools["reporter"])
    await bus.pools["reporter"].execute(_SEEN, back)


async def _left(bus: Bus, name: str) -> tuple[timedelta, bool]:
    """How long until it is due, and whether it is leased until then."""
    row = await bus.pools["reporter"].fetchrow(_LEFT, name)
    assert row is not None
    return row["left"], bool(row["leased"])


def _near(found: timedelta, wanted: timedelta) -> bool:
    return abs(found - wanted) < timedelta(seconds=10)


async def test_what_was_about_to_come_comes_all_the_same(bus: Bus, incident: str) -> None:
    fired = asyncio.Event()
    units = bus.units("reporter")

    async def again(timer: Timer) -> None:
        async with units.begin() as unit:
            await unit.finish(timer)
        fired.set()

    await _set(bus, incident, "t:soon", _BACK + timedelta(seconds=1))
    await _was_seen(bus, _BACK)
    timers = asyncio.create_task(Timers(units, {"t": again}, bus.health, Holder(bus.dsn, "reporter")).run())
    try:
        await asyncio.wait_for(fired.wait(), 30)
    finally:
        timers.cancel()
        await asyncio.gather(timers, return_exceptions=True)


async def test_what_was_overdue_is_due_at_once(bus: Bus, incident: str) -> None:
    await _set(bus, incident, "t:late", _BACK - timedelta(minutes=1))
    await _was_seen(bus, _BACK)

    assert await follow_the_clock(bus.pools["reporter"])

    left, _ = await _left(bus, "t:late")
    assert left < timedelta(0)


async def test_a_lease_lasts_as_long_as_it_was_to_last_and_stays_a_lease(bus: Bus, incident: str) -> None:
    await _set(bus, incident, "t:held", timedelta(0), lease=_BACK + timedelta(seconds=50))
    await _was_seen(bus, _BACK)

    assert await follow_the_clock(bus.pools["reporter"])

    left, leased = await _left(bus, "t:held")
    assert leased
    assert _near(left, timedelta(seconds=50))


async def test_what_was_leased_since_by_the_new_clock_is_not_taken_from_its_holder(bus: Bus, incident: str) -> None:
    await _set(bus, incident, "t:held", timedelta(0))
    await _was_seen(bus, _BACK)
    await bus.pools["reporter"].execute(_LEASED, "t:held", timedelta(seconds=50))

    assert await follow_the_clock(bus.pools["reporter"])

    left, leased = await _left(bus, "t:held")
    assert leased
    assert _near(left, timedelta(seconds=50))


async def test_what_was_set_since_stays_where_it_is(bus: Bus, incident: str) -> None:
    await _was_seen(bus, _BACK)
    await _set(bus, incident, "t:new", timedelta(minutes=30))

    assert await follow_the_clock(bus.pools["reporter"])

    assert _near((await _left(bus, "t:new"))[0], timedelta(minutes=30))


async def test_what_goes_by_the_calendar_stays_on_its_day(bus: Bus, incident: str) -> None:
    await _set(bus, incident, "t:day", timedelta(days=3))
    await _set(bus, incident, "duty_due:x", _BACK + timedelta(minutes=30))
    await _was_seen(bus, _BACK)

    assert await follow_the_clock(bus.pools["reporter"], ["duty_due"])

    assert _near((await _left(bus, "t:day"))[0], timedelta(days=3))
    assert _near((await _left(bus, "duty_due:x"))[0], _BACK + timedelta(minutes=30))


async def test_a_clock_that_was_set_back_by_a_minute_moves_nothing(bus: Bus, incident: str) -> None:
    await _set(bus, incident, "t:soon", timedelta(minutes=5))
    await _was_seen(bus, timedelta(minutes=1))

    assert not await follow_the_clock(bus.pools["reporter"])

    assert _near((await _left(bus, "t:soon"))[0], timedelta(minutes=5))


async def test_of_many_processes_that_see_it_one_moves_them(bus: Bus, incident: str) -> None:
    await _set(bus, incident, "t:soon", _BACK + timedelta(minutes=40))
    await _was_seen(bus, _BACK)

    found = await asyncio.gather(*(follow_the_clock(bus.pools["reporter"]) for _ in range(5)))

    assert sorted(found) == [False] * 4 + [True]
    assert _near((await _left(bus, "t:soon"))[0], timedelta(minutes=40))


async def test_the_clock_that_is_seen_is_the_latest(bus: Bus) -> None:
    await bus.pools["reporter"].execute(_SEEN, -_BACK)

    assert not await follow_the_clock(bus.pools["reporter"])

    seen = await bus.pools["reporter"].fetchval("SELECT seen_at FROM clock")
    assert _near(seen - datetime.now(UTC), timedelta(0))
