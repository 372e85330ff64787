"""A batch of the log: its records as they were received, where it begins and ends, and what became of it."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from aiokafka import ConsumerRecord

from shared.events import Reading, Received, Rejection
from shared.telemetry import metrics

type Place = tuple[str, int, int]
"""Topic, partition and offset."""


def received(record: ConsumerRecord) -> Received:
    return Received(
        record.topic, record.partition, record.offset, record.timestamp, record.key, tuple(record.headers), record.value
    )


def length(record: ConsumerRecord) -> int:
    """Of all that somebody may make long."""
    return len(record.key or b"") + len(record.value or b"") + sum([len(data or b"") for _, data in record.headers])


def firsts(batch: Sequence[Received]) -> list[Received]:
    return list({(record.topic, record.partition): record for record in reversed(batch)}.values())


def lasts(batch: Sequence[Received]) -> list[Received]:
    return list({(record.topic, record.partition): record for record in batch}.values())


def age(records: Sequence[Received]) -> float:
    """Seconds since the oldest of them was written."""
    return max(0.0, time.time() - min(record.timestamp_ms for record in records) / 1000)


def count(batch: Sequence[Received], new: Sequence[Received], readings: Iterable[Reading]) -> None:
    """What became of a batch, once it is committed."""
    for (topic, partition), records in Counter((record.topic, record.partition) for record in new).items():
        metrics.CONSUMED.labels(topic, str(partition)).inc(records)
    places = {place_of(record) for record in new}
    if len(places) < len(batch):
        for record in batch:
            if place_of(record) not in places:
                metrics.DUPLICATES.labels(record.topic).inc()
    for reading in readings:
        if isinstance(reading, Rejection) and place_of(reading.received) in places:
            metrics.REJECTED.labels(reading.kind, reading.reason.partition(":")[0]).inc()


def place_of(record: Received) -> Place:
    return record.topic, record.partition, record.offset
