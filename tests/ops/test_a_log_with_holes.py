"""A log whose offsets are not all records: transactions of another producer ended in it, or its beginning was deleted.

Nothing of ours writes transactions. Whoever may write to the log can, and their ends take offsets for ever.
"""

import dataclasses
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from lostphone import standing, topic_reader
from lostphone.refill import fill
from shared.events import Received
from tests.messaging.conftest import Bus

_COMMITTED, _ABORTED, _PLAIN = "committed", "aborted", "plain"
type _Step = tuple[str, int]
"""So many records, and how they are written."""

_LAYOUTS: dict[str, list[_Step]] = {
    "the end of a transaction at the end": [(_PLAIN, 2), (_COMMITTED, 1)],
    "nothing but an aborted transaction": [(_ABORTED, 3)],
    "transactions that follow each other": [
        (_COMMITTED, 1),
        (_COMMITTED, 2),
        (_ABORTED, 1),
        (_ABORTED, 4),
        (_PLAIN, 1),
    ],
    "between records": [(_PLAIN, 3), (_COMMITTED, 2), (_PLAIN, 2), (_ABORTED, 2), (_PLAIN, 3), (_COMMITTED, 1)],
    "an aborted transaction before everything": [(_ABORTED, 1), (_PLAIN, 2), (_COMMITTED, 1), (_PLAIN, 1)],
}


@pytest.fixture(params=_LAYOUTS.values(), ids=_LAYOUTS)
def holed(request: pytest.FixtureRequest, bus: Bus) -> list[int]:
    """A partition of such a log; the offsets of its records that can be read."""
    return _write(bus, request.param)


def test_operators_read_it_to_its_end(bus: Bus, holed: list[int]) -> None:
    found = list(topic_reader.records(_kafka(bus), bus.topic, topic_reader.ends(_kafka(bus), bus.topic)))
    assert [record.offset for record in found] == holed


def test_a_service_that_took_all_records_is_behind_by_none(bus: Bus, holed: list[int]) -> None:
    ends = topic_reader.ends(_kafka(bus), bus.topic)
    heard = {0: holed[-1] + 1} if holed else {}
    assert standing.lag(_kafka(bus), heard, ends, bus.topic) == {"lag": 0, "lag_age": 0.0}
    _write(bus, [(_PLAIN, 1)])
    ends = topic_reader.ends(_kafka(bus), bus.topic)
    behind = standing.lag(_kafka(bus), heard, ends, bus.topic)
    assert behind["lag"] == 1
    assert behind["lag_age"] > 0


def test_it_comes_back_on_an_empty_broker_with_every_record_at_its_offset(bus: Bus, holed: list[int]) -> None:
    _assert_comes_back(bus, holed)


def test_a_log_without_its_beginning_comes_back_at_its_offsets(bus: Bus) -> None:
    offsets = _write(bus, [(_PLAIN, 3), (_COMMITTED, 1), (_PLAIN, 2)])
    admin = AdminClient(_kafka(bus))
    for done in admin.delete_records([TopicPartition(bus.topic, 0, 1)]).values():
        done.result(10)
    _assert_comes_back(bus, offsets[1:])


def test_a_service_is_not_behind_by_what_was_deleted_before_it_was_heard(bus: Bus) -> None:
    _write(bus, [(_PLAIN, 5)])
    admin = AdminClient(_kafka(bus))
    for done in admin.delete_records([TopicPartition(bus.topic, 0, 5)]).values():
        done.result(10)
    assert standing.lag(_kafka(bus), {0: 2}, {0: 5}, bus.topic) == {"lag": 0, "lag_age": 0.0}


def _assert_comes_back(bus: Bus, offsets: list[int]) -> None:
    ends = topic_reader.ends(_kafka(bus), bus.topic)
    kept = list(topic_reader.records(_kafka(bus), bus.topic, ends))
    assert [record.offset for record in kept] == offsets
    empty = bus.redrive_topic
    written = fill(_kafka(bus), _in(empty, kept), exactly=frozenset({empty}))
    assert (written.records, written.refused) == (len(offsets), {})
    assert list(topic_reader.records(_kafka(bus), empty, topic_reader.ends(_kafka(bus), empty))) == list(
        _in(empty, kept)
    )


def _in(topic: str, records: list[Received]) -> Iterator[Received]:
    return (dataclasses.replace(record, topic=topic) for record in records)


def _write(bus: Bus, layout: list[_Step]) -> list[int]:
    offsets: list[int] = []
    for number, (how, count) in enumerate(layout):
        is_plain = how == _PLAIN
        settings = {**_kafka(bus), "log_level": 0}
        producer = Producer(settings if is_plain else settings | {"transactional.id": f"{bus.topic}-{number}"})
        if not is_plain:
            producer.init_transactions()
            producer.begin_transaction()
        written = _produce(bus, producer, count)
        if how == _ABORTED:
            producer.abort_transaction()
            continue
        if not is_plain:
            producer.commit_transaction()
        offsets += written
    return offsets


def _produce(bus: Bus, producer: Producer, count: int) -> list[int]:
    offsets: list[int] = []
    for _ in range(count):
        producer.produce(
            bus.topic,
            b"{}",
            b"key",
            partition=0,
            headers=[("a", b"header"), ("none", None)],
            on_delivery=lambda error, message: offsets.append(message.offset()),
        )
    assert producer.flush(10) == 0
    return offsets


def _kafka(bus: Bus) -> dict[str, str]:
    return {"bootstrap.servers": bus.bootstrap}
