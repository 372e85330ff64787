"""What is committed arrives, once in effect and in order, whatever is killed, repeated or set back."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from confluent_kafka import Consumer as OtherConsumer
from confluent_kafka import TopicPartition as OtherPlace

from shared.events import Event, Reading, Rejection, read
from shared.events.reporter import IncidentReopened, LineResumptionRequested
from shared.messaging import Dispatch, Scope, Unit
from shared.messaging.kafka import OutgoingRecord
from tests.messaging.conftest import Bus, all_records, until


class Notebook:
    """A handler that writes down what it heard, in the unit."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def prepare(self) -> None:
        await self._bus.pools["notifier"].execute(
            "CREATE TABLE IF NOT EXISTS note (place bigint GENERATED ALWAYS AS IDENTITY, subject text, "
            "sequence bigint, reason text)"
        )

    async def heard(self, unit: Unit, payload: IncidentReopened, event: Event) -> None:
        await unit.connection.execute(
            "INSERT INTO note (subject, sequence, reason) VALUES ($1, $2, $3)",
            event.envelope.subject,
            event.envelope.sequence,
            payload.reason,
        )

    @property
    def dispatch(self) -> Dispatch:
        return Dispatch({IncidentReopened: self.heard})

    async def reasons(self, subject: str) -> list[str]:
        rows = await self._bus.pools["notifier"].fetch(
            "SELECT reason FROM note WHERE subject = $1 ORDER BY place", subject
        )
        return [row["reason"] for row in rows]

    def has(self, subject: str, count: int) -> Callable[[], Awaitable[bool]]:
        async def condition() -> bool:
            return len(await self.reasons(subject)) >= count

        return condition


async def test_events_of_a_subject_arrive_in_order_with_gapless_sequences(bus: Bus, incident: str) -> None:
    notebook = Notebook(bus)
    await notebook.prepare()
    async with bus.relaying(), bus.hearing(notebook.dispatch):
        for number in range(40):
            await bus.say(IncidentReopened(reason=f"r{number}"), subject=incident)
        await until(notebook.has(incident, 40), "forty events heard")
    assert await notebook.reasons(incident) == [f"r{number}" for number in range(40)]
    sequences = [
        event.envelope.sequence
        for record in await all_records(bus)
        if isinstance(event := read(record, bus.keyring), Event)
    ]
    assert sequences == list(range(1, 41))


async def _emit_and_fail(bus: Bus, subject: str) -> None:
    async with bus.speaker.begin() as unit:
        await unit.emit(IncidentReopened(reason="never"), Scope(subject, "acme-kk"), actor="service/reporter")
        _ = 1 / 0


async def test_a_unit_that_fails_says_nothing(bus: Bus, incident: str) -> None:
    with pytest.raises(ZeroDivisionError):
        await _emit_and_fail(bus, incident)
    await bus.say(IncidentReopened(reason="first"), subject=incident)
    rows = await bus.pools["reporter"].fetch("SELECT headers FROM outbox")
    assert [dict(row["headers"])["ce_sequence"] for row in rows] == ["0000000001"]


async def test_units_at_the_same_time_get_different_sequences_without_gaps(bus: Bus, incident: str) -> None:
    await asyncio.gather(*(bus.say(IncidentReopened(reason="x"), subject=incident) for _ in range(30)))
    rows = await bus.pools["reporter"].fetch("SELECT headers FROM outbox ORDER BY place")
    assert [int(dict(row["headers"])["ce_sequence"]) for row in rows] == list(range(1, 31))


async def test_a_batch_that_is_relayed_twice_acts_once(bus: Bus, incident: str) -> None:
    notebook = Notebook(bus)
    await notebook.prepare()
    await bus.say(*(IncidentReopened(reason=f"r{number}") for number in range(5)), subject=incident)
    rows = await bus.pools["reporter"].fetch("SELECT topic, key, headers, value FROM outbox ORDER BY place")
    async with bus.relaying(), bus.hearing(notebook.dispatch):
        await until(notebook.has(incident, 5), "the batch")
        await bus.put(
            *(
                OutgoingRecord(
                    row["topic"],
                    row["key"].encode(),
                    [(name, text.encode()) for name, text in row["headers"]],
                    row["value"],
                )
                for row in rows
            )
        )
        await bus.say(IncidentReopened(reason="last"), subject=incident)
        await until(notebook.has(incident, 6), "the event behind the repeats")
    assert await notebook.reasons(incident) == ["r0", "r1", "r2", "r3", "r4", "last"]


async def test_offsets_set_back_to_the_beginning_change_nothing(bus: Bus, incident: str) -> None:
    notebook = Notebook(bus)
    await notebook.prepare()
    async with bus.relaying(), bus.hearing(notebook.dispatch):
        await bus.say(IncidentReopened(reason="a"), IncidentReopened(reason="b"), subject=incident)
        await until(notebook.has(incident, 2), "both")
    other = OtherConsumer({"bootstrap.servers": bus.bootstrap, "group.id": f"notifier.{bus.topic}"})
    other.commit(offsets=[OtherPlace(bus.topic, partition, 0) for partition in range(3)], asynchronous=False)
    other.close()
    async with bus.relaying(), bus.hearing(notebook.dispatch):
        await bus.say(IncidentReopened(reason="c"), subject=incident)
        await until(notebook.has(incident, 3), "the new one")
    assert await notebook.reasons(incident) == ["a", "b", "c"]


async def test_a_handler_that_is_cut_off_is_run_again_and_acts_once(bus: Bus, incident: str) -> None:
    notebook = Notebook(bus)
    await notebook.prepare()
    tries = 0

    async def cut_off_once(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        nonlocal tries
        tries += 1
        await notebook.heard(unit, payload, event)
        if tries == 1:
            raise ConnectionResetError("the database went away")

    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: cut_off_once})):
        await bus.say(IncidentReopened(reason="once"), subject=incident)
        await until(notebook.has(incident, 1), "the event")
    assert tries == 2
    assert await notebook.reasons(incident) == ["once"]


async def test_every_record_reaches_a_sink_with_what_it_is(bus: Bus, incident: str) -> None:
    class Everything:
        def __init__(self) -> None:
            self.readings: list[Reading] = []

        async def take(self, unit: Unit, readings: Sequence[Reading]) -> None:
            self.readings.extend(readings)

    sink = Everything()

    async def three() -> bool:
        return len(sink.readings) >= 3

    async with bus.relaying(), bus.hearing(sink):
        await bus.say(LineResumptionRequested(reason="device_found"), subject=incident)
        await bus.put(
            OutgoingRecord(bus.topic, b"x", [("ce_id", b"\xff\xfe")], b"not json"),
            OutgoingRecord(bus.topic, b"x", [], None),
        )
        await until(three, "three records")
    reasons = sorted(reading.reason for reading in sink.readings if isinstance(reading, Rejection))
    assert reasons == ["header_not_utf8", "value_null"]
    assert sum(isinstance(reading, Event) for reading in sink.readings) == 1


async def _heard_up_to(bus: Bus) -> list[tuple[int, int]]:
    """Where the hearer stands: next offsets and last sequences, in order."""
    pool = bus.pools["notifier"]
    positions = await pool.fetch("SELECT partition, next_offset FROM position WHERE topic = $1 ORDER BY 1", bus.topic)
    sequences = await pool.fetch("SELECT sequence FROM heard ORDER BY source, subject")
    return [(row["partition"], row["next_offset"]) for row in positions] + [(-1, row["sequence"]) for row in sequences]


async def test_a_batch_that_was_taken_changes_nothing_when_it_is_offered_once_more(bus: Bus, incident: str) -> None:
    notebook = Notebook(bus)
    await notebook.prepare()
    async with bus.relaying(), bus.hearing(notebook.dispatch):
        for number in range(3):
            await bus.say(IncidentReopened(reason=f"r{number}"), subject=incident)
            await until(notebook.has(incident, number + 1), "one after the other")
    before = await _heard_up_to(bus)
    readings = [read(record, bus.keyring) for record in await all_records(bus)]
    assert not await notebook.dispatch.take_at_once(bus.hearer, readings)
    assert await _heard_up_to(bus) == before
    assert await notebook.reasons(incident) == ["r0", "r1", "r2"]


async def test_an_event_behind_a_gap_is_not_taken_at_once_and_acts_nevertheless(bus: Bus, incident: str) -> None:
    notebook = Notebook(bus)
    await notebook.prepare()
    await bus.say(IncidentReopened(reason="first"), subject=incident)
    await bus.say(IncidentReopened(reason="lost"), subject=incident)
    await bus.pools["reporter"].execute("DELETE FROM outbox WHERE place = (SELECT max(place) FROM outbox)")
    async with bus.relaying(), bus.hearing(notebook.dispatch):
        await until(notebook.has(incident, 1), "the first")
        await bus.say(IncidentReopened(reason="third"), subject=incident)
        await until(notebook.has(incident, 2), "the one behind the gap")
    assert await notebook.reasons(incident) == ["first", "third"]


async def test_what_a_handler_adds_twice_is_parked_alone(bus: Bus, incident: str) -> None:
    notebook = Notebook(bus)
    await notebook.prepare()
    await bus.pools["notifier"].execute("CREATE TABLE single (name text PRIMARY KEY)")

    async def adds_a_name(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        await unit.connection.execute("INSERT INTO single VALUES ($1)", payload.reason.partition("-")[0])
        await notebook.heard(unit, payload, event)

    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: adds_a_name})):
        for reason in ("same-1", "same-2", "last"):
            await bus.say(IncidentReopened(reason=reason), subject=incident)
        await until(notebook.has(incident, 2), "the first and the last")
    assert await notebook.reasons(incident) == ["same-1", "last"]


async def test_a_consumer_that_has_stopped_tells_kafka_nothing_more(bus: Bus, incident: str) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        begun.set()
        await go_on.wait()

    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: handle})) as consumer:
        await bus.say(IncidentReopened(reason="last"), subject=incident)
        await begun.wait()
        stopping = asyncio.create_task(consumer.stop())
        await asyncio.sleep(0)
        go_on.set()
        await stopping
        # It would open a connection that nobody closes.
        assert consumer._telling is None or consumer._telling.done()
    assert await bus.position() == 1
