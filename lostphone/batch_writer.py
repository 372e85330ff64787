"""Writes whole batches to Kafka, each at the offset where it belongs, as no client for single records can: one that
nobody unpacked goes back as it is, and offsets that nobody reads are taken by a transaction that is taken back.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from lostphone.topics import BrokerError
from shared.events import Received
from shared.messaging.kafka import KafkaConnection

_ALL_REPLICAS = -1
_ANSWER_MS = 60_000
_ON_THE_WAY = 32
_BATCH_BYTES = 500_000
_NAME: Final = "lostphone-restore"
_TRANSACTION_MS = 900_000
"""The longest that brokers allow unless told otherwise."""
_TRIES = 600
_PAUSE_SECONDS = 0.01
_NOT_YET = (
    ConcurrentTransactions,
    GroupLoadInProgressError,
    GroupCoordinatorNotAvailableError,
    NotCoordinatorForGroupError,
)
"""Of transactions' coordinators too, which aiokafka names after those of groups."""
_LATEST = -1
_AS_THE_BATCH_SAYS = -1
"""The time at which the broker appended a batch, where that is not the time of its records."""
_CODECS = {
    DefaultRecordBase.CODEC_NONE: "uncompressed",
    DefaultRecordBase.CODEC_GZIP: "gzip",
    DefaultRecordBase.CODEC_SNAPPY: "snappy",
    DefaultRecordBase.CODEC_LZ4: "lz4",
    DefaultRecordBase.CODEC_ZSTD: "zstd",
}
_NOBODY = struct.pack(">qhi", -1, -1, -1)
"""Producer, its epoch, and the number that it gave the batch: the broker remembers these, and takes a batch with those
of another broker's producers for a repetition, or a producer of its own for one that lost its place."""
_CRC_AT, _ATTRIBUTES_AT, _DELTA_AT, _MAX_TIME_AT, _PRODUCER_AT, _RECORDS_AT = 17, 21, 23, 35, 43, 61


class RefusedError(Exception):
    """The broker does not take this batch; nothing was written."""


def codec_of(batch: bytes) -> str:
    """As topics name it."""
    return _CODECS.get(batch[_ATTRIBUTES_AT + 1] & DefaultRecordBase.CODEC_MASK, "unknown")


def records_in(batch: bytes) -> int:
    """How many offsets a batch takes."""
    return int.from_bytes(batch[_DELTA_AT : _DELTA_AT + 4]) + 1


def without_producer(batch: bytes) -> bytes:
    """The batch as anybody may write it: the same records, byte for byte, and nothing said of a producer that the
    broker knew, of its transaction, and of what the broker noted, its time of appending too. One of which there is
    nothing of it to say is left as it is."""
    whole = bytearray(batch)
    whole[:8] = bytes(8)
    whole[12:16] = b"\xff" * 4
    whole[_ATTRIBUTES_AT + 1] &= ~DefaultRecordBase.TIMESTAMP_TYPE_MASK
    if whole[_PRODUCER_AT : _PRODUCER_AT + 8] != _NOBODY[:8]:
        whole[_ATTRIBUTES_AT + 1] &= ~DefaultRecordBase.TRANSACTIONAL_MASK
        whole[_PRODUCER_AT : _PRODUCER_AT + len(_NOBODY)] = _NOBODY
    if whole[_ATTRIBUTES_AT:] != batch[_ATTRIBUTES_AT:]:
        whole[_CRC_AT:_ATTRIBUTES_AT] = calc_crc32c(bytes(whole[_ATTRIBUTES_AT:])).to_bytes(4)
    return bytes(whole)


def without_times(batch: bytes) -> bytes:
    """To compare batches that differ in the broker's own time alone."""
    return batch[:_CRC_AT] + bytes(4) + batch[_ATTRIBUTES_AT:_MAX_TIME_AT] + bytes(8) + batch[_PRODUCER_AT:]


class BatchWriter:
    """Batches go to the broker one behind the other, many on the way at a time, and land in that order."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._client = AIOKafkaClient(**connection.options(), client_id=_NAME, request_timeout_ms=_ANSWER_MS)
        self._on_the_way: deque[tuple[asyncio.Task[tuple[int, int]], str, int | None]] = deque()
        self._leaders: dict[tuple[str, int], int] = {}
        self._coordinator: int | None = None
        self._producer = (-1, -1)
        self._written: dict[tuple[str, int], int] = {}
        """How many records of transactions in each partition."""
        self._opened: set[tuple[str, int]] = set()
        """Which partitions have one that is open."""

    async def start(self) -> None:
        """Raises `KafkaError`."""
        await self._client.bootstrap()

    async def close(self) -> None:
        for task, _, _ in self._on_the_way:
            task.cancel()
        await asyncio.gather(*(task for task, _, _ in self._on_the_way), return_exceptions=True)
        await self._client.close()

    async def write(self, topic: str, partition: int, records: Sequence[Received], at: int | None) -> None:
        """Records that follow each other; where a place is given, the first must come to lie there. Raises
        `BrokerError`, for one of those before too."""
        for batch in _packed(records):
            await self._send(topic, partition, batch, at)
            at = None if at is None else at + records_in(batch)

    async def write_whole(self, topic: str, partition: int, batch: bytes, at: int | None) -> None:
        """A batch as it is. Raises `RefusedError` and `BrokerError`."""
        await self._find_leader(topic, partition)
        await self.arrive()
        try:
            landed = await self._produce(topic, partition, without_producer(batch), None)
        except KafkaError as error:
            if error.retriable:
                raise BrokerError(f"{topic}/{partition}@{at} was not written: {error!r}") from error
            raise RefusedError(type(error).__name__) from error
        _must_lie(f"{topic}/{partition}", landed, at)

    async def leave_empty(self, topic: str, partition: int, timestamp_ms: int, at: int, count: int) -> None:
        """Have a transaction take so many offsets. Others of this partition may follow, and records between them,
        until it is taken back. Raises `BrokerError`."""
        while count > 0:
            await self._open(topic, partition)
            now = min(count, 10_000)
            written = self._written.get((topic, partition), 0)
            batch = _empty(now, timestamp_ms, (*self._producer, written))
            await self._send(topic, partition, batch, at, _NAME)
            self._written[topic, partition] = (written + now) % 2**31
            at, count = at + now, count - now

    async def take_back(self, topic: str, partition: int, at: int) -> None:
        """The transaction that is open, or an empty one; the word of it takes this offset. Raises `BrokerError`."""
        await self._find_leader(topic, partition)
        await self._open(topic, partition)
        await self.arrive()
        await self._asked(lambda: EndTxnRequest(_NAME, *self._producer, transaction_result=False))
        self._opened.clear()
        for _ in range(_TRIES):
            end = await self._end(topic, partition)
            if end > at:
                _must_lie(f"{topic}/{partition}", (end - 1, _AS_THE_BATCH_SAYS), at)
                return
            await asyncio.sleep(_PAUSE_SECONDS)
        raise BrokerError(f"{topic}/{partition} has no end of a transaction at {at}")

    async def end_what_was_begun(self) -> None:
        """The transaction that an earlier one of this name left open, if any. Raises `BrokerError`."""
        answer = await self._asked(lambda: InitProducerIdRequest(_NAME, _TRANSACTION_MS))
        self._producer = (answer.producer_id, answer.producer_epoch)
        self._written.clear()
        self._opened.clear()

    async def arrive(self) -> None:
        """Wait for all that is on the way. Raises `BrokerError`."""
        while self._on_the_way:
            await self._first()

    async def _open(self, topic: str, partition: int) -> None:
        if (topic, partition) in self._opened:
            return
        if self._coordinator is None:
            await self.end_what_was_begun()
        await self._asked(lambda: AddPartitionsToTxnRequest(_NAME, *self._producer, [(topic, [partition])]))
        self._opened.add((topic, partition))

    async def _send(self, topic: str, partition: int, batch: bytes, at: int | None, name: str | None = None) -> None:
        await self._find_leader(topic, partition)
        if len(self._on_the_way) >= _ON_THE_WAY:
            await self._first()
        task = asyncio.create_task(self._produce(topic, partition, batch, name))
        self._on_the_way.append((task, f"{topic}/{partition}", at))
        # Its first step puts it on the wire, before the next one.
        await asyncio.sleep(0)

    async def _first(self) -> None:
        task, place, at = self._on_the_way.popleft()
        try:
            landed = await task
        except KafkaError as error:
            raise BrokerError(f"{place}: not written: {error!r}") from error
        _must_lie(place, landed, at)

    async def _produce(self, topic: str, partition: int, batch: bytes, name: str | None) -> tuple[int, int]:
        """Where it came to lie, and when the broker says that was."""
        request = ProduceRequest(name, _ALL_REPLICAS, _ANSWER_MS, [(topic, [(partition, batch)])])
        answer = await self._client.send(self._leaders[topic, partition], request)
        ((_, ((_, code, offset, appended_ms, *_),)),) = answer.topics
        _raise(code)
        return int(offset), int(appended_ms)

    async def _end(self, topic: str, partition: int) -> int:
        request = OffsetRequest(-1, 0, [(topic, [(partition, _LATEST)])])
        answer = await self._client.send(self._leaders[topic, partition], request)
        ((_, ((_, code, _, offset, *_),)),) = answer.topics
        _raise(code)
        return int(offset)

    async def _find_leader(self, topic: str, partition: int) -> None:
        """One that was just chosen is not known at once."""
        for _ in range(_TRIES):
            if (topic, partition) in self._leaders:
                return
            leader = self._client.cluster.leader_for_partition(TopicPartition(topic, partition))
            if leader is not None and leader >= 0:
                self._leaders[topic, partition] = leader
                return
            await self._client.force_metadata_update()
            await asyncio.sleep(_PAUSE_SECONDS)
        raise BrokerError(f"{topic}/{partition} has no leader")

    async def _asked(self, request: Any) -> Any:
        """The coordinator's answer, once it is ready to give one."""
        for _ in range(_TRIES):
            try:
                if self._coordinator is None:
                    found = await self._client.coordinator_lookup(CoordinationType.TRANSACTION, _NAME)
                    self._coordinator = int(found)
                answer = await self._client.send(self._coordinator, request())
                for code in _codes(answer):
                    _raise(code)
            except _NOT_YET as error:
                if not isinstance(error, ConcurrentTransactions):
                    self._coordinator = None
                await asyncio.sleep(_PAUSE_SECONDS)
            except KafkaError as error:
                raise BrokerError(f"offsets that nobody reads cannot be left out: {error!r}") from error
            else:
                return answer
        raise BrokerError("offsets that nobody reads cannot be left out: transactions are not ready")


def _packed(records: Sequence[Received]) -> Iterable[bytes]:
    left = deque(records)
    while left:
        builder = DefaultRecordBatchBuilder(2, DefaultRecordBase.CODEC_ZSTD, 0, -1, -1, -1, _BATCH_BYTES)
        count = 0
        while left:
            record = left[0]
            headers = list(record.headers)
            if builder.append(count, record.timestamp_ms, record.key, record.value, headers) is None:
                break
            left.popleft()
            count += 1
        yield bytes(builder.build())


def _empty(count: int, timestamp_ms: int, producer: tuple[int, int, int]) -> bytes:
    builder = DefaultRecordBatchBuilder(2, DefaultRecordBase.CODEC_ZSTD, 1, *producer, 1 << 30)
    for offset in range(count):
        builder.append(offset, timestamp_ms, None, None, [])
    return bytes(builder.build())


def _codes(answer: Any) -> list[int]:
    if hasattr(answer, "error_code"):
        return [answer.error_code]
    return [code for _, partitions in answer.errors for _, code in partitions]


def _raise(code: int) -> None:
    if code:
        raise for_code(code)


def _must_lie(place: str, landed: tuple[int, int], at: int | None) -> None:
    """Raises `BrokerError` when what has a place got another one, or another time than its own."""
    if at is None:
        return
    if landed[0] != at:
        raise BrokerError(f"{place}@{at} lies at {landed[0]}")
    if landed[1] != _AS_THE_BATCH_SAYS:
        raise BrokerError(f"{place}@{at} got the broker's time in place of its own")
