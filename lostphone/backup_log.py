"""The log in a backup: the records that the database of the same backup knows of, and no others.

Everything that left an outbox before the snapshot lies in the log before anything that was committed after it. So the
records of a partition are cut before the first that the snapshot does not know: what is behind the cut and was
committed before is still in the restored outbox, and goes to the log again.
"""

import base64
import gzip
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from lostphone.kafka_access import received
from lostphone.topics import BrokerError
from shared.events import Event, KeyRing, Received, read

_TIMEOUT = 15.0
_ATTEMPTS = 30

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
    consumer = reader(connection)
    try:
        found = consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic]
        if found.error is not None:
            raise BrokerError(f"topic {topic}: {found.error.str()}")
        return {number: watermarks(consumer, topic, number)[1] for number in sorted(found.partitions)}
    except KafkaException as error:
        raise BrokerError(f"{topic} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()


def records(
    connection: Mapping[str, Any], topic: str, until: Mapping[int, int], since: Mapping[int, int] | None = None
) -> Iterator[Received]:
    """The records of each partition from `since` up to `until`, partition after partition. Raises `BrokerError`."""
    consumer = reader(connection)
    try:
        for partition, end in until.items():
            start = (since or {}).get(partition, 0)
            low, _ = watermarks(consumer, topic, partition)
            at = max(start, low)
            if at >= end:
                continue
            consumer.assign([TopicPartition(topic, partition, at)])
            while at < end:
                message = consumer.poll(_TIMEOUT)
                if message is None:
                    raise BrokerError(f"{topic}/{partition} went silent at {at} of {end}")
                if (error := message.error()) is not None:
                    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name in librdkafka
                        # The last offsets need not be records: the end of a transaction has one.
                        at = message.offset() or 0
                        continue
                    raise BrokerError(f"{topic}/{partition}: {error.str()}")
                record = received(message)
                at = record.offset + 1
                if record.offset < end:
                    yield record
    except KafkaException as error:
        raise BrokerError(f"{topic} cannot be read: {error.args[0].str()}") from error
    finally:
        consumer.close()


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


def watermarks(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Where a partition begins and ends; a leader that was just chosen is given a moment."""
    for attempt in range(_ATTEMPTS):
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT)
        except KafkaException:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.3)
            consumer.list_topics(topic, timeout=_TIMEOUT)  # asks anew who leads
    raise AssertionError("the last attempt returns or raises")


def reader(connection: Mapping[str, Any]) -> Consumer:
    """Reads what transactions did not take back, and says where a partition ends."""
    return Consumer(
        {
            "group.id": "operator.backup",  # a name is asked for; nothing is committed under it
            "enable.auto.commit": False,
            "log_level": 0,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
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
    }


def _from_json(said: Mapping[str, Any]) -> Received:
    return Received(
        topic=said["topic"],
        partition=said["partition"],
        offset=said["offset"],
        timestamp_ms=said["timestamp"],
        key=_data(said["key"]),
        headers=tuple((name, _data(data)) for name, data in said["headers"]),
        value=_data(said["value"]),
    )


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _data(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
