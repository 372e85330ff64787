"""Reads topics live from Kafka and checks every signature; takes part in no consumer group, so it disturbs nobody."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from lostphone.kafka_access import received
from lostphone.topics import BrokerError
from shared.events import Received
from shared.events.contracts.acls import OPERATOR

_METADATA_TIMEOUT = 15.0
_POLL_SECONDS = 0.25


def follow(
    connection: Mapping[str, Any],
    topics: Sequence[str],
    *,
    from_beginning: bool = False,
    until_end: bool = False,
) -> Iterator[Received]:
    """Records as they arrive: those already there too with `from_beginning`, and no further than those with
    `until_end`. Raises `BrokerError`, also for a topic that does not exist."""
    consumer = Consumer(
        {
            # The library asks for a group, and the broker whether the principal may; nothing is committed under it.
            "group.id": f"{connection.get('sasl.username', OPERATOR)}.tail",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
            "socket.timeout.ms": 10_000,
            **connection,
        }
    )
    try:
        start = OFFSET_BEGINNING if from_beginning else OFFSET_END
        assigned = [TopicPartition(topic, number, start) for topic in topics for number in _partitions(consumer, topic)]
        consumer.assign(assigned)
        yield from _records(consumer, len(assigned) if until_end else None)
    finally:
        consumer.close()


def _records(consumer: Consumer, ends_to_see: int | None) -> Iterator[Received]:
    ended: set[tuple[str, int]] = set()
    silent_since = time.monotonic()
    while ends_to_see is None or len(ended) < ends_to_see:
        message = consumer.poll(_POLL_SECONDS)
        if message is None:
            if ends_to_see is not None and time.monotonic() - silent_since > _METADATA_TIMEOUT:
                raise BrokerError("the broker does not answer any more")
            continue
        silent_since = time.monotonic()
        error = message.error()
        if error is None:
            yield received(message)
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public constant is named so
            ended.add((message.topic() or "", message.partition() or 0))
        elif not error.retriable() and error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the same
            raise BrokerError(f"reading failed: {error.str()}")


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    try:
        found = consumer.list_topics(topic, timeout=_METADATA_TIMEOUT).topics[topic]
    except KafkaException as error:
        raise BrokerError(f"the broker cannot be reached: {error.args[0].str()}") from error
    if found.error is not None:
        raise BrokerError(f"topic {topic}: {found.error.str()}")
    return sorted(found.partitions)
