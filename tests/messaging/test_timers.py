"""Timers fire once in effect, on time, over crashes; a firing that was taken over leaves nothing behind."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import asyncpg
import pytest

from shared.messaging import Timer, TimerHandler, TimerLostError
from shared.messaging.lease import Holder
from shared.messaging.timer import Timers
from tests.messaging.conftest import Bus, until

_TIMER = "subject, name, due_at, attempt, payload, armed"


@asynccontextmanager
async def _firing(bus: Bus, handlers: Mapping[str, TimerHandler]) -> AsyncIterator[None]:
    task = asyncio.create_task(Timers(bus.speaker, handlers, bus.health, Holder(bus.dsn, "reporter")).run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _asleep(bus: Bus, handlers: Mapping[str, TimerHandler]) -> AsyncIterator[None]:
    """Firing, from the moment on at which none is due."""

    async def idle() -> bool:
        return bus.speaker.timers is not None and bus.speaker.timers.room > 0

    async with _firing(bus, handlers):
        await until(idle, "the timers found none that is due")
        yield


async def _timers_left(bus: Bus) -> int:
    count: int = await bus.pools["reporter"].fetchval("SELECT count(*) FROM timer")
    return count


async def test_a_due_timer_fires_with_its_payload_and_is_gone(bus: Bus, incident: str) -> None:
    fired: list[Timer] = []

    async def handler(timer: Timer) -> None:
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)
        fired.append(timer)

    async def done() -> bool:
        return bool(fired) and await _timers_left(bus) == 0

    async with _firing(bus, {"call": handler}):
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "call:soracom", unit.now, {"line": "x"})
        await until(done, "the timer fired and ended")
    (timer,) = fired
    assert (timer.subject, timer.kind, timer.attempt, timer.payload) == (incident, "call", 1, {"line": "x"})


async def test_timers_fire_in_the_order_of_their_times_and_not_before(bus: Bus, incident: str) -> None:
    fired: list[str] = []

    async def handler(timer: Timer) -> None:
        async with bus.speaker.begin() as unit:
            assert unit.now >= timer.due_at - timedelta(milliseconds=50)
            await unit.finish(timer)
        fired.append(timer.name)

    async def both() -> bool:
        return len(fired) == 2

    async with _firing(bus, {"t": handler}):
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "t:second", unit.now + timedelta(seconds=0.6))
            await unit.arm(incident, "t:first", unit.now + timedelta(seconds=0.2))
        await until(both, "both fired")
    assert fired == ["t:first", "t:second"]


async def test_a_handler_that_fails_is_called_again_with_a_higher_attempt(bus: Bus, incident: str) -> None:
    attempts: list[int] = []

    async def handler(timer: Timer) -> None:
        attempts.append(timer.attempt)
        if timer.attempt == 1:
            raise ConnectionRefusedError("vendor")
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with _firing(bus, {"call": handler}):
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "call:x", unit.now)
        await until(done, "the second firing ended it")
    assert attempts == [1, 2]


async def test_a_disarmed_timer_does_not_fire_and_a_moved_one_fires_once(bus: Bus, incident: str) -> None:
    fired: list[str] = []

    async def handler(timer: Timer) -> None:
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)
        fired.append(timer.name)

    async with bus.speaker.begin() as unit:
        await unit.arm(incident, "t:gone", unit.now)
        await unit.arm(incident, "t:moved", unit.now + timedelta(hours=1))
        await unit.disarm(incident, "t:gone")
        await unit.arm(incident, "t:moved", unit.now)

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with _firing(bus, {"t": handler}):
        await until(done, "no timer left")
    assert fired == ["t:moved"]


async def test_a_firing_that_was_taken_over_cannot_finish(bus: Bus, incident: str) -> None:
    async with bus.speaker.begin() as unit:
        await unit.arm(incident, "t:x", unit.now)
    row = await bus.pools["reporter"].fetchrow(f"UPDATE timer SET attempt = 2 RETURNING {_TIMER}")
    stale = Timer(**(dict(row) | {"attempt": 1}))
    with pytest.raises(TimerLostError):
        async with bus.speaker.begin() as unit:
            await unit.finish(stale)
    assert await _timers_left(bus) == 1


async def test_two_processes_share_the_timers_and_none_fires_twice(bus: Bus, incident: str) -> None:
    fired: list[str] = []

    async def handler(timer: Timer) -> None:
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)
        fired.append(timer.name)

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with bus.speaker.begin() as unit:
        for number in range(100):
            await unit.arm(incident, f"t:{number}", unit.now)
    async with _firing(bus, {"t": handler}), _firing(bus, {"t": handler}):
        await until(done, "all fired")
    assert sorted(fired) == sorted(f"t:{number}" for number in range(100))


async def _row(bus: Bus) -> asyncpg.Record:
    return await bus.pools["reporter"].fetchrow("SELECT attempt, due_at > now() AS leased FROM timer")


async def test_a_timer_that_is_due_when_it_is_set_is_leased_by_the_unit_that_sets_it(bus: Bus, incident: str) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def handler(timer: Timer) -> None:
        begun.set()
        await end.wait()
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with _asleep(bus, {"call": handler}):
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "call:x", unit.now)
        row = await _row(bus)
        assert (row["attempt"], row["leased"]) == (1, True)
        await asyncio.wait_for(begun.wait(), 10)
        end.set()
        await until(done, "the firing ended it")


async def test_a_unit_that_is_rolled_back_fires_nothing(bus: Bus, incident: str) -> None:
    fired: list[str] = []

    async def handler(timer: Timer) -> None:
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)
        fired.append(timer.name)

    async def last() -> bool:
        return "call:last" in fired

    async with _asleep(bus, {"call": handler}):
        with suppress(ZeroDivisionError):
            async with bus.speaker.begin() as unit:
                await unit.arm(incident, "call:never", unit.now)
                raise ZeroDivisionError
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "call:last", unit.now)
        await until(last, "the next one fired")
    assert fired == ["call:last"]


async def test_a_crash_before_a_timer_fires_at_once_brings_it_back_as_a_second_attempt(bus: Bus, incident: str) -> None:
    attempts: list[int] = []

    async def handler(timer: Timer) -> None:
        attempts.append(timer.attempt)
        if timer.attempt == 1:
            await asyncio.Event().wait()
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with _asleep(bus, {"call": handler}), bus.speaker.begin() as unit:
        await unit.arm(incident, "call:x", unit.now)
    await bus.pools["reporter"].execute("UPDATE timer SET due_at = now()")  # the lease is over
    async with _firing(bus, {"call": handler}):
        await until(done, "it came back and ended")
    assert attempts[-1] == 2


async def test_many_timers_that_are_due_when_they_are_set_fire_once_each(bus: Bus, incident: str) -> None:
    fired: list[str] = []

    async def handler(timer: Timer) -> None:
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)
        fired.append(timer.name)

    async def done() -> bool:
        return await _timers_left(bus) == 0 and len(fired) >= 100

    async with _asleep(bus, {"t": handler}):
        async with bus.speaker.begin() as unit:
            for number in range(100):
                await unit.arm(incident, f"t:{number}", unit.now)
        await until(done, "all fired")
    assert sorted(fired) == sorted(f"t:{number}" for number in range(100))


async def test_without_timers_in_this_process_a_due_timer_waits_to_be_found(bus: Bus, incident: str) -> None:
    async with bus.speaker.begin() as unit:
        await unit.arm(incident, "call:x", unit.now)
    row = await _row(bus)
    assert (row["attempt"], row["leased"]) == (0, False)


async def test_a_timer_that_is_set_anew_by_its_own_firing_fires_again(bus: Bus, incident: str) -> None:
    fired: list[int] = []

    async def handler(timer: Timer) -> None:
        fired.append(timer.payload["round"])
        async with bus.speaker.begin() as unit:
            if timer.payload["round"] < 3:
                await unit.arm(timer.subject, timer.name, unit.now, {"round": timer.payload["round"] + 1})
            await unit.finish(timer)

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with _asleep(bus, {"t": handler}):
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "t", unit.now, {"round": 1})
        await until(done, "the third ended it")
    assert fired == [1, 2, 3]


async def test_a_timer_that_fires_at_once_brings_what_its_unit_had_in_hand_and_a_later_one_nothing(
    bus: Bus, incident: str
) -> None:
    brought: dict[str, object] = {}

    async def handler(timer: Timer) -> None:
        brought[timer.name] = timer.in_hand
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def both() -> bool:
        return len(brought) == 2

    async with _asleep(bus, {"t": handler}):
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "t:at_once", unit.now, in_hand="order")
            await unit.arm(incident, "t:later", unit.now + timedelta(milliseconds=50), in_hand="order")
        await until(both, "both fired")
    assert brought == {"t:at_once": "order", "t:later": None}


async def test_a_firing_may_have_its_timer_fire_again_as_if_it_were_set_anew(bus: Bus, incident: str) -> None:
    fired: list[tuple[int, int]] = []

    async def handler(timer: Timer) -> None:
        fired.append((timer.payload["round"], timer.attempt))
        if timer.payload["round"] < 3:
            await bus.speaker.again(timer, bus.speaker.now(), {"round": timer.payload["round"] + 1})
            return
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with _asleep(bus, {"t": handler}):
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "t", unit.now, {"round": 1})
        await until(done, "the third ended it")
    assert fired == [(1, 1), (2, 1), (3, 1)]


async def test_a_timer_that_was_taken_away_or_set_anew_meanwhile_does_not_fire_again_for_an_old_firing(
    bus: Bus, incident: str
) -> None:
    async with bus.speaker.begin() as unit:
        await unit.arm(incident, "t:gone", unit.now)
        await unit.arm(incident, "t:anew", unit.now)
    rows = await bus.pools["reporter"].fetch(f"UPDATE timer SET attempt = 1 RETURNING {_TIMER}")
    async with bus.speaker.begin() as unit:
        await unit.disarm(incident, "t:gone")
        await unit.arm(incident, "t:anew", unit.now + timedelta(hours=1), {"set": "anew"})
    for row in rows:
        await bus.speaker.again(Timer(**dict(row)), bus.speaker.now(), {"set": "again"})
    left = await bus.pools["reporter"].fetch("SELECT name, payload, due_at > now() AS waits FROM timer")
    assert [dict(row) for row in left] == [{"name": "t:anew", "payload": {"set": "anew"}, "waits": True}]
