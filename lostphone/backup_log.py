"""The log in a backup: the records that the database of the same backup knows of, and no others.

Everything that left an outbox before the snapshot lies in the log before anything that was committed after it. So the
records of a partition are cut before the first that the snapshot does not know: what is behind the cut and was
committed before is still in the restored outbox, and goes to the log again.
"""

import asyncio
import base64
import gzip
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError as AioKafkaError
from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Partition

from lostphone.kafka_access import as_service
from lostphone.topics import BrokerError
from shared.events import Event, KeyRing, Received, Unopened, read
from shared.messaging.batch import received
from shared.messaging.fetched import read_whatever_is_fetched

_AT_ONCE = 500
_TIMEOUT = 15.0
_ATTEMPTS = 200

type Sequences = Mapping[tuple[str, str], int]
"""The last sequence of each source and subject that the snapshot knows."""


def known(record: Received, keyring: KeyRing, sequences: Sequences) -> bool:
    """Whether the snapshot knows of this record. What is no event of ours says nothing about it."""
    reading = read(record, keyring)
    if not isinstance(reading, Event):
        return True
    envelope = reading.envelope
    return envelope.sequence <= sequences.get((envelope.source, envelope.subject), 0)


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
        consumer = runner.run(consumer_of(connection, fetch_max_wait_ms=10))
        try:
            runner.run(consumer.start())
            for partition, end in until.items():
                place = TopicPartition(topic, partition)
                at = runner.run(_go_to(consumer, place, (since or {}).get(partition, 0)))
                while at < end:
                    found, at = runner.run(_some(consumer, place, end))
                    yield from (record for record in found if record.offset < end)
        except (AioKafkaError, OSError) as error:
            raise BrokerError(f"{topic} cannot be read: {error!r}") from error
        finally:
            runner.run(consumer.stop())


async def consumer_of(connection: Mapping[str, Any], **options: Any) -> AIOKafkaConsumer:
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


def cut(found: Iterable[Received], keyring: KeyRing, sequences: Sequences) -> Iterator[Received]:
    """These records, each partition only up to the first that the snapshot does not know."""
    ended: set[int] = set()
    for record in found:
        if record.partition in ended:
            continue
        if known(record, keyring, sequences):
            yield record
        else:
            ended.add(record.partition)


def write(file: Path, found: Iterable[Received]) -> dict[str, int]:
    """One line of JSON a record, compressed; how many there are by topic."""
    counts: dict[str, int] = {}
    with gzip.open(file, "wb", compresslevel=6) as out:
        for record in found:
            out.write(orjson.dumps(_as_json(record)) + b"\n")
            counts[record.topic] = counts.get(record.topic, 0) + 1
    return counts


def read_file(file: Path) -> Iterator[Received]:
    """The records of such a file, in their order."""
    with gzip.open(file, "rb") as lines:
        for line in lines:
            yield _from_json(orjson.loads(line))


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


def _as_json(record: Received) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "key": _text(record.key),
        "headers": [[name, _text(data)] for name, data in record.headers],
        "value": _text(record.value),
        **({"unopened": True} if isinstance(record.value, Unopened) else {}),
    }


def _from_json(said: Mapping[str, Any]) -> Received:
    return Received(
        topic=said["topic"],
        partition=said["partition"],
        offset=said["offset"],
        timestamp_ms=said["timestamp"],
        key=_data(said["key"]),
        headers=tuple((name, _data(data)) for name, data in said["headers"]),
        value=Unopened(_data(said["value"]) or b"") if said.get("unopened") else _data(said["value"]),
    )


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _data(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
