"""A lease of a process that has died is taken over at once; of one that lives, never while it fires."""

import asyncio
import multiprocessing
import random
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.events import Signer
from shared.messaging import Timer, TimerHandler, Units
from shared.messaging.lease import Holder
from shared.messaging.timer import Timers
from shared.postgres import connect
from shared.telemetry import Health
from tests.messaging.between import between
from tests.messaging.conftest import Bus, until

_AT_ONCE = 30.0
"""Half of what a lease takes to run out."""
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND objid = ANY ($1::oid[])
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@asynccontextmanager
async def _firing(
    bus: Bus,
    handlers: Mapping[str, TimerHandler],
    *,
    units: Units | None = None,
    holder: Holder | None = None,
    unbroken: Collection[str] = (),
) -> AsyncIterator[Holder]:
    """One process's timers at work; its name."""
    holder = holder or Holder(bus.dsn, "reporter")
    task = asyncio.create_task(Timers(units or bus.speaker, handlers, bus.health, holder, unbroken=unbroken).run())
    try:
        await asyncio.wait_for(holder.tried.wait(), 20)
        yield holder
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _living(bus: Bus) -> AsyncIterator[str]:
    """The name of a process that lives and fires nothing."""
    async with _firing(bus, {}, units=bus.units("reporter")) as holder:
        assert holder.name is not None
        yield holder.name


async def _dead(bus: Bus) -> str:
    async with _living(bus) as name:
        return name


async def _lease(bus: Bus, incident: str, timer: str, holder: str | None, *, moved: bool = False) -> None:
    """A timer that fires, under this name. `moved`: by the version before, which leaves the name as it is."""
    async with bus.speaker.begin() as unit:
        await unit.arm(incident, timer, unit.now + timedelta(hours=1))
    await bus.pools["reporter"].execute(
        "UPDATE timer SET attempt = 1, due_at = now() + interval '50 seconds', holder = $2, "
        "held_until = now() + interval '50 seconds' + $3 * interval '1 microsecond' WHERE name = $1",
        timer,
        holder,
        -int(moved),
    )


async def _end_session(bus: Bus, *holders: Holder) -> None:
    names = [holder.name for holder in holders]

    async def noticed() -> bool:
        return all(holder.name != name for holder, name in zip(holders, names, strict=True))

    numbers = [int((name or "").partition("/")[2]) for name in names]
    assert len(await bus.pools["reporter"].fetch(_END_SESSIONS, numbers)) == len(holders)
    await until(noticed, "its process noticed")


async def _attempts(bus: Bus) -> dict[str, int]:
    rows = await bus.pools["reporter"].fetch("SELECT name, attempt FROM timer WHERE due_at > now()")
    return {row["name"]: row["attempt"] for row in rows}


async def _timers_left(bus: Bus) -> int:
    count: int = await bus.pools["reporter"].fetchval("SELECT count(*) FROM timer")
    return count


def _fire_for_ever(dsn: str) -> None:
    async def hang(_: Timer) -> None:
        await asyncio.Event().wait()

    async def work() -> None:
        units = Units(await connect(dsn, "reporter"), Signer("reporter", Ed25519PrivateKey.generate()))
        await Timers(units, {"call": hang}, Health(), Holder(dsn, "reporter")).run()

    asyncio.run(work())


async def test_what_a_killed_process_was_firing_is_taken_over_at_once_as_a_second_attempt(
    bus: Bus, incident: str
) -> None:
    attempts: list[int] = []

    async def handler(timer: Timer) -> None:
        attempts.append(timer.attempt)
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def is_firing() -> bool:
        return await _attempts(bus) == {"call:x": 1}

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with bus.speaker.begin() as unit:
        await unit.arm(incident, "call:x", unit.now)
    process = multiprocessing.get_context("spawn").Process(target=_fire_for_ever, args=(bus.dsn,), daemon=True)
    process.start()
    try:
        await until(is_firing, "the other process fires")
    finally:
        process.kill()
        process.join()
    async with _firing(bus, {"call": handler}):
        await until(done, "it was taken over", _AT_ONCE)
    assert attempts == [2]


@pytest.mark.parametrize("whose", ["a living process", "the version before", "moved by it", "an earlier run"])
async def test_a_lease_whose_holder_may_live_is_left_alone(bus: Bus, incident: str, whose: str) -> None:
    fired: list[str] = []

    async def handler(timer: Timer) -> None:
        fired.append(timer.name)
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def one_left() -> bool:
        return await _timers_left(bus) == 1

    async with _living(bus) as living:
        dead = await _dead(bus)
        number = dead.partition("/")[2]
        name = {"a living process": living, "the version before": None, "an earlier run": f"1790000000.5/{number}"}
        await _lease(bus, incident, "call:other", name.get(whose, dead), moved=whose == "moved by it")
        await _lease(bus, incident, "call:dead", dead)
        async with _firing(bus, {"call": handler}):
            await until(one_left, "the lease of the dead one was taken over", _AT_ONCE)
            assert await _attempts(bus) == {"call:other": 1}
    assert fired == ["call:dead"]


async def test_a_process_whose_lock_ends_breaks_off_what_it_fires_and_takes_it_up_again(
    bus: Bus, incident: str
) -> None:
    told: list[str] = []
    begun = asyncio.Event()

    async def handler(timer: Timer) -> None:
        told.append(f"begun {timer.attempt}")
        begun.set()
        try:
            if timer.attempt == 1:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append(f"broken off, lock {holder.name}")
            raise
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with _firing(bus, {"call": handler}) as holder:
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "call:x", unit.now)
        await asyncio.wait_for(begun.wait(), 20)
        before = holder.name
        await _end_session(bus, holder)
        await until(done, "it fired again", _AT_ONCE)
        assert holder.name not in (None, before)
    assert told == ["begun 1", "broken off, lock None", "begun 2"]


async def test_what_is_unbroken_goes_on_without_a_lock_and_is_taken_over_by_nobody(bus: Bus, incident: str) -> None:
    attempts: list[int] = []
    begun, end = asyncio.Event(), asyncio.Event()

    async def handler(timer: Timer) -> None:
        attempts.append(timer.attempt)
        begun.set()
        await end.wait()
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def quick(timer: Timer) -> None:
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def one_left() -> bool:
        return await _timers_left(bus) == 1

    async def done() -> bool:
        return await _timers_left(bus) == 0

    handlers = {"mail": handler, "call": quick}
    async with _firing(bus, handlers, unbroken=("mail",)) as holder:
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "mail:x", unit.now)
        await asyncio.wait_for(begun.wait(), 20)
        await _end_session(bus, holder)
        await _lease(bus, incident, "call:dead", await _dead(bus))
        await until(one_left, "the lease of a dead one was taken over", _AT_ONCE)
        assert await _attempts(bus) == {"mail:x": 1}
        end.set()
        await until(done, "it came to its end")
    assert attempts == [1]


async def test_sessions_that_end_at_any_moment_never_have_two_processes_fire_one_timer(bus: Bus, incident: str) -> None:
    """Each firing holds on until its process breaks it off, or all may end."""
    chance = random.Random(41)
    names = {f"call:{number}" for number in range(20)}
    at_work: set[str] = set()
    side_by_side: list[str] = []
    end = asyncio.Event()

    async def handler(timer: Timer) -> None:
        if timer.name in at_work:
            side_by_side.append(timer.name)
        at_work.add(timer.name)
        try:
            await end.wait()
        finally:
            at_work.discard(timer.name)
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def all_at_work() -> bool:
        return at_work == names

    async def both_named() -> bool:
        return all(holder.name for holder in holders)

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with bus.speaker.begin() as unit:
        for name in names:
            await unit.arm(incident, name, unit.now)
    handlers = {"call": handler}
    async with _firing(bus, handlers) as one, _firing(bus, handlers, units=bus.units("reporter")) as other:
        holders = [one, other]
        for _ in range(4):
            await until(all_at_work, "each timer fires", _AT_ONCE)
            await until(both_named, "both have a lock")
            await _end_session(bus, *chance.sample(holders, chance.choice((1, 2))))
        await until(all_at_work, "each timer fires", _AT_ONCE)
        end.set()
        await until(done, "all ended")
    assert side_by_side == []


async def test_a_process_that_gets_no_answer_any_more_breaks_off_what_it_fires(bus: Bus, incident: str) -> None:
    half_open = False
    begun, broken_off = asyncio.Event(), asyncio.Event()

    def passes(data: bytes) -> bytes:
        return b"" if half_open else data

    async def handler(timer: Timer) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            broken_off.set()

    place = urlsplit(bus.dsn)
    assert place.hostname
    async with between(place.hostname, place.port or 5432, answered=passes) as port:
        moved = place._replace(netloc=f"{place.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()
        holder = Holder(moved, "reporter", answer_seconds=0.5)
        async with _firing(bus, {"call": handler}, holder=holder):
            async with bus.speaker.begin() as unit:
                await unit.arm(incident, "call:x", unit.now)
            await asyncio.wait_for(begun.wait(), 20)
            half_open = True
            await asyncio.wait_for(broken_off.wait(), _AT_ONCE)
            assert holder.name is None


async def test_without_a_lock_timers_fire_under_leases_that_run_out(bus: Bus, incident: str) -> None:
    held_by: list[asyncpg.Record | None] = []

    async def handler(timer: Timer) -> None:
        held_by.append(await bus.pools["reporter"].fetchval("SELECT holder FROM timer"))
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def done() -> bool:
        return await _timers_left(bus) == 0

    async with bus.speaker.begin() as unit:
        await unit.arm(incident, "call:x", unit.now)
    async with _firing(bus, {"call": handler}, holder=Holder("postgresql://reporter@127.0.0.1:1/none", "reporter")):
        await until(done, "it fired")
    assert held_by == [None]


async def test_a_timer_whose_name_ended_before_its_unit_committed_is_not_fired(bus: Bus, incident: str) -> None:
    fired: list[str] = []

    async def handler(timer: Timer) -> None:
        fired.append(timer.name)
        async with bus.speaker.begin() as unit:
            await unit.finish(timer)

    async def last() -> bool:
        return "call:last" in fired

    async with _firing(bus, {"call": handler}):
        await until(lambda: _is_asleep(bus), "none is due")
        assert bus.speaker.timers is not None
        bus.speaker.timers.fire([Timer(incident, "call:lost", bus.speaker.now(), 1, {}, 1, holder="1790000000.5/7")])
        async with bus.speaker.begin() as unit:
            await unit.arm(incident, "call:last", unit.now)
        await until(last, "the next one fired")
    assert fired == ["call:last"]


async def _is_asleep(bus: Bus) -> bool:
    return bus.speaker.timers is not None and bus.speaker.timers.room > 0
