"""Leases of timers: whose they are, and how others learn that their holder has died.

A process that fires timers has a name, which it writes under each lease. It stands for an advisory lock that the
process holds on a connection of its own: a process that is killed loses it at once, and whoever sees that a lease's
holder has no lock any more takes it over, in place of waiting until it runs out.

A lock can also end while its process lives. Then the process breaks off what it fires under that name, and the others
wait for `_NOTICE` before they take anything over. Where a server was started again, or another one took its place, no
lock is left, and that proves nobody's death: a name says in which run of the server it was taken, and leases of
another run just run out. Without a lock there is no name, and leases run out as well.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import asyncpg
import structlog

from shared.messaging.clock import running
from shared.messaging.outage import is_outage
from shared.postgres import VANISHED_CLIENT

LEASE = timedelta(seconds=60)
"""How long one lasts whose holder is not known to have died."""
_LOOK_SECONDS = 1.0
_NOTICE = timedelta(seconds=2)
"""For a process to break off what it fires once its session has ended."""
_ANSWER_SECONDS = 10.0
"""A half-open network says nothing: below the time after which the server ends the session of a vanished client."""
_PAUSE_SECONDS = 1.0
_NUMBERS = 2**31
_FORMER = 16

# Two keys: no other lock of ours has two.
_TAKE = """
SELECT CASE WHEN pg_try_advisory_lock(hashtext($1), $2) THEN extract(epoch FROM pg_postmaster_start_time())::text END
"""
_LOOK = """
WITH holder AS MATERIALIZED (
    SELECT DISTINCT holder AS name FROM timer
    WHERE due_at > now() AND due_at <= now() + $1::interval AND held_until = due_at AND holder <> $2)
SELECT name FROM holder
WHERE name = ANY ($3) OR split_part(name, '/', 1) = extract(epoch FROM pg_postmaster_start_time())::text
    AND pg_try_advisory_xact_lock_shared(hashtext($4), split_part(name, '/', 2)::integer)
"""
_TAKE_OVER = """
WITH left_behind AS (
    SELECT subject, name FROM timer
    WHERE due_at > now() AND due_at <= now() + $1::interval AND held_until = due_at AND holder = ANY ($2)
    FOR UPDATE SKIP LOCKED)
UPDATE timer SET due_at = now() FROM left_behind
WHERE timer.subject = left_behind.subject AND timer.name = left_behind.name
RETURNING timer.subject, timer.name
"""

_log = structlog.get_logger()

type LetGo = Callable[[str], Awaitable[bool]]
"""Breaks off what is fired under a name; whether all of it has ended."""


class Holder:
    """The name of this process under the leases of one service's timers."""

    def __init__(self, dsn: str, schema: str, *, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._dsn = dsn
        self._schema = schema
        self._answer_seconds = answer_seconds
        self._space = f"{schema}-timers"
        self._former: deque[str] = deque(maxlen=_FORMER)
        """Names of this process under which nothing fires any more."""
        self._gone: dict[str, timedelta] = {}
        """Holders without a lock, and when that was seen first."""
        self.name: str | None = None
        """None while there is no lock."""
        self.tried = asyncio.Event()
        """Set once there is a name, or cannot be one yet."""

    async def run(self, let_go: LetGo, taken_over: Callable[[], None]) -> None:
        """Until cancelled. Calls `let_go` when the lock of a name has ended, and `taken_over` when leases of others
        that have died have just become due."""
        while True:
            try:
                await self._stand(let_go, taken_over)
            except Exception as error:
                if not is_outage(error):
                    raise
                _log.warning("timers_without_name", error=type(error).__name__, seldom=True)
            self.tried.set()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _stand(self, let_go: LetGo, taken_over: Callable[[], None]) -> None:
        """Hold a lock until its session ends."""
        connection = await asyncpg.connect(
            self._dsn,
            timeout=self._answer_seconds,
            command_timeout=self._answer_seconds,
            server_settings={
                "search_path": self._schema,
                "application_name": f"lostphone {self._space}",
                **VANISHED_CLIENT,
            },
        )
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        try:
            self.name = await self._take(connection)
            self.tried.set()
            while not ended.is_set():
                if await self._take_over(connection, self.name):
                    taken_over()
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), _LOOK_SECONDS)
        finally:
            name, self.name = self.name, None
            try:
                if name is not None and await let_go(name):
                    self._former.append(name)
            finally:
                # The lock ends last of all.
                connection.terminate()

    async def _take(self, connection: asyncpg.Connection) -> str:
        while True:
            number = secrets.randbelow(_NUMBERS)
            run: str | None = await connection.fetchval(_TAKE, self._space, number)
            if run is not None:
                return f"{run}/{number}"

    async def _take_over(self, connection: asyncpg.Connection, name: str) -> bool:
        """Have leases be due whose holders have died; whether there were any."""
        found = await connection.fetch(_LOOK, LEASE, name, list(self._former), self._space)
        self._gone = {row["name"]: self._gone.get(row["name"], running()) for row in found}
        dead = [name for name, seen in self._gone.items() if name in self._former or running() - seen >= _NOTICE]
        if not dead:
            return False
        for row in (rows := await connection.fetch(_TAKE_OVER, LEASE, dead)):
            _log.warning("timer_taken_over", subject=row["subject"], timer=row["name"])
        return bool(rows)
