"""A log that cannot be continued honestly is closed: its tables are set aside, and empty ones take their place.

Each step looks at what is there. Closing that was interrupted is run again and goes on; where it was done, it changes
nothing.
"""

import asyncpg

from lostphone import database

_IN_USE = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'audit' AND datname = current_database())
"""
_HAS_TABLES = "SELECT to_regclass('audit.log_state') IS NOT NULL"
# What `begin` writes first is no reason to close the new log as well.
_HAS_ENTRIES = """
SELECT size > 1 OR size = 1 AND NOT EXISTS (SELECT FROM audit.entry WHERE seq = 0 AND kind = 'restore')
FROM audit.log_state
"""
_SIZE = "SELECT size FROM audit.log_state"
_NOTED = "SELECT obj_description('audit'::regnamespace, 'pg_namespace')"
_NOTE = "after "
# What audit says next must not bear a number that it has given before.
_SEQUENCES = """
INSERT INTO audit.subject_sequence (subject, last) SELECT subject, last FROM {aside}.subject_sequence
ON CONFLICT (subject) DO UPDATE SET last = greatest(subject_sequence.last, excluded.last)
"""
_UNSENT = """
WITH unsent AS (DELETE FROM {aside}.outbox RETURNING *)
INSERT INTO audit.outbox (event_id, topic, key, headers, value, created_at)
SELECT event_id, topic, key, headers, value, created_at FROM unsent ORDER BY place
"""


class TimelineInUseError(Exception):
    """The audit service is connected; nothing was changed."""


class NothingToCloseError(Exception):
    """The log has no entries; nothing was changed."""


async def set_aside(dsn: str) -> str:
    """Make room for a log under a new origin: the schema of the timeline gets another name, which is returned, and an
    empty one takes its place. No service can reach the old one, and nothing of it is lost: what audit had said there
    and not sent yet is sent by the new one first. `dsn` is the superuser's. Raises `TimelineInUseError` and
    `NothingToCloseError`."""
    inside = await asyncpg.connect(dsn, timeout=10)
    try:
        if await inside.fetchval(_IN_USE):
            raise TimelineInUseError("The audit service is connected to the database: stop it first.")
        aside = await _renamed(inside)
        await database.migrate_all(dsn, ("audit",))
        async with inside.transaction():
            for statement in (_SEQUENCES, _UNSENT):
                await inside.execute(statement.format(aside=aside))
    finally:
        await inside.close()
    return aside


async def _renamed(inside: asyncpg.Connection) -> str:
    """Where the tables of the closed log are, now or since an earlier run."""
    if await inside.fetchval(_HAS_TABLES) and await inside.fetchval(_HAS_ENTRIES):
        aside = await _free_name(inside, f"audit_closed_{await inside.fetchval(_SIZE)}")
        async with inside.transaction():
            await inside.execute(f"ALTER SCHEMA audit RENAME TO {aside}")
            await inside.execute(f"REVOKE ALL ON SCHEMA {aside} FROM audit")
            await database.make_schema(inside, "audit")
            await inside.execute(f"COMMENT ON SCHEMA audit IS '{_NOTE}{aside}'")
        return aside
    noted = await inside.fetchval(_NOTED)
    if noted is None or not noted.startswith(_NOTE):
        raise NothingToCloseError("The log in this database has no entries: there is nothing to set aside.")
    return str(noted.removeprefix(_NOTE))


async def _free_name(inside: asyncpg.Connection, name: str) -> str:
    """`name`, or with a number behind it where a log was closed at the same size before."""
    number = 1
    found = name
    while await inside.fetchval("SELECT to_regnamespace($1) IS NOT NULL", found):
        number += 1
        found = f"{name}_{number}"
    return found
