"""Signs what is committed: at most one checkpoint a second, stored before anybody is served it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from services.audit.listening import Listening, listen
from services.audit.store import Connection
from services.audit.tlog import Checkpoint, LogKey, SignedNote
from shared.messaging.outage import is_outage
from shared.telemetry import Health

INTERVAL_SECONDS = 1.0
"""A checkpoint a batch would multiply the partial tiles that must stay available."""
_PAUSE_SECONDS = 1.0

_STATE = "SELECT size, root FROM log_state"
_NEWEST = "SELECT size, root FROM checkpoint ORDER BY size DESC LIMIT 1"
_KEEP = "INSERT INTO checkpoint (size, root, note, signed_at) VALUES ($1, $2, $3, $4) ON CONFLICT (size) DO NOTHING"

_log = structlog.get_logger()


class ForkError(Exception):
    """The log is not what it signed before, as after a restore of an older backup. Nothing is signed any more."""


class Publisher:
    """The one place that uses the log's keys."""

    def __init__(self, dsn: str, origin: str, keys: Sequence[LogKey], health: Health) -> None:
        self._dsn = dsn
        self._origin = origin
        self._keys = keys
        self._health = health

    async def run(self) -> None:
        """Until cancelled. Outages are waited out; a fork stops the signing and is shown as unhealthy."""
        while True:
            try:
                async with listen(self._dsn, "publisher") as listening:
                    await self._serve(listening)
            except ForkError as error:
                self._health.fail("publisher", str(error))
                _log.critical("log_forked", reason=str(error))
                await asyncio.Event().wait()
            except Exception as error:
                if not is_outage(error):
                    raise
                self._health.fail("publisher", f"the database cannot be reached: {type(error).__name__}")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _serve(self, listening: Listening) -> None:
        self._health.ok("publisher")
        await listening.take_turn("publisher")
        while True:
            published = await self.publish(listening.connection)
            self._health.ok("publisher")
            if published:
                await asyncio.sleep(INTERVAL_SECONDS)
            await listening.wait()

    async def publish(self, connection: Connection) -> bool:
        """Sign the committed tree unless it is signed already. Raises `ForkError`."""
        state = await connection.fetchrow(_STATE)
        if state is None:
            raise AssertionError("the migration made the row")
        size, root = state["size"], state["root"]
        newest = await connection.fetchrow(_NEWEST)
        if newest is not None:
            if newest["size"] > size or (newest["size"] == size and newest["root"] != root):
                raise ForkError(f"size {newest['size']} was signed, and the log at size {size} does not continue it")
            if newest["size"] == size:
                return False
        now = datetime.now(UTC)
        checkpoint = Checkpoint(self._origin, size, root)
        signatures = tuple(key.sign(checkpoint, int(now.timestamp())) for key in self._keys)
        note = SignedNote(checkpoint.text(), signatures)
        await connection.execute(_KEEP, size, root, bytes(note), now)
        return True
