"""What was deleted from the log before a service had read it, and what the timeline has of it."""

from dataclasses import asdict, dataclass
from typing import Any

import asyncpg

from lostphone.status import Status
from shared.events.registry import find

_ALL = """
SELECT topic, partition, first_offset, next_offset, noticed_at, acknowledged_at, acknowledged_by
FROM {schema}.deleted_unread ORDER BY noticed_at, topic, partition, first_offset
"""
_RECORDED = """
SELECT subject, event_type FROM audit.entry JOIN audit.stream ON stream.id = stream_id
WHERE topic = $1 AND partition = $2 AND kafka_offset >= $3 AND kafka_offset < $4 AND event_type IS NOT NULL
ORDER BY kafka_offset
"""
_ACKNOWLEDGE = """
UPDATE {schema}.deleted_unread SET acknowledged_at = now(), acknowledged_by = $1 WHERE acknowledged_at IS NULL
"""


@dataclass(frozen=True)
class Deleted:
    """Offsets that a service never read. `recorded`: by subject, the names of the events in the timeline."""

    service: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    noticed_at: str
    acknowledged_at: str | None
    acknowledged_by: str | None
    recorded: dict[str, list[str]]

    def public(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


async def read_all(status: Status) -> list[Deleted]:
    """Of every service, in the order in which it was noticed. Raises what asyncpg raises."""
    audit = await asyncpg.connect(status.postgres["audit"].dsn, timeout=10)
    try:
        return [await _deleted(audit, name, row) for name in status.postgres for row in await _rows(status, name)]
    finally:
        await audit.close()


async def acknowledge(status: Status, by: str) -> None:
    """Somebody has seen to all of it. Raises what asyncpg raises."""
    for name in status.postgres:
        own = await asyncpg.connect(status.postgres[name].dsn, timeout=10)
        try:
            await own.execute(_ACKNOWLEDGE.format(schema=name), by)
        finally:
            await own.close()


async def _rows(status: Status, service: str) -> list[asyncpg.Record]:
    own = await asyncpg.connect(status.postgres[service].dsn, timeout=10)
    try:
        return list(await own.fetch(_ALL.format(schema=service)))
    finally:
        await own.close()


async def _deleted(audit: asyncpg.Connection, service: str, row: asyncpg.Record) -> Deleted:
    place = (row["topic"], row["partition"], row["first_offset"], row["next_offset"])
    recorded: dict[str, list[str]] = {}
    for entry in await audit.fetch(_RECORDED, *place):
        known = find(entry["event_type"])
        recorded.setdefault(entry["subject"] or "-", []).append(known.name if known else entry["event_type"])
    acknowledged = row["acknowledged_at"]
    return Deleted(
        service,
        *place[:3],
        row["next_offset"] - 1,
        row["noticed_at"].isoformat(),
        acknowledged.isoformat() if acknowledged else None,
        row["acknowledged_by"],
        recorded,
    )
