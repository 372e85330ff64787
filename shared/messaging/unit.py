"""One unit of work: state, outgoing events and timers in one database transaction.

    async with units.begin() as unit:
        await unit.lock(incident)
        await unit.connection.execute("UPDATE …")
        await unit.emit(DeviceLost(…), Scope(incident, "acme-kk"), actor="person-…/employee")

Nothing of it happens unless all of it does.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import uuid_utils.compat as uuids

from shared.events import LOG_TOPIC, Envelope, Signer
from shared.events.payload import Payload
from shared.events.registry import EventType, find
from shared.messaging.timer import Timer, TimerLostError
from shared.telemetry import current_traceparent

_LOCK = """
INSERT INTO subject_sequence (subject) VALUES ($1)
ON CONFLICT (subject) DO UPDATE SET last = subject_sequence.last
"""

# In the order of their names, so that two units that share subjects never wait for each other.
_SEQUENCES = """
INSERT INTO subject_sequence (subject, last)
SELECT * FROM unnest($1::text[], $2::bigint[]) AS wanted (subject, count) ORDER BY subject
ON CONFLICT (subject) DO UPDATE SET last = subject_sequence.last + excluded.last
RETURNING subject, last
"""

_OUTBOX = "INSERT INTO outbox (event_id, topic, key, headers, value) VALUES ($1, $2, $3, $4, $5)"

_ARM = """
INSERT INTO timer (subject, name, due_at, payload) VALUES ($1, $2, $3, $4)
ON CONFLICT (subject, name)
DO UPDATE SET due_at = excluded.due_at, payload = excluded.payload, attempt = 0, armed = DEFAULT
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """What every event of one case carries. `subject`: incident id, `device-<id>` or `org-<id>`."""

    subject: str
    organisation: str
    drill: bool = False


@dataclass(frozen=True, slots=True)
class _Outgoing:
    envelope: Envelope
    payload: Payload
    entry: EventType


@dataclass(slots=True)
class Unit:
    """A transaction that is open. Made by `Units.begin`."""

    connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
    now: datetime
    """The moment of this unit, in UTC."""
    _signer: Signer
    _log_topic: str
    _outgoing: list[_Outgoing] = field(default_factory=list)
    armed: datetime | None = None
    """When the earliest timer that was set is due."""

    async def lock(self, subject: str) -> None:
        """From here to the end of the unit nobody else of this service works on `subject`."""
        await self.connection.execute(_LOCK, subject)

    async def emit(self, payload: Payload, scope: Scope, *, actor: str, cause: str | None = None) -> str:
        """Have the event sent when the unit commits, and return its id. `cause`: the id of the event it answers.

        Raises `ValueError` when this service is not the registered writer of the event, or it is too large.
        """
        entry = find(payload.event_type)
        if entry is None or entry.writer != self._signer.service:
            raise ValueError(f"{self._signer.service} does not write {payload.event_type}")
        envelope = Envelope(
            id=str(uuids.uuid7()),
            source=entry.source,
            type=entry.type,
            subject=scope.subject,
            time=self.now,
            sequence=0,
            organisation=scope.organisation,
            actor=actor,
            drill=scope.drill,
            causationid=cause,
            traceparent=current_traceparent(),
            dataschema=entry.dataschema,
        )
        self._outgoing.append(_Outgoing(envelope, payload, entry))
        return envelope.id

    async def arm(self, subject: str, name: str, due_at: datetime, payload: dict[str, Any] | None = None) -> None:
        """Set the timer (subject, name), or move it when it is there already. Its kind is `name` up to a colon."""
        await self.connection.execute(_ARM, subject, name, due_at, payload or {})
        self.armed = min(self.armed or due_at, due_at)

    async def disarm(self, subject: str, name: str) -> None:
        """Take the timer away. One that is already firing notices when it finishes."""
        await self.connection.execute("DELETE FROM timer WHERE subject = $1 AND name = $2", subject, name)

    async def finish(self, timer: Timer) -> None:
        """End a timer that fired. Raises `TimerLostError` when another firing of it has begun since: roll back."""
        done = await self.connection.execute(
            "DELETE FROM timer WHERE subject = $1 AND name = $2 AND armed = $3 AND attempt = $4",
            timer.subject,
            timer.name,
            timer.armed,
            timer.attempt,
        )
        if done == "DELETE 1":
            return
        current = await self.connection.fetchval(
            "SELECT armed FROM timer WHERE subject = $1 AND name = $2", timer.subject, timer.name
        )
        if current == timer.armed:
            raise TimerLostError(timer)
        # Disarmed or set anew meanwhile: what it fired for is done, and the new setting stands.

    async def flush(self) -> bool:
        """Write the outgoing events to the outbox, signed and in sequence. Called at the end by `Units.begin`."""
        if not self._outgoing:
            return False
        counts: dict[str, int] = {}
        for outgoing in self._outgoing:
            counts[outgoing.envelope.subject] = counts.get(outgoing.envelope.subject, 0) + 1
        rows = await self.connection.fetch(_SEQUENCES, list(counts), list(counts.values()))
        following = {row["subject"]: row["last"] - counts[row["subject"]] + 1 for row in rows}
        await self.connection.executemany(_OUTBOX, [self._row(outgoing, following) for outgoing in self._outgoing])
        self._outgoing.clear()
        return True

    def _row(self, outgoing: _Outgoing, following: dict[str, int]) -> tuple[str, str, str, list[list[str]], bytes]:
        subject = outgoing.envelope.subject
        envelope = replace(outgoing.envelope, sequence=following[subject])
        following[subject] += 1
        headers, value = envelope.sign(self._signer, outgoing.payload)
        topic = outgoing.entry.type if outgoing.entry.writer == "audit" else self._log_topic
        return envelope.id, topic, subject, [[name, data.decode()] for name, data in headers], value


class Units:
    """Opens units of work for one service, and wakes its relay and timers when one has committed."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        signer: Signer,
        *,
        notify: bool = False,
        log_topic: str = LOG_TOPIC,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`notify`: relay and timers run in other processes, which are woken through the database."""
        self.pool = pool
        self.relay_wake = asyncio.Event()
        self.timer_wake = asyncio.Event()
        self.timers_sleep_until: datetime | None = None
        """Kept by the timers of this process, by the database's clock: only what is due earlier has to wake them."""
        self._signer = signer
        self._notify = notify
        self._log_topic = log_topic
        self._clock = clock

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Unit]:
        """A unit that commits at the end of the block, and is rolled back when the block raises."""
        async with self.pool.acquire() as connection, connection.transaction():
            unit = Unit(connection, self._clock(), self._signer, self._log_topic)
            yield unit
            spoke = await unit.flush()
            if self._notify and (spoke or unit.armed is not None):
                await connection.execute("SELECT pg_notify(current_schema() || '_work', '')")
        if spoke:
            self.relay_wake.set()
        until = self.timers_sleep_until
        if unit.armed is not None and (until is None or unit.armed < until):
            self.timer_wake.set()
