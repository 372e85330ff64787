"""How far the log has been taken, kept in the same transaction as what was done with it."""

from collections.abc import Sequence

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
