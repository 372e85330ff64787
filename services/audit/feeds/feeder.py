"""The feeder: recorded entries go to the topics for integrators, in the order of the log, at least once.

A verified event goes to the topic of its type with the bytes, headers, key and id that it has in the log; every entry
goes to `lostphone.timeline.v1` with its place, what the log says about itself in full, since Kafka has it nowhere else;
and as the SIEM reads it to `lostphone.ocsf.v1`. The cursor moves when
Kafka has acknowledged: after a crash some records come once more, and never one too few.
"""

import asyncio
from collections.abc import Iterator

import asyncpg
import structlog
from aiokafka.errors import KafkaError

from services.audit.added import Added
from services.audit.domain.leaf import OWN, Kind, Opened, open_leaf
from services.audit.feeds.ocsf import ocsf_of_entry
from services.audit.feeds.ocsf_versions import OcsfVersion
from services.audit.feeds.timeline_entry import EventRef, TimelineEntry
from services.audit.listening import Listening, listen
from services.audit.store import Connection
from shared.events import TIMELINE_TOPIC, find
from shared.messaging.kafka import OutgoingRecord, Producer
from shared.messaging.outage import is_outage
from shared.telemetry import Health

BATCH = 500
_TURN = 25
_PAUSE_SECONDS = 1.0
_SIGNATURE = "ce_signature"
_CONTENT_TYPE = "content-type"

_CURSOR = "SELECT next_seq FROM feed WHERE name = 'outward'"
_MOVE = "UPDATE feed SET next_seq = $1 WHERE name = 'outward'"
READ = """
SELECT entry.seq, entry.kind, entry.leaf_hash, entry.leaf, detached.data AS detached, entry.subject, entry.n,
    coalesce(entry.organisation, first.organisation) AS organisation, entry.source, entry.event_id, entry.event_type,
    before.event_id AS before_id, before.event_type AS before_type, stream.topic, stream.partition, entry.kafka_offset
FROM entry
LEFT JOIN stream ON stream.id = entry.stream_id
LEFT JOIN detached ON detached.sha256 = entry.detached
LEFT JOIN entry AS first ON first.subject = entry.subject AND first.n = 0
LEFT JOIN entry AS before ON before.subject = entry.subject AND before.n = entry.n - 1
WHERE entry.seq >= $1 ORDER BY entry.seq LIMIT $2
"""

_log = structlog.get_logger()


class Feeder:
    """The only writer of the outward topics. One is at work at a time, over all processes."""

    def __init__(
        self,
        dsn: str,
        origin: str,
        producer: Producer,
        health: Health,
        *,
        added: Added | None = None,
        ocsf: OcsfVersion = OcsfVersion.V1_8,
    ) -> None:
        self._dsn = dsn
        self._origin = origin
        self._producer = producer
        self._health = health
        self._added = added
        self._ocsf = ocsf

    async def run(self) -> None:
        """Until cancelled. Outages are waited out."""
        try:
            while True:
                try:
                    async with listen(self._dsn, "feeder", self._added) as listening:
                        await self._serve(listening)
                except Exception as error:
                    if not (is_outage(error) or isinstance(error, KafkaError)):
                        raise
                    self._health.fail("feeder", f"the outward topics wait: {type(error).__name__}")
                    _log.warning("feeder_waits", error=type(error).__name__, seldom=True)
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await self._producer.close()

    async def _serve(self, listening: Listening) -> None:
        self._health.ok("feeder")
        await listening.take_turn()
        while True:
            if await self.feed(listening.connection) == 0:
                self._health.ok("feeder")
                await listening.wait()

    async def feed(self, connection: Connection) -> int:
        """Send the next entries and move the cursor; how many there were. Raises what Kafka answered."""
        start = await connection.fetchval(_CURSOR)
        rows = await connection.fetch(READ, start, BATCH)
        records: list[OutgoingRecord] = []
        for at, row in enumerate(rows, 1):
            records += outward(row, self._origin, self._ocsf)
            if at % _TURN == 0:
                # The writer works in the same loop, and its batches come first.
                await asyncio.sleep(0)
        if not records:
            return 0
        errors = [error for error in await self._producer.send(records) if error is not None]
        if errors:
            raise errors[0]
        await connection.execute(_MOVE, start + len(rows))
        return len(rows)


def outward(row: asyncpg.Record, origin: str, version: OcsfVersion) -> Iterator[OutgoingRecord]:
    """What one entry of the log of this origin becomes outside, with OCSF of this version."""
    opened = open_leaf(row["leaf"], row["detached"])
    if row["kind"] == Kind.EVENT and find(row["event_type"]) is not None:
        # A type that this version does not know has no topic; its place is told all the same.
        yield OutgoingRecord(row["event_type"], opened.key, outward_headers(opened), opened.value)
    yield OutgoingRecord(
        TIMELINE_TOPIC,
        row["subject"].encode() if row["subject"] else None,
        [(_CONTENT_TYPE, b"application/json")],
        _entry(row, opened, origin).write(),
    )
    if (ocsf := ocsf_of_entry(row, version, opened)) is not None:
        yield ocsf


def outward_headers(opened: Opened) -> list[tuple[str, bytes | None]]:
    """The headers as the writer's relay ordered them. What was not signed and is not the content type stays inside:
    nobody vouches for it."""
    headers = list(opened.headers)
    content_type = opened.header["m"]
    if content_type is not None:
        signed_last = bool(headers) and headers[-1][0] == _SIGNATURE
        headers.insert(len(headers) - signed_last, (_CONTENT_TYPE, content_type.encode()))
    return headers


def _entry(row: asyncpg.Record, opened: Opened, origin: str) -> TimelineEntry:
    is_event = row["kind"] in (Kind.EVENT, Kind.DUPLICATE)
    return TimelineEntry(
        log=origin,
        seq=row["seq"],
        size=row["seq"] + 1,
        kind=row["kind"],
        leaf=row["leaf_hash"].hex(),
        incident=row["subject"],
        n=row["n"],
        prev=opened.header.get("prev"),
        organisation=row["organisation"],
        topic=row["topic"],
        partition=row["partition"],
        offset=row["kafka_offset"],
        event=EventRef(id=row["event_id"], type=row["event_type"], source=row["source"]) if is_event else None,
        text=row["leaf"].decode() if row["kind"] in OWN else None,
    )
