"""Reads topics as the services read them: what lies there, and what arrives. Takes part in no consumer group, so it
disturbs nobody."""

import asyncio
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Partition

from lostphone.kafka_access import as_service
from lostphone.topics import BrokerError
from shared.events import Received
from shared.messaging.batch import received
from shared.messaging.fetched import read_whatever_is_fetched

_AT_ONCE = 500
_TIMEOUT = 15.0
_ATTEMPTS = 200


def ends(connection: Mapping[str, Any], topic: str) -> dict[int, int]:
    """The end of each partition. Raises `BrokerError`."""
    consumer = _asking(connection)
    try:
        found = consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic]
        if found.error is not None:
            raise BrokerError(f"topic {topic}: {found.error.str()}")
        return {number: _watermarks(consumer, topic, number)[1] for number in sorted(found.partitions)}
    except KafkaException as error:
        raise BrokerError(f"{topic} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()


def records(
    connection: Mapping[str, Any], topic: str, until: Mapping[int, int], since: Mapping[int, int] | None = None
) -> Generator[Received]:
    """The records of each partition from `since` up to `until`, partition after partition, as services read them: a
    batch that unpacks to more than any may be is one record. For a thread that runs no event loop, and that closes it
    where it does not read to the end. Raises `BrokerError`."""
    read_whatever_is_fetched()
    with asyncio.Runner() as runner:
        # The answer for a partition that was read to its end would keep the next one waiting.
        consumer = runner.run(_consumer(connection, fetch_max_wait_ms=10))
        try:
            runner.run(consumer.start())
            for partition, end in until.items():
                place = TopicPartition(topic, partition)
                at = runner.run(_go_to(consumer, place, (since or {}).get(partition, 0)))
                while at < end:
                    found, at = runner.run(_some(consumer, place, end))
                    yield from (record for record in found if record.offset < end)
        except (KafkaError, OSError) as error:
            raise BrokerError(f"{topic} cannot be read: {error!r}") from error
        finally:
            runner.run(consumer.stop())


def follow(
    connection: Mapping[str, Any],
    topics: Sequence[str],
    *,
    from_beginning: bool = False,
    until_end: bool = False,
    stop: threading.Event | None = None,
) -> Iterator[Received]:
    """Records as they arrive: those already there too with `from_beginning`, and no others with `until_end`; until
    `stop`. A batch that unpacks to more than any may be is one record, whose value is `Unopened`. Raises `BrokerError`,
    also for a topic that does not exist."""
    until = {topic: ends(connection, topic) for topic in topics}
    if until_end:
        for topic, end in until.items():
            yield from records(connection, topic, end)
        return
    read_whatever_is_fetched()
    with asyncio.Runner() as runner:
        consumer = runner.run(_consumer(connection))
        try:
            runner.run(_begin(consumer, until, from_beginning))
            while stop is None or not stop.is_set():
                for found in runner.run(consumer.getmany(timeout_ms=1000, max_records=_AT_ONCE)).values():
                    yield from map(received, found)
        except (KafkaError, OSError) as error:
            raise BrokerError(f"reading failed: {error!r}") from error
        finally:
            runner.run(consumer.stop())


async def _consumer(connection: Mapping[str, Any], **options: Any) -> AIOKafkaConsumer:
    """Reads what transactions did not take back; takes part in no group."""
    return AIOKafkaConsumer(
        **as_service(connection).options(),
        group_id=None,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        client_id="lostphone",
        **options,
    )


async def _go_to(consumer: AIOKafkaConsumer, place: TopicPartition, start: int) -> int:
    """Where the partition is read from."""
    consumer.assign([place])
    at = max(start, (await consumer.beginning_offsets([place]))[place])
    consumer.seek(place, at)
    return int(at)


async def _some(consumer: AIOKafkaConsumer, place: TopicPartition, end: int) -> tuple[list[Received], int]:
    """What comes next, and the offset behind it: the last offsets need not be records, the end of a transaction has
    one."""
    before = at = await consumer.position(place)
    deadline = time.monotonic() + _TIMEOUT
    while at == before:
        if time.monotonic() > deadline:
            raise BrokerError(f"{place.topic}/{place.partition} went silent at {at} of {end}")
        found = await consumer.getmany(place, timeout_ms=1000, max_records=_AT_ONCE)
        at = await consumer.position(place)
        if found:
            return [received(record) for record in found[place]], at
    return [], at


async def _begin(consumer: AIOKafkaConsumer, until: Mapping[str, Mapping[int, int]], from_beginning: bool) -> None:
    await consumer.start()
    places = {TopicPartition(topic, number): end for topic, ends_of in until.items() for number, end in ends_of.items()}
    consumer.assign(list(places))
    for place, end in places.items():
        consumer.seek(place, 0 if from_beginning else end)


def _watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Where a partition begins and ends; a leader that was just chosen is given a moment."""
    for attempt in range(_ATTEMPTS):
        try:
            return consumer.get_watermark_offsets(Partition(topic, partition), timeout=_TIMEOUT)
        except KafkaException:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.3)
            consumer.list_topics(topic, timeout=_TIMEOUT)  # asks anew who leads
    raise AssertionError("the last attempt returns or raises")


def _asking(connection: Mapping[str, Any]) -> Consumer:
    """Says how far what can be read goes."""
    return Consumer(
        {
            "group.id": "operator.backup",  # a name is asked for; nothing is committed under it
            "enable.auto.commit": False,
            "log_level": 0,
            "isolation.level": "read_committed",
            **connection,
        }
    )
