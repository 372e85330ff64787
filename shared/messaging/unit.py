"""One unit of work: state, outgoing events and timers in one database transaction.

    async with units.begin() as unit:
        await unit.lock(incident)
        await unit.connection.execute("UPDATE …")
        await unit.emit(DeviceLost(…), Scope(incident, "acme-kk"), actor="person-…/employee")

Nothing of it happens unless all of it does.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import asyncpg
import orjson
import uuid_utils.compat as uuids
from prometheus_client import Counter

from shared.events import LOG_TOPIC, Envelope, Signer
from shared.events.payload import Payload
from shared.events.registry import EventType, find
from shared.messaging.clock import DatabaseClock
from shared.messaging.timer import Timer, TimerLostError
from shared.telemetry import current_traceparent

# In one order, so that two units that share subjects never wait for each other: phones (`device-…`) before incidents.
_LOCK = """
INSERT INTO subject_sequence (subject) SELECT * FROM unnest($1::text[]) AS wanted (subject) ORDER BY subject DESC
ON CONFLICT (subject) DO UPDATE SET last = subject_sequence.last
"""
_SEQUENCES = """
INSERT INTO subject_sequence (subject, last)
SELECT * FROM unnest($1::text[], $2::bigint[]) AS wanted (subject, count) ORDER BY subject DESC
ON CONFLICT (subject) DO UPDATE SET last = subject_sequence.last + excluded.last
RETURNING subject, last
"""

_OUTBOX = "INSERT INTO outbox (event_id, topic, key, headers, value) VALUES ($1, $2, $3, $4, $5)"

# What a unit does to timers, in one statement; no timer is in two of the three lists.
_TIMERS = """
WITH armed AS (
    INSERT INTO timer (subject, name, due_at, payload, traceparent)
    SELECT subject, name, due_at, payload::jsonb, traceparent
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $11::text[])
        AS wanted (subject, name, due_at, payload, traceparent)
    ORDER BY subject, name
    ON CONFLICT (subject, name)
    DO UPDATE SET due_at = excluded.due_at, payload = excluded.payload, attempt = 0, armed = DEFAULT
), disarmed AS (
    DELETE FROM timer USING unnest($5::text[], $6::text[]) AS gone (subject, name)
    WHERE timer.subject = gone.subject AND timer.name = gone.name
), finished AS (
    DELETE FROM timer USING unnest($7::text[], $8::text[], $9::bigint[], $10::integer[])
        AS fired (subject, name, armed, attempt)
    WHERE timer.subject = fired.subject AND timer.name = fired.name
        AND timer.armed = fired.armed AND timer.attempt = fired.attempt
    RETURNING timer.subject, timer.name
)
SELECT subject, name FROM finished
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


@dataclass(frozen=True, slots=True)
class _Armed:
    due_at: datetime
    payload: dict[str, Any]
    traceparent: str | None


@dataclass(slots=True)
class Unit:
    """A transaction that is open. Made by `Units.begin`."""

    connection: asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
    now: datetime
    """The moment of this unit, in UTC, by the database's clock."""
    _signer: Signer
    _log_topic: str
    _outgoing: list[_Outgoing] = field(default_factory=list)
    _timers: dict[tuple[str, str], _Armed | Timer | None] = field(default_factory=dict)
    """What becomes of timers: set, ended as the firing that is named, or taken away."""
    _locked: set[str] = field(default_factory=set)
    _later: dict[str, dict[str, tuple[Any, ...]]] = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)
    """What a service holds in hand of a locked subject, so that the next event about it needs not read it again."""
    armed: datetime | None = None
    """When the earliest timer that was set is due."""
    _counts: list[Counter] = field(default_factory=list)

    async def lock(self, *subjects: str) -> None:
        """From here to the end of the unit nobody else of this service works on these subjects."""
        wanted = set(subjects) - self._locked
        if wanted:
            await self.connection.execute(_LOCK, sorted(wanted))
            self._locked |= wanted

    def later(self, statement: str, key: str, *values: Any) -> None:
        """Run this at the end of the unit, in one go with others of the same statement; statements keep the order in
        which they first came up. Of those with the same key only the last is run: it writes over the others."""
        self._later.setdefault(statement, {})[key] = values

    def count(self, counter: Counter) -> None:
        """Count one more once the unit has committed: what is rolled back is done again, and counted then."""
        self._counts.append(counter)

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
        """Set the timer (subject, name), or move it when it is there already. Its kind is `name` up to a colon.

        Its firings belong to the trace in which it was first set.
        """
        self._timers[subject, name] = _Armed(due_at, payload or {}, current_traceparent())
        self.armed = min(self.armed or due_at, due_at)

    async def disarm(self, subject: str, name: str) -> None:
        """Take the timer away. One that is already firing notices when it finishes."""
        self._timers[subject, name] = None

    async def finish(self, timer: Timer) -> None:
        """End a timer that fired, unless this unit sets it anew. When another firing of it has begun since, the unit
        ends with `TimerLostError` and leaves nothing behind."""
        self._timers.setdefault((timer.subject, timer.name), timer)

    def committed(self) -> None:
        """Called by `Units.begin`."""
        for counter in self._counts:
            counter.inc()

    async def flush(self) -> bool:
        """Write what was left for later: rows, timers, and events, signed and in sequence; whether there were events.
        Called by `Units.begin`."""
        for statement, rows_of in self._later.items():
            await self.connection.executemany(statement, list(rows_of.values()))
        self._later.clear()
        await self._set_timers()
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

    async def _set_timers(self) -> None:
        if not self._timers:
            return
        armed = [(*key, state) for key, state in self._timers.items() if isinstance(state, _Armed)]
        fired = [state for state in self._timers.values() if isinstance(state, Timer)]
        gone = [key for key, state in self._timers.items() if state is None]
        self._timers.clear()
        rows = await self.connection.fetch(
            _TIMERS,
            [subject for subject, _, _ in armed],
            [name for _, name, _ in armed],
            [state.due_at for _, _, state in armed],
            [orjson.dumps(state.payload).decode() for _, _, state in armed],
            [subject for subject, _ in gone],
            [name for _, name in gone],
            [timer.subject for timer in fired],
            [timer.name for timer in fired],
            [timer.armed for timer in fired],
            [timer.attempt for timer in fired],
            [state.traceparent for _, _, state in armed],
        )
        ended = {(row["subject"], row["name"]) for row in rows}
        for timer in fired:
            if (timer.subject, timer.name) not in ended:
                await self._must_have_changed(timer)

    async def _must_have_changed(self, timer: Timer) -> None:
        """Disarmed or set anew meanwhile: what it fired for is done, and the new setting stands. Else it was lost."""
        current = await self.connection.fetchval(
            "SELECT armed FROM timer WHERE subject = $1 AND name = $2", timer.subject, timer.name
        )
        if current == timer.armed:
            raise TimerLostError(timer)

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
        clock: DatabaseClock | None = None,
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
        self.clock = clock or DatabaseClock()

    def now(self) -> datetime:
        """This moment, in UTC, by the clock of the units."""
        return self.clock()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Unit]:
        """A unit that commits at the end of the block, and is rolled back when the block raises."""
        async with self.pool.acquire() as connection, connection.transaction():
            unit = Unit(connection, self.clock(), self._signer, self._log_topic)
            yield unit
            spoke = await unit.flush()
            if self._notify and (spoke or unit.armed is not None):
                await connection.execute("SELECT pg_notify(current_schema() || '_work', '')")
        unit.committed()
        if spoke:
            self.relay_wake.set()
        until = self.timers_sleep_until
        if unit.armed is not None and (until is None or unit.armed < until):
            self.timer_wake.set()
