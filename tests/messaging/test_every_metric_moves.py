"""What operations are told of the consume loop, the outbox and the relay moves when the thing happens."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from math import isnan
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.group import LeaveGroupRequest
from confluent_kafka.admin import AdminClient

from shared.events import Event, Signer
from shared.events.reporter import IncidentReopened
from shared.messaging import DependencyUnavailableError, Dispatch, Unit, backlog
from shared.messaging.kafka import KafkaConnection, OutgoingRecord, Producer
from shared.messaging.relay import Relay
from shared.telemetry import Gauges, Health, metrics
from tests.messaging.conftest import Bus, until
from tests.messaging.test_poison import _envelope, _record
from tests.reporter.running import free_port


def _told() -> dict[str, float]:
    """Every sample that is told, over all labels."""
    told: dict[str, float] = {}
    for family in metrics.REGISTRY.collect():
        for sample in family.samples:
            told[sample.name] = told.get(sample.name, 0) + sample.value
    return told


async def _moved(before: dict[str, float], *names: str) -> None:
    async def all_of() -> bool:
        now = _told()
        return all(now.get(f"lostphone_{name}", 0) > before.get(f"lostphone_{name}", 0) for name in names)

    await until(all_of, f"these moved: {names}")


async def test_the_consume_loop_counts_what_becomes_of_records(bus: Bus, incident: str) -> None:
    before = _told()
    away = asyncio.Event()

    async def handle(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        if payload.reason == "poison":
            raise KeyError("poison")
        if payload.reason == "away" and not away.is_set():
            away.set()
            raise DependencyUnavailableError("the vault")

    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: handle})):
        await bus.say(*(IncidentReopened(reason=reason) for reason in ("first", "away", "poison")), subject=incident)
        await _moved(before, "events_parked_total")
        reporter = Signer("reporter", bus.keys["reporter"])
        unknown = replace(_envelope(incident, 9, "lostphone.never-heard-of.v1"), sequence=9)
        headers, value = unknown.sign(reporter, IncidentReopened(reason="x"))
        twice = _record(bus, incident, 11, reporter)
        await bus.put(OutgoingRecord(bus.topic, incident.encode(), headers, value))
        await bus.put(twice, twice, _record(bus, incident, 12, None))
        await _moved(
            before,
            "events_consumed_total",
            "events_processed_total",
            "event_handling_seconds_count",
            "consumer_batch_seconds_count",
            "consumer_rebalances_total",
            "consumer_pauses_total",
            "events_retried_total",
            "events_parked_total",
            "events_skipped_total",
            "events_gap_total",
            "events_duplicate_total",
            "events_rejected_total",
            "events_relayed_total",
        )


async def test_what_waits_is_told_also_while_nothing_works_on_it(bus: Bus, incident: str) -> None:
    gauges = Gauges()
    backlog.watch(gauges, bus.pools["reporter"])

    async def tells(holds: Callable[[dict[str, float]], bool]) -> None:
        async def now() -> bool:
            await gauges.measure()
            return holds(_told())

        await until(now, "the figures of what waits")

    await bus.say(IncidentReopened(reason="waits"), subject=incident)
    async with bus.speaker.begin() as unit:
        await unit.arm(incident, "nobody:works", unit.now)
    await bus.pools["reporter"].execute(
        "INSERT INTO parked (topic, partition, kafka_offset, reason) VALUES ('t', 0, 0, 'KeyError')"
    )
    await tells(
        lambda told: (
            (told["lostphone_outbox_pending"], told["lostphone_dead_letters_open"]) == (1, 1)
            and told["lostphone_outbox_oldest_seconds"] > 0
            and told["lostphone_timers_overdue_seconds"] > 0
        )
    )
    async with bus.relaying():
        await tells(lambda told: told["lostphone_outbox_pending"] == told["lostphone_outbox_oldest_seconds"] == 0)


async def test_a_service_whose_dependency_gives_no_answer_tells_that_it_is_not_ready() -> None:
    health, gauges = Health(), Gauges()
    gauges.ask(metrics.READY, health.readiness)

    async def hangs() -> str | None:
        await asyncio.Event().wait()
        return None

    await gauges.measure()
    assert _told()["lostphone_ready"] == 1
    health.check("kafka", hangs)
    await gauges.measure()
    assert _told()["lostphone_ready"] == 0, "what is not a number alarms nobody"


async def test_metrics_are_answered_while_the_database_is_half_open() -> None:
    gauges, over = Gauges(), asyncio.Event()

    async def asks() -> float:
        while not over.is_set():
            with suppress(asyncio.CancelledError):  # as a query does, which waits for the server to hear of it
                await over.wait()
        return 7

    gauges.ask(metrics.OUTBOX_PENDING, asks)
    metrics.OUTBOX_PENDING.set(0)
    for _ in range(2):
        async with asyncio.timeout(9):
            await gauges.measure()
        assert isnan(_told()["lostphone_outbox_pending"])
    over.set()
    await gauges.measure()
    assert _told()["lostphone_outbox_pending"] == 7


async def test_a_consumer_that_pauses_tells_how_many_records_wait_and_how_old_the_first_is(
    bus: Bus, incident: str
) -> None:
    over = asyncio.Event()

    async def away(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        if not over.is_set():
            raise DependencyUnavailableError("the vault")

    def oldest() -> float:
        return _told()["lostphone_consumer_oldest_unprocessed_seconds"]

    def behind() -> float:
        return sum(
            sample.value
            for family in metrics.REGISTRY.collect()
            for sample in family.samples
            if sample.name == "lostphone_consumer_lag_records" and sample.labels["topic"] == bus.topic
        )

    async def waits() -> bool:
        return oldest() > 0.5 and behind() == 3

    async def is_done() -> bool:
        return oldest() == behind() == 0

    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: away})):
        await bus.say(*(IncidentReopened(reason=reason) for reason in ("x", "y", "z")), subject=incident)
        await until(waits, "the age and the number of what waits are told")
        over.set()
        await until(is_done, "nothing waits")


async def test_the_end_of_a_transaction_is_no_record_that_a_service_is_behind_by(bus: Bus, incident: str) -> None:
    stranger = bus.transactions()
    stranger.begin_transaction()
    for number in range(2):
        stranger.produce(bus.topic, b"{}", incident.encode(), partition=number)
    stranger.commit_transaction()

    async def taken() -> bool:
        return await bus.position() == 2

    def lag(number: int) -> float | None:
        labels = {"topic": bus.topic, "partition": str(number)}
        return metrics.REGISTRY.get_sample_value("lostphone_consumer_lag_records", labels)

    async with bus.hearing(Dispatch({})):
        await until(taken, "both were taken")
    assert (lag(0), lag(1)) == (0, 0)


async def test_a_relay_that_cannot_reach_kafka_counts_it(bus: Bus, incident: str) -> None:
    before = _told()
    nowhere = Producer(KafkaConnection(f"127.0.0.1:{free_port()}"), "relay")
    relay = asyncio.create_task(Relay(bus.dsn, "reporter", nowhere, bus.speaker.in_hand, bus.health).run())
    try:
        await bus.say(IncidentReopened(reason="x"), subject=incident)
        await _moved(before, "relay_failures_total")
    finally:
        relay.cancel()
        await asyncio.gather(relay, return_exceptions=True)


async def test_offsets_that_kafka_refuses_are_counted_and_harm_nobody(bus: Bus, incident: str) -> None:
    before = _told()
    heard: list[str] = []

    async def handle(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        if payload.reason == "first":
            await _evict(bus, f"notifier.{bus.topic}")
        heard.append(payload.reason)

    async def has_last() -> bool:
        return "last" in heard

    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: handle})):
        await bus.say(IncidentReopened(reason="first"), subject=incident)
        await _moved(before, "consumer_commit_failures_total")
        await bus.say(IncidentReopened(reason="last"), subject=incident)
        await until(has_last, "the next event")
    assert heard.count("first") == 1


async def _evict(bus: Bus, group: str) -> None:
    """Have the broker take the group's members out of it, as it does with one that it did not hear for long."""
    admin = AdminClient({"bootstrap.servers": bus.bootstrap})
    found: Any = await asyncio.to_thread(admin.describe_consumer_groups([group], request_timeout=10)[group].result)
    client = AIOKafkaClient(bootstrap_servers=bus.bootstrap)
    await client.bootstrap()
    try:
        for member in found.members:
            await client.send(found.coordinator.id, LeaveGroupRequest(group, member.member_id))
    finally:
        await client.close()
