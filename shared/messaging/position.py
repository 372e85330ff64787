"""How far the log has been taken, kept in the same transaction as what was done with it."""

from collections.abc import Iterable, Mapping, Sequence

import asyncpg

from shared.events import Received
from shared.messaging.unit import Unit

type Place = tuple[str, int]
"""Topic and partition."""

_READ = "SELECT topic, partition, next_offset FROM position"

# The row lock makes a second consumer of the same partition wait, and then find its records taken.
_LOCK = """
INSERT INTO position (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS wanted (topic, partition, next_offset)
ORDER BY topic, partition
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = position.next_offset
RETURNING topic, partition, next_offset
"""

_ADVANCE = """
UPDATE position SET next_offset = moved.next_offset
FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS moved (topic, partition, next_offset)
WHERE position.topic = moved.topic AND position.partition = moved.partition
"""


async def read_positions(pool: asyncpg.Pool) -> dict[Place, int]:
    """The next offset to take at each place; places that were never taken are absent."""
    return {(row["topic"], row["partition"]): row["next_offset"] for row in await pool.fetch(_READ)}


async def lock_positions(unit: Unit, places: Iterable[Place]) -> dict[Place, int]:
    """The next offset of each place, locked until the unit ends. A place that is new starts at 0."""
    wanted = sorted(set(places))
    rows = await unit.connection.fetch(
        _LOCK, [place[0] for place in wanted], [place[1] for place in wanted], [0] * len(wanted)
    )
    return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}


def fresh(records: Sequence[Received], positions: Mapping[Place, int]) -> list[Received]:
    """The records that lie at or above the stored positions."""
    return [record for record in records if record.offset >= positions[record.topic, record.partition]]


async def advance(unit: Unit, records: Sequence[Received]) -> None:
    """Move the positions past these records."""
    moved: dict[Place, int] = {}
    for record in records:
        place = (record.topic, record.partition)
        moved[place] = max(moved.get(place, 0), record.offset + 1)
    places = sorted(moved)
    await unit.connection.execute(
        _ADVANCE, [place[0] for place in places], [place[1] for place in places], [moved[place] for place in places]
    )
