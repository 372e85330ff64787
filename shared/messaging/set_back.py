"""Timers when the database's clock was set back: what was to come in a minute still comes in a minute.

Due times are compared with that clock alone, so that a retry, a look for a phone's answer or a lease would otherwise
come by as much later as it was set back. The latest time that was seen is kept in the database; when the clock shows
less, what was set before moves with it, once, whichever process of the service sees it first.
"""

from collections.abc import Collection
from datetime import timedelta

import asyncpg
import structlog

_LEAST = timedelta(minutes=2)
"""Two leases: what was leased since, by the new clock, is due before the time that was seen, and is known by that."""
_SOON = timedelta(hours=1)
"""What is due later than this goes by the calendar: an order's end."""

_FOLLOW = """
WITH seen AS (
    UPDATE clock SET seen_at = clock_timestamp(),
        armed = coalesce(pg_sequence_last_value(pg_get_serial_sequence('timer', 'armed')::regclass), 0)
    RETURNING old.seen_at AS before, new.seen_at AS after, old.armed
), back AS (SELECT before, before - after AS by, armed FROM seen WHERE before - after > $1), moved AS (
    UPDATE timer SET due_at = due_at - back.by, held_until = held_until - back.by FROM back
    WHERE timer.armed <= back.armed AND due_at < back.before + $2
        AND split_part(name, ':', 1) <> ALL ($3::text[])
        AND (held_until IS DISTINCT FROM due_at OR due_at > back.before)
    RETURNING subject)
SELECT by, (SELECT count(*) FROM moved) AS timers FROM back
"""

_log = structlog.get_logger()


async def follow_the_clock(pool: asyncpg.Pool, calendar: Collection[str] = ()) -> bool:
    """Move what is due soon with a clock that was set back since the last call; whether it was. What is set or leased
    in between, by either clock, stays where it is, and so do timers of the kinds `calendar`."""
    row = await pool.fetchrow(_FOLLOW, _LEAST, _SOON, list(calendar))
    if row is None:
        return False
    _log.critical("clock_set_back", seconds=row["by"].total_seconds(), timers=row["timers"])
    return True
