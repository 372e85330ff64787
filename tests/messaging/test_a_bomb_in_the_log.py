"""What is small in Kafka and huge unpacked takes nobody's memory: it is heard of as one record that acts nowhere, and
the records behind it go on."""

import gzip
import struct
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import cramjam
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from shared.events import Reading, Rejection, Unopened
from shared.messaging import Unit
from shared.messaging.fetched import _Batches
from shared.messaging.unpacking import MAX_UNPACKED_BYTES, NotUnpackedError, unpacked
from tests.messaging.conftest import Bus, until

_BOMB = bytes(8 * MAX_UNPACKED_BYTES)
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_CODECS = {"gzip": _GZIP, "snappy": _SNAPPY, "lz4": _LZ4, "zstd": _ZSTD}


class _Heard:
    def __init__(self) -> None:
        self.readings: list[Reading] = []
        self.batches: list[int] = []

    async def take(self, unit: Unit, readings: Sequence[Reading]) -> None:
        self.readings += readings
        self.batches.append(len(readings))


@asynccontextmanager
async def _producer(bus: Bus, codec: str) -> AsyncIterator[AIOKafkaProducer]:
    """As of a client that bounds nothing itself."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bus.bootstrap, compression_type=codec, max_request_size=1 << 30, max_batch_size=1 << 30
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _send(bus: Bus, codec: str, *values: bytes) -> None:
    """All in one batch."""
    async with _producer(bus, codec) as producer:
        batch = producer.create_batch()
        for value in values:
            assert batch.append(key=b"k", value=value, timestamp=None) is not None
        await (await producer.send_batch(batch, bus.topic, partition=0))


@pytest.mark.parametrize("codec", _CODECS)
async def test_the_records_behind_a_bomb_are_heard(bus: Bus, codec: str) -> None:
    heard = _Heard()
    async with bus.hearing(heard):
        await _send(bus, codec, b"before")
        await _send(bus, codec, _BOMB)
        await _send(bus, codec, b"first", b"x" * MAX_UNPACKED_BYTES, b"last")
        await _send(bus, codec, b"behind", b"it")

        async def all_taken() -> bool:
            return await bus.position() == 7

        await until(all_taken, "every record was taken")
    rejections = [
        (reading.received.offset, reading.reason.partition(":")[0])
        for reading in heard.readings
        if isinstance(reading, Rejection)
    ]
    assert rejections == [
        (0, "header_missing"),
        (1, "batch_not_unpacked"),
        (4, "batch_not_unpacked"),
        (5, "header_missing"),
        (6, "header_missing"),
    ]
    bomb = heard.readings[1].received
    assert isinstance(bomb.value, Unopened)
    assert len(bomb.value) < len(_BOMB) // 10
    with pytest.raises(NotUnpackedError):
        unpacked(memoryview(bomb.value))
    assert bomb.timestamp_ms > 0


@pytest.mark.parametrize("place", ["value", "header"])
async def test_no_more_is_held_at_once_than_a_few_long_records(bus: Bus, place: str) -> None:
    """Each of them is no bomb by itself."""
    long = bytes(MAX_UNPACKED_BYTES - 100)
    record: dict[str, Any] = {"value": long} if place == "value" else {"value": b"", "headers": [("name", long)]}
    async with _producer(bus, "zstd") as producer:
        for _ in range(60):
            await producer.send_and_wait(bus.topic, partition=0, **record)
    heard = _Heard()
    async with bus.hearing(heard):

        async def all_taken() -> bool:
            return await bus.position() == 60

        await until(all_taken, "every record was taken")
    assert sum(heard.batches) == 60
    assert max(heard.batches) <= 30


def _batch(codec: int, records: bytes | None = None) -> memoryview:
    builder = DefaultRecordBatchBuilder(2, codec if records is None else 0, 0, -1, -1, -1, 1 << 30)
    for offset in range(3):
        builder.append(offset, 1, b"key", b"value" * 100, [("name", b"value")])
    data = bytearray(builder.build())
    if records is not None:
        data[22] |= codec
        data[61:] = records
        struct.pack_into(">i", data, 8, len(data) - 12)
    return memoryview(data)


def _packed(codec: int, records: bytes) -> bytes:
    pack = {
        _GZIP: gzip.compress,
        _SNAPPY: cramjam.snappy.compress_raw,
        _LZ4: cramjam.lz4.compress,
        _ZSTD: cramjam.zstd.compress,
    }
    return bytes(pack[codec](records))


def _values(data: memoryview) -> list[bytes]:
    return [bytes(record.value) for record in _Batches(bytes(data)).next_batch()]


def _xerial(*blocks: bytes) -> bytes:
    return b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + b"".join(struct.pack(">i", len(one)) + one for one in blocks)


@pytest.mark.parametrize("codec", [0, *_CODECS.values()])
def test_what_is_no_bomb_is_read_as_before(codec: int) -> None:
    assert _values(_batch(codec)) == [b"value" * 100] * 3
    plain = bytes(_batch(0)[61:])
    assert bytes(unpacked(_batch(codec))[61:]) == plain


@pytest.mark.parametrize("codec", _CODECS.values())
def test_a_batch_keeps_its_bytes_when_others_are_unpacked_and_holds_none_of_theirs(codec: int) -> None:
    first = _values(_batch(codec))
    held = unpacked(_batch(codec))
    with pytest.raises(NotUnpackedError):
        unpacked(_batch(codec, _packed(codec, b"x" * (MAX_UNPACKED_BYTES + 1))))
    assert bytes(unpacked(_batch(codec, _packed(codec, b"short")))[61:]) == b"short"
    assert bytes(held[61:]) == bytes(_batch(0)[61:])
    assert first == _values(_batch(codec)) == [b"value" * 100] * 3


@pytest.mark.parametrize("codec", _CODECS.values())
def test_threads_unpack_side_by_side(codec: int) -> None:
    lengths = range(1, 400_000, 5_000)
    batches = [_batch(codec, _packed(codec, bytes([at % 256]) * length)) for at, length in enumerate(lengths)]
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(lambda batch: bytes(unpacked(batch)[61:]), batches))
    assert read == [bytes([at % 256]) * length for at, length in enumerate(lengths)]


def test_snappy_is_read_in_both_its_forms() -> None:
    plain = bytes(_batch(0)[61:])
    halves = [bytes(cramjam.snappy.compress_raw(part)) for part in (plain[:700], plain[700:])]
    assert _values(_batch(_SNAPPY, _xerial(*halves))) == [b"value" * 100] * 3
    assert _values(_batch(_SNAPPY, bytes(cramjam.snappy.compress_raw(plain)))) == [b"value" * 100] * 3


_DAMAGED = {
    **{f"no records, codec {codec}": (codec, b"damaged") for codec in (*_CODECS.values(), 5, 7)},
    **{f"cut off, codec {codec}": (codec, bytes(_batch(codec)[61:-3])) for codec in (_GZIP, _LZ4, _ZSTD)},
    "gzip twice": (_GZIP, bytes(_batch(_GZIP)[61:]) * 2),
    "snappy block of a negative length": (_SNAPPY, _xerial() + struct.pack(">i", -4)),
    "snappy block without a length": (_SNAPPY, _xerial() + struct.pack(">i", 0)),
    "snappy bomb": (_SNAPPY, _xerial(bytes(cramjam.snappy.compress_raw(bytes(MAX_UNPACKED_BYTES))), b"x")),
}


# Named, because gzip writes the time into its head: workers would not find the same tests.
@pytest.mark.parametrize(("codec", "records"), _DAMAGED.values(), ids=_DAMAGED)
def test_a_batch_that_is_damaged_is_one_record_too(codec: int, records: bytes) -> None:
    data = _batch(codec, records)
    (record,) = _Batches(bytes(data)).next_batch()
    assert (record.offset, record.value) == (2, data)
    assert isinstance(record.value, Unopened)
