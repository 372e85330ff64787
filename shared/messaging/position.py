"""How far the log has been taken, kept in the same transaction as what was done with it."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import asyncpg

from shared.events import Received
from shared.messaging.unit import Unit

type Place = tuple[str, int]
"""Topic and partition."""

_READ = "SELECT topic, partition, next_offset FROM position"

# The row lock makes a second consumer of the same partition wait, and then find its records taken.
_CLAIM = """
INSERT INTO position (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS wanted (topic, partition, next_offset)
ORDER BY topic, partition
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = greatest(position.next_offset, excluded.next_offset)
RETURNING topic, partition, coalesce(old.next_offset, 0) AS before
"""

# Nothing was taken of a topic without positions, and any may come in its place.
_REMEMBER = """
INSERT INTO topic (name, id) SELECT * FROM unnest($1::text[], $2::uuid[]) AS found (name, id)
ON CONFLICT (name) DO UPDATE SET id = excluded.id
WHERE NOT EXISTS (SELECT FROM position WHERE position.topic = excluded.name AND next_offset > 0)
"""
_TOPICS = "SELECT name, id FROM topic WHERE name = ANY($1)"
_FORGET = "WITH gone AS (DELETE FROM position WHERE topic = $1) DELETE FROM topic WHERE name = $1"
_DELETED_UNREAD = """
INSERT INTO deleted_unread (topic, partition, first_offset, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT (topic, partition, first_offset)
DO UPDATE SET next_offset = excluded.next_offset, noticed_at = excluded.noticed_at, acknowledged_at = NULL
WHERE deleted_unread.next_offset < excluded.next_offset
RETURNING first_offset
"""


async def read_positions(pool: asyncpg.Pool) -> dict[Place, int]:
    """The next offset to take at each place; places that were never taken are absent."""
    return {(row["topic"], row["partition"]): row["next_offset"] for row in await pool.fetch(_READ)}


async def claim(unit: Unit, records: Sequence[Received]) -> list[Received]:
    """Move the positions past these records, locked until the unit ends; those that had not been taken before."""
    ends: dict[Place, int] = {}
    for record in records:
        place = (record.topic, record.partition)
        ends[place] = max(ends.get(place, 0), record.offset + 1)
    places = sorted(ends)
    rows = await unit.connection.fetch(
        _CLAIM, [place[0] for place in places], [place[1] for place in places], [ends[place] for place in places]
    )
    before = {(row["topic"], row["partition"]): row["before"] for row in rows}
    return [record for record in records if record.offset >= before[record.topic, record.partition]]


async def read_topics(pool: asyncpg.Pool, names: Iterable[str]) -> dict[str, UUID]:
    """The ids of the topics that the positions belong to, of those that are remembered."""
    return {row["name"]: row["id"] for row in await pool.fetch(_TOPICS, list(names))}


async def remember_topics(pool: asyncpg.Pool, ids: Mapping[str, UUID]) -> dict[str, UUID]:
    """The ids that are remembered of these topics, which are these where nothing was taken before."""
    known = await read_topics(pool, ids)
    if known != ids:
        await pool.execute(_REMEMBER, list(ids), list(ids.values()))
        known = await read_topics(pool, ids)
    return known


async def forget_topic(pool: asyncpg.Pool, name: str) -> None:
    """Which one it was, and how far it was taken."""
    await pool.execute(_FORGET, name)


async def remember_deleted(pool: asyncpg.Pool, place: Place, first: int, end: int) -> bool:
    """Keep that these offsets were deleted before they were taken; whether that was not known."""
    return await pool.fetchval(_DELETED_UNREAD, *place, first, end) is not None
