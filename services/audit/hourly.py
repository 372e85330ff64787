"""Once an hour: an index of all chains goes into the log, and the newest checkpoint gets a timestamp."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from services.audit.clerk import Clerk
from services.audit.guard import ForkedError
from services.audit.kept import Kept
from services.audit.listening import Listening, listen
from services.audit.reader import LogReader
from services.audit.timestamps import TimestampError, Timestamps
from shared.messaging.outage import is_outage
from shared.telemetry import Health

EVERY = timedelta(hours=1)
_LOOK_SECONDS = 15.0
_LONGEST_SECONDS = 300.0
"""The pause after a question in vain doubles up to this: each costs the authority work, and where it recovers, a
timestamp that is due every hour is late by no more."""
_PAUSE_SECONDS = 1.0

_STAMPED = "SELECT max(fetched_at) > now() - $1::interval FROM timestamp_response"
_HAS_STAMP = "SELECT EXISTS (SELECT FROM timestamp_response WHERE size = $1)"

_log = structlog.get_logger()


class Hourly:
    """One is at work at a time, over all processes."""

    def __init__(  # noqa: PLR0917 - each is another room
        self,
        dsn: str,
        clerk: Clerk,
        reader: LogReader,
        timestamps: Timestamps | None,
        kept: Kept,
        health: Health,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dsn = dsn
        self._clerk = clerk
        self._reader = reader
        self._timestamps = timestamps
        self._kept = kept
        self._health = health
        self._clock = clock
        self._since = clock()
        self._ask_at = self._since
        self._pause = _LOOK_SECONDS

    async def run(self) -> None:
        """Until cancelled. Outages are waited out; a timestamp that does not come is asked for again."""
        while True:
            try:
                async with listen(self._dsn, "hourly") as listening:
                    await self._serve(listening)
            except Exception as error:
                if not is_outage(error):
                    raise
                if isinstance(error, ForkedError):
                    _log.critical("log_forked", reason=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _serve(self, listening: Listening) -> None:
        await listening.take_turn()
        while True:
            if self._clock() - self._since >= EVERY.total_seconds():
                await self._clerk.index(unless_younger_than=EVERY)
            if self._timestamps is not None:
                await self.stamp(listening, self._timestamps)
            if listening.connection.is_closed():
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def stamp(self, listening: Listening, timestamps: Timestamps) -> None:
        """A timestamp for the newest checkpoint, unless one was fetched within the hour, or the last question was in
        vain and the pause after it is not over."""
        if self._clock() < self._ask_at:
            return
        connection = listening.connection
        published = await self._reader.newest()
        if published is None or not published.size or await connection.fetchval(_STAMPED, EVERY):
            return
        if await connection.fetchval(_HAS_STAMP, published.size):
            return
        pause = self._pause
        # Before it is asked: that the answer cannot be recorded is no reason to ask at once again, either.
        self._ask_at, self._pause = self._clock() + pause, min(2 * pause, _LONGEST_SECONDS)
        try:
            response = await timestamps.stamp(published.note)
            # Outside first: an anchor without its answer proves nothing.
            self._kept.keep(published.note, response)
        except (TimestampError, OSError) as error:
            self._health.fail("timestamps", f"{error}; it is asked again after {pause:.0f} s")
            _log.warning("no_timestamp", reason=str(error), asked_again_after_seconds=pause)
            return
        await self._clerk.anchor(published.size, published.note, response)
        self._ask_at, self._pause = self._clock(), _LOOK_SECONDS
        self._health.ok("timestamps")
