"""Records that were deleted from the log before a service had read them: it goes on behind them, and says so."""

import asyncio

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from shared.events import Event
from shared.events.reporter import IncidentReopened
from shared.messaging import DependencyUnavailableError, Dispatch, Unit, backlog, consumer
from shared.telemetry import Gauges, metrics
from tests.messaging.conftest import Bus, all_records, until
from tests.messaging.test_poison import Heard


async def _say(bus: Bus, incident: str, *reasons: str) -> None:
    async with bus.relaying():
        await bus.say(*(IncidentReopened(reason=reason) for reason in reasons), subject=incident)

        async def is_sent() -> bool:
            return await bus.pools["reporter"].fetchval("SELECT count(*) FROM outbox") == 0

        await until(is_sent, "they are in the log")


async def _delete(bus: Bus, end: int) -> int:
    """Everything before this offset, from the partition that has anything; its number."""
    (partition,) = {record.partition for record in await all_records(bus)}
    place = TopicPartition(bus.topic, partition, end)
    admin = AdminClient({"bootstrap.servers": bus.bootstrap})
    admin.delete_records([place])[place].result(10)
    return partition


async def _rows(bus: Bus) -> list[tuple[int, int, int]]:
    rows = await bus.pools["notifier"].fetch("SELECT partition, first_offset, next_offset FROM deleted_unread")
    return [tuple(row) for row in rows]


async def test_what_was_deleted_while_a_service_was_away_is_counted_and_named(bus: Bus, incident: str) -> None:
    heard = Heard()
    await _say(bus, incident, "first", "second", "third", "last")
    partition = await _delete(bus, 3)
    with capture_logs() as logs:
        for _ in range(2):  # said once
            async with bus.hearing(Dispatch({IncidentReopened: heard.handle})):
                await until(heard.has_last, "the rest was heard")
    assert heard.reasons == ["last"]
    assert await _rows(bus) == [(partition, 0, 3)]
    (entry,) = [entry for entry in logs if entry["log_level"] == "critical"]
    assert (entry["event"], entry["topic"], entry["partition"]) == ("records_deleted_unread", bus.topic, partition)
    assert (entry["first_offset"], entry["last_offset"], entry["records"]) == (0, 2, 3)
    gauges = Gauges()
    backlog.watch(gauges, bus.pools["notifier"])
    await gauges.measure()
    assert metrics.DELETED_UNREAD._value.get() == 3
    assert not any((await bus.health.ready()).values()), "there is nothing that would go by itself"


async def test_what_was_deleted_while_a_service_waited_for_something_is_counted(
    bus: Bus, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "_WATCH_SECONDS", 0.2)
    heard, away, asked = Heard(), asyncio.Event(), asyncio.Event()

    async def handle(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        if away.is_set():
            asked.set()
            raise DependencyUnavailableError("the vault")
        await heard.handle(unit, payload, event)

    async with bus.hearing(Dispatch({IncidentReopened: handle})):
        await _say(bus, incident, "last")
        await until(heard.has_last, "it was heard")
        away.set()
        await _say(bus, incident, "second", "third")
        await asked.wait()
        partition = await _delete(bus, 3)
        away.clear()

        async def is_noticed() -> bool:
            return await _rows(bus) == [(partition, 1, 3)]

        await until(is_noticed, "it was noticed though nothing more came")
        await _say(bus, incident, "more")

        async def has_more() -> bool:
            return len(heard.reasons) > 1

        await until(has_more, "it goes on")
    assert heard.reasons == ["last", "more"]
    assert await _rows(bus) == [(partition, 1, 3)]


async def test_the_end_of_a_transaction_is_nothing_that_was_deleted(bus: Bus, incident: str) -> None:
    producer = bus.transactions()
    for _ in range(3):
        producer.begin_transaction()
        producer.produce(bus.topic, b"{}", incident.encode())
        producer.commit_transaction()
    async with bus.hearing(Dispatch({})):

        async def taken() -> bool:
            return await bus.position() >= 5

        await until(taken, "they were taken")
    assert await _rows(bus) == []
