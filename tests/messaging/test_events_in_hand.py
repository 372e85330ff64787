"""What a process has just committed goes to the log without a look into the outbox, and never before its turn."""

import asyncio
import random

import asyncpg
import pytest

from shared.events import Event, read
from shared.events.reporter import IncidentReopened
from shared.messaging.in_hand import MOST
from tests.messaging.conftest import Bus, all_records, until


def _said(number: int = 0) -> IncidentReopened:
    return IncidentReopened(reason=f"r{number}")


async def _outbox_is_empty(bus: Bus) -> bool:
    return bool(await bus.pools["reporter"].fetchval("SELECT count(*) = 0 FROM outbox"))


async def test_the_first_thing_a_relay_does_is_look(bus: Bus, incident: str) -> None:
    await bus.say(_said(), subject=incident)
    assert bus.speaker.in_hand.take() is None


async def test_what_is_in_hand_is_what_lies_in_the_outbox(bus: Bus, incident: str) -> None:
    bus.speaker.in_hand.take()
    await bus.say(_said(1), _said(2), subject=incident)
    in_hand = bus.speaker.in_hand.take()
    assert in_hand is not None
    rows = await bus.pools["reporter"].fetch("SELECT place, topic, key, headers, value FROM outbox ORDER BY place")
    assert [
        (each.place, each.record.topic, (each.record.key or b"").decode(), each.record.value) for each in in_hand
    ] == [(row["place"], row["topic"], row["key"], row["value"]) for row in rows]
    assert [[[name, (data or b"").decode()] for name, data in each.record.headers] for each in in_hand] == [
        row["headers"] for row in rows
    ]


async def test_what_stands_behind_an_event_that_still_waits_is_looked_for(bus: Bus, incident: str) -> None:
    bus.speaker.in_hand.take()
    await bus.say(_said(1), subject=incident)
    assert bus.speaker.in_hand.take()
    await bus.say(_said(2), subject=incident)
    assert bus.speaker.in_hand.take() is None


async def test_what_another_process_said_before_is_looked_for(bus: Bus, incident: str) -> None:
    bus.speaker.in_hand.take()
    other = Bus(bus.bootstrap, bus.dsn, bus.topic, bus.keys, bus.keyring, bus.pools)
    await other.say(_said(1), subject=incident)
    await bus.say(_said(2), subject=incident)
    assert bus.speaker.in_hand.take() is None


async def test_a_unit_that_is_rolled_back_leaves_nothing_in_hand(bus: Bus, incident: str) -> None:
    bus.speaker.in_hand.take()
    await bus.pools["reporter"].execute("ALTER TABLE outbox ADD CONSTRAINT late CHECK (false) NOT VALID")
    with pytest.raises(asyncpg.CheckViolationError):
        await bus.say(_said(), subject=incident)
    assert bus.speaker.in_hand.take() == []


async def test_without_a_relay_no_more_than_a_batch_is_kept_in_memory(bus: Bus) -> None:
    in_hand = bus.speaker.in_hand
    in_hand.take()
    for number in range(MOST // 100 + 1):
        await bus.say(*(_said(n) for n in range(100)), subject=f"many-{number}")
    assert in_hand.take() is None
    assert in_hand.take() == []


async def test_what_others_wrote_is_found_while_this_process_speaks_all_the_time(bus: Bus) -> None:
    other = Bus(bus.bootstrap, bus.dsn, bus.topic, bus.keys, bus.keyring, bus.pools)
    silent = asyncio.Event()

    async def speak() -> None:
        number = 0
        while not silent.is_set():
            number += 1
            await bus.say(_said(number), subject=f"0192f0c1-0000-7000-8000-{number:012}")

    async with bus.relaying():
        await until(lambda: _is_relaying(bus), "the relay has the lock")
        speaking = asyncio.create_task(speak())
        try:
            await other.say(_said(), subject="device-other")
            await until(lambda: _is_sent(bus, "device-other"), "another process's event is sent", 20)
        finally:
            silent.set()
            await speaking


async def _is_relaying(bus: Bus) -> bool:
    held = (
        "SELECT count(*) > 0 FROM pg_locks JOIN pg_database ON oid = database "
        "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    )
    return bool(await bus.pools["reporter"].fetchval(held))


async def _is_sent(bus: Bus, subject: str) -> bool:
    return bool(await bus.pools["reporter"].fetchval("SELECT count(*) = 0 FROM outbox WHERE key = $1", subject))


async def test_two_processes_of_a_service_never_overtake_each_other(bus: Bus) -> None:
    """One of them has the relay. Each subject's sequences lie in the log in order, each once."""
    other = Bus(bus.bootstrap, bus.dsn, bus.topic, bus.keys, bus.keyring, bus.pools)
    subjects = [f"0192f0c1-0000-7000-8000-{number:012}" for number in range(6)]
    chance = random.Random(23)

    async def speak(who: Bus, courses: list[str]) -> None:
        for number, subject in enumerate(courses):
            await who.say(_said(number), subject=subject)

    async with bus.relaying():
        await asyncio.gather(
            *(speak(who, chance.choices(subjects, k=40)) for who in (bus, other, bus, other, bus)),
        )
        await until(lambda: _outbox_is_empty(bus), "everything is sent", 60)
    told: dict[str, list[int]] = {}
    for record in await all_records(bus):
        reading = read(record, bus.keyring)
        assert isinstance(reading, Event)
        told.setdefault(reading.envelope.subject, []).append(reading.envelope.sequence)
    assert sum(map(len, told.values())) == 200
    assert all(sequences == list(range(1, len(sequences) + 1)) for sequences in told.values())
