"""A connection of its own that waits for new entries, for the work that goes on behind the writer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from services.audit.added import Added
from shared.postgres import COMMAND_SECONDS, VANISHED_CLIENT

_CHANNEL = "audit_entries"
"""Notified by the statements that add entries (store.py)."""
_POLL_SECONDS = 1.0
"""A notification that got lost costs no more than this."""


class Listening:
    """Says when entries were added since the last wait."""

    def __init__(self, connection: asyncpg.Connection, name: str, added: Added) -> None:
        self.connection = connection
        self._name = name
        self._here = added
        self._added = asyncio.Event()

    def _notified(self, *_: object) -> None:
        self._added.set()

    async def wait(self) -> None:
        """Until entries were added, or a second has passed. Raises `asyncpg.InterfaceError` when the line is dead."""
        if self.connection.is_closed():
            raise asyncpg.InterfaceError("the connection that listens for entries is closed")
        try:
            await asyncio.wait_for(self._added.wait(), _POLL_SECONDS)
        except TimeoutError:
            return
        self._added.clear()

    async def take_turn(self) -> None:
        """Wait until no other process does this work; it is ours while the connection lives."""
        # Asked for again and again, because a statement that waits would run into its time limit.
        while not await self.connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", f"audit-{self._name}"):
            await self.wait()
        self._here.begin(self._name, self._added)


@asynccontextmanager
async def listen(dsn: str, name: str, added: Added | None = None) -> AsyncIterator[Listening]:
    """A connection that listens, closed at the end, for the work of this name. `added`: what tells of entries that are
    added in this process."""
    added = added or Added()
    settings = {"search_path": "audit", "application_name": f"lostphone audit {name}", **VANISHED_CLIENT}
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=COMMAND_SECONDS, server_settings=settings)
    try:
        listening = Listening(connection, name, added)
        await connection.add_listener(_CHANNEL, listening._notified)  # noqa: SLF001 - of the same module
        yield listening
    finally:
        added.end(name)
        await asyncio.shield(_close(connection))


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=2)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        connection.terminate()
