"""A batch that unpacks to more than any may be stops no backup, and comes back as it lay there, or is named."""

import asyncio
import dataclasses
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from lostphone import backup_log, topic_reader
from lostphone.batch_writer import without_producer
from lostphone.refill import Refilled, fill
from shared.events import Received, Unopened
from shared.messaging.unpacking import MAX_UNPACKED_BYTES
from tests.messaging.conftest import Bus

_BOMB = bytes(60 * MAX_UNPACKED_BYTES)
"""More than librdkafka unpacks at all."""
_CODECS = ("gzip", "snappy", "lz4", "zstd")


async def _send(bus: Bus, codec: str, *values: bytes, producer: AIOKafkaProducer | None = None) -> None:
    """All in one batch, by a client that bounds nothing itself."""
    own = producer or AIOKafkaProducer(
        bootstrap_servers=bus.bootstrap, compression_type=codec, max_request_size=1 << 30, max_batch_size=1 << 30
    )
    if producer is None:
        await own.start()
    try:
        batch = own.create_batch()
        for value in values:
            assert batch.append(key=b"k", value=value, timestamp=None) is not None
        await (await own.send_batch(batch, bus.topic, partition=0))
    finally:
        if producer is None:
            await own.stop()


@pytest.fixture(params=_CODECS)
async def bombed(request: pytest.FixtureRequest, bus: Bus) -> Bus:
    """Its log holds one bomb alone, and one between other records of its batch."""
    long = _BOMB if request.param == "zstd" else _BOMB[: 4 * MAX_UNPACKED_BYTES]
    await _send(bus, request.param, b"before")
    await _send(bus, request.param, long)
    await _send(bus, request.param, b"first", long, b"last")
    await _send(bus, request.param, b"behind", b"it")
    return bus


def test_it_is_kept_as_services_see_it_and_comes_back_as_it_was(bombed: Bus, tmp_path: Path) -> None:
    kept = _kept(bombed, tmp_path)
    assert [record.offset for record in kept] == [0, 1, 4, 5, 6]
    assert [type(record.value) for record in kept] == [bytes, Unopened, Unopened, bytes, bytes]
    assert sum(len(record.value or b"") for record in kept) < len(_BOMB) // 20
    assert _written(bombed, kept) == Refilled(5)
    assert _same(_read(bombed, bombed.redrive_topic), kept)


async def test_one_of_a_transaction_comes_back_at_its_offsets_without_its_producer(bus: Bus) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bus.bootstrap,
        transactional_id=bus.topic,
        compression_type="zstd",
        max_request_size=1 << 30,
        max_batch_size=1 << 30,
    ) as producer:
        for is_kept in (True, False, True):
            await producer.begin_transaction()
            await _send(bus, "zstd", b"beside", _BOMB[: 2 * MAX_UNPACKED_BYTES], producer=producer)
            await (producer.commit_transaction() if is_kept else producer.abort_transaction())
    await _send(bus, "zstd", b"behind")
    kept = await asyncio.to_thread(_read, bus, bus.topic)
    assert [record.offset for record in kept] == [1, 7, 9]
    assert await asyncio.to_thread(_written, bus, kept) == Refilled(3)
    again = await asyncio.to_thread(_read, bus, bus.redrive_topic)
    assert _same(again, kept)
    assert again[0].value != kept[0].value, "another broker's producers are not this one's"


async def test_what_the_broker_would_pack_anew_or_refuses_is_named_and_its_offsets_are_empty(bus: Bus) -> None:
    for codec in ("gzip", "zstd", "zstd"):
        await _send(bus, codec, b"beside", _BOMB[: 2 * MAX_UNPACKED_BYTES])
    await _send(bus, "zstd", b"behind")
    packed_anew, whole, damaged, behind = await asyncio.to_thread(_read, bus, bus.topic)
    _pack_as(bus, bus.redrive_topic, "zstd")
    damaged = dataclasses.replace(damaged, value=_damaged(damaged.value or b""))
    done = await asyncio.to_thread(_written, bus, [packed_anew, whole, damaged, behind])
    assert done.records == 2
    assert done.refused == {
        f"{bus.redrive_topic}/0@1": "packed as gzip, and the topic packs as zstd",
        f"{bus.redrive_topic}/0@5": "UnknownError",
    }
    again = await asyncio.to_thread(_read, bus, bus.redrive_topic)
    assert [record.offset for record in again] == [3, 6]


def _damaged(batch: bytes) -> Unopened:
    whole = bytearray(batch)
    whole[61:] = b"\xff" * (len(batch) - 61)
    whole[17:21] = struct.pack(">I", calc_crc32c(bytes(whole[21:])))
    return Unopened(whole)


def _kept(bus: Bus, folder: Path) -> list[Received]:
    """What a backup has of its log."""
    file = folder / "log.jsonl.gz"
    backup_log.write(file, iter(_read(bus, bus.topic)))
    return list(backup_log.read_file(file))


def _read(bus: Bus, topic: str) -> list[Received]:
    return list(topic_reader.records(_kafka(bus), topic, topic_reader.ends(_kafka(bus), topic)))


def _written(bus: Bus, kept: list[Received]) -> Refilled:
    """These records written to an empty topic."""
    empty = bus.redrive_topic
    return fill(_kafka(bus), _in(empty, kept), exactly=frozenset({empty}))


def _in(topic: str, records: list[Received]) -> Iterator[Received]:
    return (dataclasses.replace(record, topic=topic) for record in records)


def _same(found: list[Received], kept: list[Received]) -> bool:
    return [_bare(record) for record in found] == [_bare(record) for record in _in(found[0].topic, kept)]


def _bare(record: Received) -> Received:
    is_whole = isinstance(record.value, Unopened)
    return dataclasses.replace(record, value=without_producer(record.value or b"")) if is_whole else record


def _pack_as(bus: Bus, topic: str, codec: str) -> None:
    packs = ConfigEntry("compression.type", codec, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[packs])
    admin = AdminClient(_kafka(bus))  # answers as long as somebody holds it
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(10)


def _kafka(bus: Bus) -> dict[str, str]:
    return {"bootstrap.servers": bus.bootstrap}
