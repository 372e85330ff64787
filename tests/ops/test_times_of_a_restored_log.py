"""The log has the broker's times, which no writer chooses; a restore brings them back all the same."""

import asyncio
import dataclasses
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from lostphone import topic_reader
from lostphone.refill import fill
from lostphone.topics import config, set_config
from lostphone.unfinished_restore import same
from shared.events import Received, Unopened
from shared.events.contracts.topics import TIMESTAMPS
from shared.messaging.unpacking import MAX_UNPACKED_BYTES
from tests.messaging.conftest import Bus

_LONG_AGO = 1_000


@pytest.fixture
def timed(bus: Bus) -> Bus:
    """Its log, and the topic that is restored into, are as the manifest has the log."""
    for topic in (bus.topic, bus.redrive_topic):
        set_config(_kafka(bus), topic, TIMESTAMPS, "LogAppendTime")
    return bus


def test_a_writer_does_not_choose_when_a_record_came(timed: Bus) -> None:
    assert all(record.timestamp_ms > _LONG_AGO for record in _sent(timed, 3))


def test_records_come_back_with_their_times_and_what_comes_then_has_the_brokers(timed: Bus) -> None:
    kept = [dataclasses.replace(record, timestamp_ms=_LONG_AGO + record.offset) for record in _sent(timed, 3)]
    assert list(_restored(timed, kept)) == list(_in(timed.redrive_topic, kept))
    assert config(_kafka(timed), timed.redrive_topic, TIMESTAMPS) == "LogAppendTime"


async def test_a_batch_that_nobody_unpacked_is_known_again_after_a_restore_that_was_interrupted(timed: Bus) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=timed.bootstrap, compression_type="zstd", max_request_size=1 << 30, max_batch_size=1 << 30
    ) as producer:
        batch = producer.create_batch()
        assert batch.append(key=b"k", value=bytes(4 * MAX_UNPACKED_BYTES), timestamp=_LONG_AGO) is not None
        await (await producer.send_batch(batch, timed.topic, partition=0))
    (kept,) = await asyncio.to_thread(_read, timed, timed.topic)
    assert isinstance(kept.value, Unopened)
    assert kept.timestamp_ms > _LONG_AGO
    (again,) = await asyncio.to_thread(_restored, timed, [kept])
    assert same(dataclasses.replace(kept, topic=timed.redrive_topic), again)


def _sent(bus: Bus, count: int) -> list[Received]:
    producer = Producer(_kafka(bus))
    for _ in range(count):
        producer.produce(bus.topic, b"{}", b"key", partition=0, timestamp=_LONG_AGO)
    assert producer.flush(10) == 0
    return _read(bus, bus.topic)


def _restored(bus: Bus, kept: list[Received]) -> list[Received]:
    fill(_kafka(bus), _in(bus.redrive_topic, kept), exactly=frozenset({bus.redrive_topic}))
    return _read(bus, bus.redrive_topic)


def _in(topic: str, records: list[Received]) -> Iterator[Received]:
    return (dataclasses.replace(record, topic=topic) for record in records)


def _read(bus: Bus, topic: str) -> list[Received]:
    return list(topic_reader.records(_kafka(bus), topic, topic_reader.ends(_kafka(bus), topic)))


def _kafka(bus: Bus) -> dict[str, str]:
    return {"bootstrap.servers": bus.bootstrap}
