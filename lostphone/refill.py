"""Records of a backup go back to an empty broker, those of the log each at its own offset.

Some offsets of a log hold no record that anybody reads: the end of a transaction takes one, each record that a
transaction took back keeps its own, and the beginning of a log can be deleted. They are left out again by the same
means, so that the new log reads like the old one: all such offsets of a stretch belong to one transaction, which is
taken back at the last of them, and those at the beginning are filled and deleted.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from lostphone.batch_writer import BatchWriter, RefusedError, codec_of, records_in
from lostphone.kafka_access import as_service
from lostphone.topics import BrokerError, config, set_config
from shared.events import Received, Unopened
from shared.events.contracts.topics import TIMESTAMPS

_STRETCH_RECORDS = 2000
_STRETCH_BYTES = 8 * 1024 * 1024
_EMPTY_AT_ONCE = 10_000
_WITHIN_SECONDS = 60.0


@dataclass
class Refilled:
    """What was done: how many records there are, and which batches the broker did not take, and why. The offsets of
    these are empty."""

    records: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def fill(connection: Mapping[str, Any], found: Iterable[Received], *, exactly: frozenset[str]) -> Refilled:
    """Write the records, partition after partition, to an empty broker, with their timestamps; those of the topics in
    `exactly` at their very offsets. Raises `BrokerError`, also when an offset is another."""
    try:
        with ExitStack() as after:
            for topic in exactly:
                after.enter_context(_timestamps_kept(connection, topic))
            return asyncio.run(_Refill(connection, exactly).run(found))
    except (KafkaError, OSError) as error:
        raise BrokerError(f"the log cannot be written: {error!r}") from error


@contextmanager
def _timestamps_kept(connection: Mapping[str, Any], topic: str) -> Iterator[None]:
    """Meanwhile the broker takes the times that the records have. After a kill `up` sets what the manifest wants."""
    before = config(connection, topic, TIMESTAMPS)
    if before == "CreateTime":
        yield
        return
    set_config(connection, topic, TIMESTAMPS, "CreateTime")
    try:
        yield
    finally:
        set_config(connection, topic, TIMESTAMPS, before)


def end_what_was_begun(connection: Mapping[str, Any]) -> None:
    """What an interrupted one left open, so that its end comes to lie in no log that is made anew. Raises
    `BrokerError`."""

    async def end() -> None:
        writer = BatchWriter(as_service(connection))
        try:
            await writer.start()
            await writer.end_what_was_begun()
        finally:
            await writer.close()

    try:
        asyncio.run(end())
    except (KafkaError, OSError) as error:
        raise BrokerError(f"the broker cannot be reached: {error!r}") from error


class _Refill:
    def __init__(self, connection: Mapping[str, Any], exactly: frozenset[str]) -> None:
        self._connection = connection
        self._exactly = exactly
        self._done = Refilled()
        self._next: dict[tuple[str, int], int] = {}
        """Of each partition the offset behind what was written."""
        self._begins: dict[tuple[str, int], int] = {}
        """Of each partition the first offset."""
        self._compression: dict[str, str] = {}

    async def run(self, found: Iterable[Received]) -> Refilled:
        writer = BatchWriter(as_service(self._connection))
        try:
            await writer.start()
            for stretch in _stretches(found):
                if stretch[0].topic in self._exactly:
                    await self._write_at_offsets(writer, stretch)
                else:
                    await self._write(writer, stretch)
                self._done.records += len(stretch)
            await writer.arrive()
        finally:
            await writer.close()
        await asyncio.to_thread(self._delete_beginnings)
        return self._done

    async def _write(self, writer: BatchWriter, stretch: Sequence[Received]) -> None:
        """Where they come to lie does not matter."""
        for records in _runs(stretch):
            if isinstance(records[0].value, Unopened):
                await self._write_whole(writer, records[0], None)
            else:
                await writer.write(records[0].topic, records[0].partition, records, None)

    async def _write_at_offsets(self, writer: BatchWriter, stretch: Sequence[Received]) -> None:
        topic, partition = place = _place(stretch[0])
        if place not in self._next:
            await self._fill_beginning(writer, stretch[0])
        runs = list(_runs(stretch))
        last_hole = self._last_hole(place, runs)
        for records in runs:
            at, first = self._next[place], _first(records[0])
            if at < first:
                ends = first == last_hole
                await writer.leave_empty(topic, partition, records[0].timestamp_ms, at, first - at - ends)
                if ends:
                    await writer.take_back(topic, partition, first - 1)
            self._next[place] = records[-1].offset + 1
            if isinstance(records[0].value, Unopened):
                await self._write_whole(writer, records[0], first)
            else:
                await writer.write(topic, partition, records, first)

    def _last_hole(self, place: tuple[str, int], runs: Sequence[Sequence[Received]]) -> int | None:
        """The offset behind the last empty ones of a stretch."""
        last = None
        at = self._next[place]
        for records in runs:
            if at < _first(records[0]):
                last = _first(records[0])
            at = records[-1].offset + 1
        return last

    async def _write_whole(self, writer: BatchWriter, record: Received, at: int | None) -> None:
        batch = record.value or b""
        try:
            await asyncio.to_thread(self._must_keep, record.topic, batch)
            await writer.write_whole(record.topic, record.partition, batch, at)
        except RefusedError as error:
            self._done.records -= 1
            self._done.refused[f"{record.topic}/{record.partition}@{record.offset}"] = str(error)
            if at is not None:
                count = records_in(batch)
                await writer.leave_empty(record.topic, record.partition, record.timestamp_ms, at, count - 1)
                await writer.take_back(record.topic, record.partition, record.offset)

    def _must_keep(self, topic: str, batch: bytes) -> None:
        """Raises `RefusedError` for what the broker would pack anew: it would not be what it was, and who would unpack
        it then is the broker itself, in its own memory."""
        if topic not in self._compression:
            self._compression[topic] = config(self._connection, topic, "compression.type")
        if self._compression[topic] not in ("producer", codec_of(batch)):
            raise RefusedError(f"packed as {codec_of(batch)}, and the topic packs as {self._compression[topic]}")

    async def _fill_beginning(self, writer: BatchWriter, record: Received) -> None:
        topic, partition = place = _place(record)
        self._next[place] = self._begins[place] = first = _first(record)
        for at in range(0, first, _EMPTY_AT_ONCE):
            empty = Received(topic, partition, at, record.timestamp_ms, None, (), None)
            await writer.write(topic, partition, [empty] * min(_EMPTY_AT_ONCE, first - at), at)

    def _delete_beginnings(self) -> None:
        begins = [TopicPartition(*place, offset) for place, offset in self._begins.items() if offset]
        if not begins:
            return
        admin = AdminClient({"log_level": 0, **self._connection})  # answers as long as somebody holds it
        try:
            for deleted in admin.delete_records(begins).values():
                deleted.result(_WITHIN_SECONDS)
        except KafkaException as error:
            raise BrokerError(f"the beginning of the log cannot be deleted: {error.args[0].str()}") from error


def _stretches(found: Iterable[Received]) -> Iterator[list[Received]]:
    """Records of one partition each, as many as may be held at once."""
    stretch: list[Received] = []
    held = 0
    for record in found:
        is_full = len(stretch) >= _STRETCH_RECORDS or held >= _STRETCH_BYTES
        if stretch and (is_full or _place(stretch[0]) != _place(record)):
            yield stretch
            stretch, held = [], 0
        stretch.append(record)
        held += len(record.value or b"")
    if stretch:
        yield stretch


def _runs(stretch: Sequence[Received]) -> Iterator[list[Received]]:
    """Records without an empty offset between them; a batch that nobody unpacked is by itself."""
    run: list[Received] = []
    for record in stretch:
        is_alone = isinstance(record.value, Unopened) or bool(run and isinstance(run[0].value, Unopened))
        if run and (is_alone or record.offset != run[-1].offset + 1):
            yield run
            run = []
        run.append(record)
    if run:
        yield run


def _place(record: Received) -> tuple[str, int]:
    return record.topic, record.partition


def _first(record: Received) -> int:
    """The first offset that it takes."""
    taken = records_in(record.value) if isinstance(record.value, Unopened) else 1
    return record.offset + 1 - taken
