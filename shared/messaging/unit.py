"""One unit of work: state, outgoing events and timers in one database transaction.

    async with units.begin() as unit:
        await unit.lock(incident)
        await unit.connection.execute("UPDATE …")
        await unit.emit(DeviceLost(…), Scope(incident, "acme-kk"), actor="person-…/employee")

Nothing of it happens unless all of it does.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
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
from shared.messaging.in_hand import InHand, Sendable
from shared.messaging.kafka import OutgoingRecord
from shared.messaging.lease import LEASE
from shared.messaging.timer import Timer, TimerLostError, Timers
from shared.postgres import Line, Together
from shared.telemetry import current_traceparent

_TURNS = 4
"""Of the event loop, until what was said is on its way to Kafka: it goes before the answer to whoever asked for it."""

# In one order, so that two units that share subjects never wait for each other: phones (`device-…`) before incidents.
_LOCK = """
INSERT INTO subject_sequence (subject) SELECT * FROM unnest($1::text[]) AS wanted (subject) ORDER BY subject DESC
ON CONFLICT (subject) DO UPDATE SET last = subject_sequence.last
RETURNING subject, last
"""

# How a unit ends, in one statement: what it does to timers, of which none is in two of the three lists, and what it
# says, under sequences that it knows from its locks. A timer that is fired at once is written as leased by its firing.
# Of events, the places in the outbox when none about their subjects waits there already.
_END = """
WITH armed AS (
    INSERT INTO timer (subject, name, due_at, payload, traceparent, attempt, holder, held_until)
    SELECT subject, name, CASE WHEN at_once THEN leased_until ELSE due_at END, payload::jsonb, traceparent,
        at_once::integer, holder, CASE WHEN at_once THEN leased_until END
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $11::text[], $12::boolean[], $21::text[])
        AS wanted (subject, name, due_at, payload, traceparent, at_once, holder),
        (SELECT clock_timestamp() + $13::interval AS leased_until) AS lease
    ORDER BY subject, name
    ON CONFLICT (subject, name)
    DO UPDATE SET due_at = excluded.due_at, payload = excluded.payload, attempt = excluded.attempt, armed = DEFAULT,
        holder = excluded.holder, held_until = excluded.held_until
    RETURNING subject, name, armed, traceparent
), disarmed AS (
    DELETE FROM timer USING unnest($5::text[], $6::text[]) AS gone (subject, name)
    WHERE timer.subject = gone.subject AND timer.name = gone.name
), finished AS (
    DELETE FROM timer USING unnest($7::text[], $8::text[], $9::bigint[], $10::integer[])
        AS fired (subject, name, armed, attempt)
    WHERE timer.subject = fired.subject AND timer.name = fired.name
        AND timer.armed = fired.armed AND timer.attempt = fired.attempt
    RETURNING timer.subject, timer.name
), said AS (
    UPDATE subject_sequence SET last = given.last FROM unnest($14::text[], $15::bigint[]) AS given (subject, last)
    WHERE subject_sequence.subject = given.subject
), sent AS (
    INSERT INTO outbox (event_id, topic, key, headers, value)
    SELECT event_id, topic, key, headers::jsonb, value
    FROM unnest($16::text[], $17::text[], $18::text[], $19::text[], $20::bytea[])
        WITH ORDINALITY AS given (event_id, topic, key, headers, value, number)
    ORDER BY number
    RETURNING event_id, place
)
SELECT subject, name, armed, traceparent FROM armed UNION ALL SELECT subject, name, NULL, NULL FROM finished
UNION ALL SELECT NULL, event_id, place, NULL FROM sent WHERE NOT EXISTS (SELECT FROM outbox WHERE key = ANY ($14))
"""

# A timer that somebody holds is being set anew or taken away: to wait for it could be to wait for each other. Should
# that come to nothing, the lease brings it back.
_AGAIN = """
WITH mine AS (
    SELECT subject, name, given.due_at, given.payload
    FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::integer[])
        AS given (due_at, payload, subject, name, armed, attempt)
    JOIN timer USING (subject, name, armed, attempt)
    FOR UPDATE OF timer SKIP LOCKED
)
UPDATE timer SET due_at = mine.due_at, payload = mine.payload::jsonb, attempt = 0, armed = DEFAULT
FROM mine WHERE timer.subject = mine.subject AND timer.name = mine.name
"""


type _Setting = tuple[datetime, str, str, str, int, int]
"""When a timer fires again, with which payload; its subject, name, setting and attempt."""


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
    in_hand: Any


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
    _last: dict[str, int] = field(default_factory=dict)
    """Of each locked subject, the sequence of the last event about it."""
    _later: dict[str, dict[str, tuple[Any, ...]]] = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)
    """What a service holds in hand of a locked subject, so that the next event about it needs not read it again."""
    armed: datetime | None = None
    """When the earliest timer is due that was set and is not fired at once."""
    fired: list[Timer] = field(default_factory=list)
    """Timers that are leased for this process, to be fired when the unit has committed."""
    sendable: list[Sendable] = field(default_factory=list)
    """All events of the unit in their order, when nothing about their subjects waits before them."""
    _counts: list[Counter] = field(default_factory=list)

    async def lock(self, *subjects: str) -> None:
        """From here to the end of the unit nobody else of this service works on these subjects."""
        wanted = set(subjects) - self._last.keys()
        if wanted:
            rows = await self.connection.fetch(_LOCK, sorted(wanted))
            self.hold({row["subject"]: row["last"] for row in rows})

    def hold(self, locked: Mapping[str, int]) -> None:
        """These subjects were locked as `lock` does it; of each, the sequence of the last event about it."""
        self._last |= locked

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

    async def arm(
        self, subject: str, name: str, due_at: datetime, payload: dict[str, Any] | None = None, *, in_hand: Any = None
    ) -> None:
        """Set the timer (subject, name), or move it when it is there already. Its kind is `name` up to a colon.

        Its firings belong to the trace in which it was first set. `in_hand`: what its handler would have to read; it
        gets it when the timer fires at once, and not otherwise.
        """
        self._timers[subject, name] = _Armed(due_at, payload or {}, current_traceparent(), in_hand)

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

    async def flush(self, timers: Timers | None) -> bool:
        """Write what was left for later: rows, timers, and events, signed and in sequence; whether there were events.
        `timers`: those that fire at once what is due. Called by `Units.begin`."""
        for statement, rows_of in self._later.items():
            await self.connection.executemany(statement, list(rows_of.values()))
        self._later.clear()
        spoke = bool(self._outgoing)
        if spoke:
            await self.lock(*{outgoing.envelope.subject for outgoing in self._outgoing})
        if spoke or self._timers:
            await self._end(timers)
        return spoke

    async def _end(self, timers: Timers | None) -> None:
        armed = [(*key, state) for key, state in self._timers.items() if isinstance(state, _Armed)]
        fired = [state for state in self._timers.values() if isinstance(state, Timer)]
        gone = [key for key, state in self._timers.items() if state is None]
        due = [(subject, name) for subject, name, state in armed if state.due_at <= self.now]
        holders = timers.holders(due) if timers is not None else {}
        outbox = [(outgoing.envelope.id, self._record(outgoing)) for outgoing in self._outgoing]
        spoken = sorted({outgoing.envelope.subject for outgoing in self._outgoing})
        rows = await self.connection.fetch(
            _END,
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
            [(subject, name) in holders for subject, name, _ in armed],
            LEASE,
            spoken,
            [self._last[subject] for subject in spoken],
            [event_id for event_id, _ in outbox],
            *_columns([record for _, record in outbox]),
            [holders.get((subject, name)) for subject, name, _ in armed],
        )
        ended = {(row["subject"], row["name"]): row for row in rows}
        for timer in fired:
            if (timer.subject, timer.name) not in ended:
                await self._must_have_changed(timer)
        for subject, name, state in armed:
            if (subject, name) in holders:
                row = ended[subject, name]
                setting = (row["armed"], row["traceparent"], holders[subject, name], state.in_hand)
                self.fired.append(Timer(subject, name, state.due_at, 1, state.payload, *setting))
            else:
                self.armed = min(self.armed or state.due_at, state.due_at)
        places = {row["name"]: row["armed"] for row in rows if row["subject"] is None}
        if places:
            self.sendable = [Sendable(places[event_id], record) for event_id, record in outbox]

    async def _must_have_changed(self, timer: Timer) -> None:
        """Disarmed or set anew meanwhile: what it fired for is done, and the new setting stands. Else it was lost."""
        current = await self.connection.fetchval(
            "SELECT armed FROM timer WHERE subject = $1 AND name = $2", timer.subject, timer.name
        )
        if current == timer.armed:
            raise TimerLostError(timer)

    def _record(self, outgoing: _Outgoing) -> OutgoingRecord:
        subject = outgoing.envelope.subject
        self._last[subject] += 1
        envelope = replace(outgoing.envelope, sequence=self._last[subject])
        headers, value = envelope.sign(self._signer, outgoing.payload)
        topic = outgoing.entry.type if outgoing.entry.writer == "audit" else self._log_topic
        return OutgoingRecord(topic, subject.encode(), headers, value)


def _columns(records: Sequence[OutgoingRecord]) -> tuple[list[Any], ...]:
    """Topics, keys, headers and values, as the outbox takes them."""
    told = [[[name, (data or b"").decode()] for name, data in record.headers] for record in records]
    return (
        [record.topic for record in records],
        [(record.key or b"").decode() for record in records],
        [orjson.dumps(headers).decode() for headers in told],
        [record.value for record in records],
    )


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
        self.line = Line(pool)
        """For a sink that takes batches without a unit; the consume loop gives it back."""
        self.in_hand = InHand()
        self.timer_wake = asyncio.Event()
        self.timers: Timers | None = None
        """Those that run in this process."""
        self._signer = signer
        self._notify = notify
        self._log_topic = log_topic
        self.clock = clock or DatabaseClock()
        self._again = Together(self._set_again)

    def now(self) -> datetime:
        """This moment, in UTC, by the clock of the units."""
        return self.clock()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Unit]:
        """A unit that commits at the end of the block, and is rolled back when the block raises."""
        async with self.pool.acquire() as connection, connection.transaction():
            unit = Unit(connection, self.clock(), self._signer, self._log_topic)
            yield unit
            timers = self.timers
            spoke = await unit.flush(timers)
            if self._notify and (spoke or unit.armed is not None):
                await connection.execute("SELECT pg_notify(current_schema() || '_work', '')")
        unit.committed()
        if timers is not None:
            timers.fire(unit.fired)
        if unit.armed is not None:
            self._wake_timers(unit.armed)
        if spoke:
            self._hand_over(unit.sendable)
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def _hand_over(self, sendable: Sequence[Sendable]) -> None:
        if sendable:
            self.in_hand.give(sendable)
        else:
            self.in_hand.look()

    async def again(self, timer: Timer, due_at: datetime, payload: dict[str, Any]) -> None:
        """Have a timer that fired fire again then, where nothing else is to be kept: one statement without a unit, for
        all who ask for it at once. Where it was taken away or set anew meanwhile, or fires anew, that stands."""
        told = orjson.dumps(payload).decode()
        await self._again.of((due_at, told, timer.subject, timer.name, timer.armed, timer.attempt))
        self._wake_timers(due_at)

    async def _set_again(self, settings: list[_Setting]) -> Mapping[_Setting, None]:
        await self.pool.execute(_AGAIN, *map(list, zip(*settings, strict=True)))
        return {}

    def _wake_timers(self, due_at: datetime) -> None:
        if self.timers is None or self.timers.wakes_for(due_at):
            self.timer_wake.set()
