"""The SIEM feed built again from what is recorded: the same events, the same bytes, in the same order.

A SIEM that lost its copy, or came late, gets everything from the timeline, which is kept for ever, where the topic is
kept for two weeks. What it has already it knows by `metadata.uid`.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.audit.feeds.feeder import BATCH, READ
from services.audit.feeds.ocsf import ocsf_of_entry, ocsf_of_own
from services.audit.feeds.ocsf_versions import OcsfVersion
from services.audit.store import Connection
from shared.events import Event, KeyRing, Received, event_types, read
from shared.messaging.kafka import KafkaConnection, OutgoingRecord

OWN_TOPICS = tuple(entry.type for entry in event_types() if entry.writer == "audit")
"""Of events that audit writes itself: they are not on the log, and their topics keep them for 90 days."""
_POLL_MS = 1000
_SEAL = """
SELECT seal.leaf_hash FROM entry AS closed JOIN entry AS seal ON seal.subject = closed.subject AND seal.n = closed.n + 1
WHERE closed.event_id = $1 AND closed.subject = $2 AND seal.kind = 'seal'
"""


async def from_timeline(
    connection: Connection, version: OcsfVersion, since: datetime | None = None
) -> AsyncIterator[OutgoingRecord]:
    """The feed's records of everything that is recorded, in the order of the log; from `since` on, where given."""
    start = 0
    while rows := await connection.fetch(READ, start, BATCH):
        start = rows[-1]["seq"] + 1
        for row in rows:
            record = ocsf_of_entry(row, version)
            if record is not None and _is_since(record, since):
                yield record


async def from_own_topics(
    kafka: KafkaConnection,
    connection: Connection,
    keyring: KeyRing,
    version: OcsfVersion,
    since: datetime | None = None,
) -> AsyncIterator[OutgoingRecord]:
    """The feed's records of what audit said itself, as far as Kafka has it. What does not verify is passed over.
    Raises `KafkaError`."""
    consumer = AIOKafkaConsumer(*OWN_TOPICS, **kafka.options(), enable_auto_commit=False)
    try:
        await consumer.start()
        places = [
            TopicPartition(topic, at) for topic in OWN_TOPICS for at in consumer.partitions_for_topic(topic) or ()
        ]
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
        for place in places:
            if begins[place] == ends[place]:
                continue
            consumer.unsubscribe()
            consumer.assign([place])
            consumer.seek(place, begins[place])
            while await consumer.position(place) < ends[place]:
                for event in _own(await consumer.getmany(timeout_ms=_POLL_MS), keyring):
                    envelope = event.envelope
                    seal = await connection.fetchval(_SEAL, envelope.causationid, envelope.subject)
                    record = ocsf_of_own(envelope, event.value, version, seal=seal)
                    if _is_since(record, since):
                        yield record
    finally:
        await consumer.stop()


def _own(fetched: dict[TopicPartition, list[Any]], keyring: KeyRing) -> Iterator[Event]:
    for records in fetched.values():
        for record in records:
            received = Received(
                record.topic, record.partition, record.offset, record.timestamp, record.key, tuple(record.headers),
                record.value,
            )  # fmt: skip
            reading = read(received, keyring)
            if isinstance(reading, Event):
                yield reading


def _is_since(record: OutgoingRecord, since: datetime | None) -> bool:
    if since is None:
        return True
    recorded: int = orjson.loads(record.value or b"")["metadata"]["logged_time"]
    return recorded >= since.timestamp() * 1000
