"""Records of a backup go back to an empty broker, those of the log each at its own offset.

Some offsets of a log hold no record that anybody reads: the end of a transaction takes one, each record that a
transaction took back keeps its own, and the beginning of a log can be deleted. They are left out again by the same
means, so that the new log reads like the old one: a hole of one offset is the end of a transaction with the record
before it, a longer one is a transaction that is taken back, and a hole at the beginning is filled and deleted.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, pairwise
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from lostphone.backup_log import reader, watermarks
from lostphone.topics import BrokerError
from shared.events import Received

_BATCH = 2000
_WITHIN_SECONDS = 60.0
_TRANSACTION_MS = 900_000
"""The longest that brokers allow unless told otherwise."""


def fill(connection: Mapping[str, Any], found: Iterable[Received], *, exactly: frozenset[str]) -> int:
    """Write the records, partition after partition, to an empty broker, with their timestamps; those of the topics in
    `exactly` at their very offsets. How many. Raises `BrokerError`, also when an offset is another."""
    refill = _Refill(connection, exactly)
    written = 0
    try:
        for record, after in pairwise(chain(found, (None,))):
            if record is not None:
                refill.write(record, after)
                written += 1
        refill.finish()
    except KafkaException as error:
        raise BrokerError(f"the log cannot be written: {error.args[0].str()}") from error
    finally:
        refill.close()
    return written


class _Refill:
    def __init__(self, connection: Mapping[str, Any], exactly: frozenset[str]) -> None:
        self._connection = connection
        self._exactly = exactly
        self._producer = Producer({"acks": "all", "enable.idempotence": True, "log_level": 0, **connection})
        self._transactional: Producer | None = None
        self._reader: Consumer | None = None
        self._begun: dict[tuple[str, int], int] = {}
        """The first offset of each partition."""
        self._wrong: list[str] = []
        self._produced = 0

    def write(self, record: Received, after: Received | None) -> None:
        """Write a record, and leave out what lies empty around it."""
        if record.topic not in self._exactly:
            self._produce(self._producer, record)
            return
        if _place(record) not in self._begun:
            self._begun[_place(record)] = record.offset
            for empty in _empty(record, 0, record.offset):
                self._produce(self._producer, empty)
        next_offset = record.offset + 1
        hole = after.offset - next_offset if after is not None and _place(after) == _place(record) else 0
        if hole == 1:
            self._in_transaction([record], commit=True)
            return
        self._produce(self._producer, record)
        if hole > 1:
            self._in_transaction(list(_empty(record, next_offset, hole - 1)), commit=False)

    def finish(self) -> None:
        """Wait until all is there, and delete what was no record. Raises `BrokerError`."""
        self._flush(self._producer)
        begins = [TopicPartition(*place, offset) for place, offset in self._begun.items() if offset]
        if begins:
            admin = AdminClient({"log_level": 0, **self._connection})  # answers as long as somebody holds it
            for deleted in admin.delete_records(begins).values():
                deleted.result(_WITHIN_SECONDS)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _in_transaction(self, records: list[Received], *, commit: bool) -> None:
        self._flush(self._producer)
        producer = self._begin_transaction()
        for record in records:
            self._produce(producer, record)
        # What was not sent yet would be dropped when it is taken back, and take no offset.
        self._flush(producer)
        if commit:
            producer.commit_transaction(_WITHIN_SECONDS)
        else:
            producer.abort_transaction(_WITHIN_SECONDS)
        self._wait_for(records[-1].topic, records[-1].partition, records[-1].offset + 2)

    def _begin_transaction(self) -> Producer:
        if self._transactional is None:
            settings = {"transactional.id": "lostphone-restore", "transaction.timeout.ms": _TRANSACTION_MS}
            self._transactional = Producer({"log_level": 0, **self._connection, **settings})
            self._transactional.init_transactions(_WITHIN_SECONDS)
        self._transactional.begin_transaction()
        return self._transactional

    def _wait_for(self, topic: str, partition: int, end: int) -> None:
        """The end of a transaction comes to lie in the log after its producer was answered."""
        self._reader = self._reader or reader(self._connection)
        deadline = time.monotonic() + _WITHIN_SECONDS
        while (now := watermarks(self._reader, topic, partition)[1]) != end:
            if now > end or time.monotonic() > deadline:
                raise BrokerError(f"{topic}/{partition} ends at {now} and not at {end}")
            time.sleep(0.01)

    def _flush(self, producer: Producer) -> None:
        left = producer.flush(_WITHIN_SECONDS)
        if left or self._wrong:
            raise BrokerError(f"{left + len(self._wrong)} records are not where they were: {self._wrong[:3]}")

    def _produce(self, producer: Producer, record: Received) -> None:
        while True:
            try:
                producer.produce(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers),
                    partition=record.partition,
                    timestamp=record.timestamp_ms,
                    on_delivery=partial(self._landed, record),
                )
                break
            except BufferError:
                producer.poll(0.5)
        self._produced += 1
        if self._produced % _BATCH == 0:
            producer.poll(0)

    def _landed(self, record: Received, error: Any, message: Any) -> None:
        if error is not None:
            self._wrong.append(f"{record.topic}/{record.partition}@{record.offset}: {error.str()}")
        elif record.topic in self._exactly and message.offset() != record.offset:
            self._wrong.append(f"{record.topic}/{record.partition}@{record.offset} lies at {message.offset()}")


def _place(record: Received) -> tuple[str, int]:
    return record.topic, record.partition


def _empty(beside: Received, first: int, count: int) -> Iterator[Received]:
    """Records for these offsets of the same partition, which nobody will read."""
    for offset in range(first, first + count):
        yield Received(beside.topic, beside.partition, offset, beside.timestamp_ms, None, (), None)
