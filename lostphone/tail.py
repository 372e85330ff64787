"""Reads topics live from Kafka as the services read them; takes part in no consumer group, so it disturbs nobody."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from lostphone import backup_log
from lostphone.topics import BrokerError
from shared.events import Received
from shared.messaging.batch import received
from shared.messaging.fetched import read_whatever_is_fetched

_AT_ONCE = 500


def follow(
    connection: Mapping[str, Any],
    topics: Sequence[str],
    *,
    from_beginning: bool = False,
    until_end: bool = False,
) -> Iterator[Received]:
    """Records as they arrive: those already there too with `from_beginning`, and no others with `until_end`. A batch
    that unpacks to more than any may be is one record, whose value is `Unopened`. Raises `BrokerError`, also for a
    topic that does not exist."""
    ends = {topic: backup_log.ends(connection, topic) for topic in topics}
    if until_end:
        for topic, end in ends.items():
            yield from backup_log.records(connection, topic, end)
        return
    read_whatever_is_fetched()
    with asyncio.Runner() as runner:
        consumer = runner.run(backup_log.consumer_of(connection))
        try:
            runner.run(_begin(consumer, ends, from_beginning))
            while True:
                for found in runner.run(consumer.getmany(timeout_ms=1000, max_records=_AT_ONCE)).values():
                    yield from map(received, found)
        except (KafkaError, OSError) as error:
            raise BrokerError(f"reading failed: {error!r}") from error
        finally:
            runner.run(consumer.stop())


async def _begin(consumer: AIOKafkaConsumer, ends: Mapping[str, Mapping[int, int]], from_beginning: bool) -> None:
    await consumer.start()
    places = {TopicPartition(topic, number): end for topic, until in ends.items() for number, end in until.items()}
    consumer.assign(list(places))
    for place, end in places.items():
        consumer.seek(place, 0 if from_beginning else end)
