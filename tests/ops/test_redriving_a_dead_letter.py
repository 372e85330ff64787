"""A dead letter that is redriven acts once; what was never parked, or is not what was parked, acts never."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from confluent_kafka import Producer

from lostphone.dead_letters import DeadLetter, read_all, redrive, settled
from lostphone.topic_reader import follow
from lostphone.topics import BrokerError
from shared.events import Event, Received
from shared.events.reporter import IncidentReopened
from shared.messaging import Dispatch, Unit
from shared.messaging.dead_letter import ParkingLimit
from shared.messaging.kafka import OutgoingRecord
from shared.messaging.redrive import first_place
from shared.telemetry import metrics
from tests.messaging.conftest import Bus, until

_OUTCOMES = ("acted", "acted_before", "never_parked", "not_verified", "place_unknown", "failed")


class Desk:
    """A handler that fails for `poison` until it is mended, and writes down in the database what acted."""

    def __init__(self, bus: Bus) -> None:
        self._pool = bus.pools["notifier"]
        self.mended = False

    @classmethod
    async def at(cls, bus: Bus) -> "Desk":
        await bus.pools["notifier"].execute("CREATE TABLE acted (place bigint GENERATED ALWAYS AS IDENTITY, what text)")
        return cls(bus)

    async def handle(self, unit: Unit, payload: IncidentReopened, event: Event) -> None:
        if payload.reason.startswith("poison") and not self.mended:
            raise RuntimeError("not yet mended")
        await unit.connection.execute("INSERT INTO acted (what) VALUES ($1)", payload.reason)

    def dispatch(self) -> Dispatch:
        return Dispatch({IncidentReopened: self.handle})

    async def acted(self) -> list[str]:
        return [row["what"] for row in await self._pool.fetch("SELECT what FROM acted ORDER BY place")]

    async def heard(self, reason: str) -> None:
        async def has() -> bool:
            return reason in await self.acted()

        await until(has, reason)


async def _letters(bus: Bus, subject: str) -> list[DeadLetter]:
    letters = await asyncio.to_thread(read_all, {"bootstrap.servers": bus.bootstrap}, ["notifier"])
    return [letter for letter in letters if letter.subject == subject]


async def _redrive(bus: Bus, *letters: DeadLetter) -> None:
    await asyncio.to_thread(
        redrive, {"bootstrap.servers": bus.bootstrap}, letters, by="a test", topic=bus.redrive_topic
    )


def _outcomes() -> Mapping[str, float]:
    return {name: metrics.REDRIVEN.labels(name)._value.get() for name in _OUTCOMES}


async def _until_counted(outcome: str, before: Mapping[str, float], by: int = 1) -> None:
    async def counted() -> bool:
        return _outcomes()[outcome] - before[outcome] >= by

    await until(counted, f"{outcome} was counted")


async def test_a_redriven_letter_acts_once_although_later_events_were_heard(bus: Bus, incident: str) -> None:
    desk = await Desk.at(bus)
    async with bus.relaying(), bus.hearing(desk.dispatch(), redrive=True):
        await bus.say(*(IncidentReopened(reason=reason) for reason in ("first", "poison", "last")), subject=incident)
        await desk.heard("last")
        desk.mended = True
        (letter,) = await _letters(bus, incident)
        before = _outcomes()
        await _redrive(bus, letter, letter)
        await _until_counted("acted_before", before)
        await _redrive(bus, letter)
        await _until_counted("acted_before", before, by=2)
    assert await desk.acted() == ["first", "last", "poison"]
    assert await settled(bus.dsn, [letter], within=5) == {letter.id: "redriven"}


async def test_a_letter_that_fails_again_is_parked_again_and_can_be_redriven_later(bus: Bus, incident: str) -> None:
    desk = await Desk.at(bus)
    async with bus.relaying(), bus.hearing(desk.dispatch(), redrive=True, limit=ParkingLimit(in_a_row=1)):
        await bus.say(IncidentReopened(reason="poison"), IncidentReopened(reason="next"), subject=incident)
        await desk.heard("next")
        (first,) = await _letters(bus, incident)
        before = _outcomes()
        # More often than the limit allows: what was asked for does not stop the rest.
        await _redrive(bus, first, first)
        await _until_counted("failed", before, by=2)
        await bus.say(IncidentReopened(reason="meanwhile"), subject=incident)
        await desk.heard("meanwhile")
        desk.mended = True
        again = (await _letters(bus, incident))[-1]
        assert (again.id != first.id, again.origin) == (True, first.origin)
        await _redrive(bus, again)
        await desk.heard("poison")
    assert await desk.acted() == ["next", "meanwhile", "poison"]


async def test_an_event_whose_second_copy_acted_is_not_redriven(bus: Bus, incident: str) -> None:
    desk = await Desk.at(bus)
    async with bus.relaying(), bus.hearing(desk.dispatch(), redrive=True):
        await bus.say(IncidentReopened(reason="poison"), subject=incident)

        async def parked() -> bool:
            return len(await _letters(bus, incident)) == 1

        await until(parked, "the letter")
        (letter,) = await _letters(bus, incident)
        desk.mended = True
        original = first_place(letter.record)
        await bus.put(OutgoingRecord(bus.topic, original.key, original.headers, original.value))
        await desk.heard("poison")
        before = _outcomes()
        await _redrive(bus, letter)
        await _until_counted("acted_before", before)
    assert await desk.acted() == ["poison"]


async def test_what_was_never_parked_or_is_not_what_was_parked_does_not_act(bus: Bus, incident: str) -> None:
    desk = await Desk.at(bus)
    async with bus.relaying(), bus.hearing(desk.dispatch(), redrive=True):
        await bus.say(*(IncidentReopened(reason=reason) for reason in ("good", "poison", "last")), subject=incident)
        await desk.heard("last")
        desk.mended = True
        (letter,) = await _letters(bus, incident)
        before = _outcomes()
        good = await _first_record(bus, incident)
        record = letter.record
        for headers, value in (
            (_placed(good.headers, letter), good.value),
            (_placed(good.headers, letter, dlq_offset=b"0"), good.value),
            (record.headers, (record.value or b"").replace(b"poison", b"poisom")),
            (_headers(record, ce_organisation=b"another-company"), record.value),
            ([pair for pair in record.headers if pair[0] != "dlq_offset"], record.value),
            (_headers(record, dlq_offset=b"not a number"), record.value),
            (_headers(record, dlq_offset=b"9" * 20), record.value),
            (_headers(record, dlq_partition=b"-1"), record.value),
            (_headers(record, dlq_topic=b"a\0b"), record.value),
            ([("ce_id", b"\xff\xfe"), ("dlq_topic", b"\xff")], None),
        ):
            await bus.put(OutgoingRecord(bus.redrive_topic, record.key, list(headers), value))
        await _until_counted("place_unknown", before, by=6)
        await _until_counted("not_verified", before, by=2)
        await _until_counted("never_parked", before)
        assert await desk.acted() == ["good", "last"]
        await _redrive(bus, letter)
        await desk.heard("poison")
    assert await desk.acted() == ["good", "last", "poison"]


async def test_bytes_and_headers_of_a_letter_are_those_of_the_log(bus: Bus, incident: str) -> None:
    desk = await Desk.at(bus)
    async with bus.relaying(), bus.hearing(desk.dispatch()):
        await bus.say(IncidentReopened(reason="poison"), IncidentReopened(reason="last"), subject=incident)
        await desk.heard("last")
    (letter,) = await _letters(bus, incident)
    assert first_place(letter.record) == await _first_record(bus, incident)


async def test_a_letter_of_a_moment_that_no_calendar_has_hides_no_other(bus: Bus, incident: str) -> None:
    producer = Producer({"bootstrap.servers": bus.bootstrap})
    for moment in (-(10**17), 1):
        producer.produce("lostphone.notifier.dead-letters.v1", b"{}", incident.encode(), timestamp=moment)
    producer.flush(20)
    letters = await _letters(bus, incident)
    assert [letter.parked_at for letter in letters] == ["", "1970-01-01T00:00:00.001+00:00"]


async def test_a_letter_that_is_too_long_to_be_offered_is_named_and_keeps_no_other_back(
    bus: Bus, incident: str
) -> None:
    desk = await Desk.at(bus)
    async with bus.relaying(), bus.hearing(desk.dispatch(), redrive=True):
        await bus.say(IncidentReopened(reason="poison"), IncidentReopened(reason="last"), subject=incident)
        await desk.heard("last")
        desk.mended = True
        (letter,) = await _letters(bus, incident)
        long = replace(letter, id="notifier/0@7", record=replace(letter.record, value=b"x" * 2_000_000))
        with pytest.raises(BrokerError, match="notifier/0@7"):
            await _redrive(bus, long, letter)
        await desk.heard("poison")


async def _first_record(bus: Bus, subject: str) -> Received:
    records = follow({"bootstrap.servers": bus.bootstrap}, [bus.topic], until_end=True)
    return next(record for record in await asyncio.to_thread(list, records) if record.key == subject.encode())


def _headers(record: Received, **changed: bytes) -> list[tuple[str, bytes | None]]:
    return [(name, changed.get(name, data)) for name, data in record.headers]


def _placed(
    headers: tuple[tuple[str, bytes | None], ...], letter: DeadLetter, **changed: bytes
) -> list[tuple[str, bytes | None]]:
    """A record of the log dressed up as that letter."""
    place = [(name, changed.get(name, data)) for name, data in letter.record.headers if name.startswith("dlq_")]
    return [*headers, *place]
