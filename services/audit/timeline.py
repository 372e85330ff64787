"""The writer: every record of the log becomes an entry, in the transaction that moves the Kafka position.

Life of an entry: lock `log_state` → read chain heads, recorded events, stream positions → build leaves → hash them into
the tree → add entries, full tiles and heads → move `log_state` from the size that was locked → commit, by the kit,
together with the position, the findings in the outbox and the timers. Nothing is published before that.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog

from services.audit import store
from services.audit.domain.chain import Batch, Entry, Known, Recorder
from services.audit.domain.finding import INSTALLATION, LOG_SUBJECT, Finding, FindingCode, to_report
from services.audit.domain.leaf import Leaf, LeafBuilder
from services.audit.feeds.ocsf_own import tell
from services.audit.guard import Guard
from services.audit.tlog import Edge
from shared.events import Event, Reading
from shared.events.audit import IntegrityFinding, TimelineSealed
from shared.messaging.heard import Verdict, hear
from shared.messaging.timer import Timer
from shared.messaging.unit import Scope, Unit, Units

ACTOR = "service/audit"
CHANNEL = "audit_entries"
"""Notified when entries were added; publisher and feeder listen."""
CAUSE_WAIT = timedelta(seconds=60)
"""How long a cause may take to arrive: it may lie in a partition that is read later."""
CAUSE_TIMER = "cause"

_ORDER = {
    Verdict.GAP: FindingCode.SEQUENCE_GAP,
    Verdict.REPEAT: FindingCode.SEQUENCE_STEP_BACK,
    Verdict.CONFLICT: FindingCode.SEQUENCE_TAKEN,
}
_NOTIFY = "SELECT pg_notify($1, '')"
_IS_RECORDED = "SELECT EXISTS (SELECT FROM entry WHERE event_id = $1 AND subject IS NOT NULL)"

_log = structlog.get_logger()


class Timeline:
    """The sink of the consume loop. Any number may run: the lock on the log's state puts them in a line, and one that
    finds the log changed by another reads the edge of the tree again."""

    def __init__(self, builder: LeafBuilder, guard: Guard | None = None) -> None:
        self._builder = builder
        self._guard = guard
        self._writer = secrets.token_hex(8)
        self._edge = Edge()
        self._state: store.State | None = None

    async def take(self, unit: Unit, readings: Sequence[Reading]) -> None:
        """Record a batch. Raises `StaleWriterError` when the log's state is moved by someone who did not lock it, and
        `ForkedError`, for which the consume loop waits, when it would fork what was published."""
        before = await self._lock(unit)
        known = await store.load_known(unit.connection, readings)
        orders = await _orders(unit, readings)
        batch = Recorder(self._builder, known).build(zip(readings, orders, strict=True))
        if not batch.entries:
            return
        after = await self._append(unit, before, batch, known)
        await self._tell(unit, before.size, after.size, batch)

    async def add(self, unit: Unit, make: Callable[[int], Awaitable[Sequence[Leaf]]]) -> int:
        """Add what the log says about itself. `make` is given the size of the log, which is locked; it is returned.
        Raises like `take`."""
        before = await self._lock(unit)
        leaves = await make(before.size)
        if leaves:
            await self._append(unit, before, Batch([Entry(leaf) for leaf in leaves]), Known({}, {}, {}))
            await unit.connection.execute(_NOTIFY, CHANNEL)
        return before.size

    async def _lock(self, unit: Unit) -> store.State:
        state = await store.lock_state(unit.connection)
        if self._guard is not None and (self._state is None or state.size < self._state.size):
            # At the start, and when the log became smaller: a rollback of ours, or a database from a backup.
            await self._guard.check(unit.connection, state.size)
        return state

    async def _append(self, unit: Unit, before: store.State, batch: Batch, known: Known) -> store.State:
        edge, tiles = (await self._edge_at(unit, before)).append([entry.leaf.hash for entry in batch.entries])
        await store.add(unit.connection, before.size, batch, tiles, known)
        epoch = before.epoch + (before.writer != self._writer)
        after = store.State(edge.size, edge.root(), epoch, self._writer)
        await store.move_state(unit.connection, before, after)
        # Believed only as long as the committed state says the same: a rollback shows there.
        self._edge, self._state = edge, after
        return after

    async def _edge_at(self, unit: Unit, state: store.State) -> Edge:
        if state != self._state:
            return await store.load_edge(unit.connection, state.size)
        return self._edge

    async def _tell(self, unit: Unit, start: int, size: int, batch: Batch) -> None:
        for finding in to_report(batch.findings):
            await report(unit, finding, start + finding.at)
        for seal in batch.seals:
            sealed = TimelineSealed(
                entries=seal.link.n, head=(seal.link.prev or b"").hex(), seal_seq=start + seal.at, size=size
            )
            closed = seal.closed
            scope = Scope(closed.subject, closed.organisation, closed.drill)
            await tell(unit, sealed, scope, actor=ACTOR, cause=closed.id)
        for at, envelope in batch.causes:
            payload = {
                "cause": envelope.causationid,
                "event": envelope.id,
                "organisation": envelope.organisation,
                "drill": envelope.drill,
                "seq": start + at,
            }
            await unit.arm(envelope.subject, f"{CAUSE_TIMER}:{start + at}", unit.now + CAUSE_WAIT, payload)
        await unit.connection.execute(_NOTIFY, CHANNEL)


async def _orders(unit: Unit, readings: Sequence[Reading]) -> list[FindingCode | None]:
    """What is wrong with the sequence of each reading, if anything is."""
    verdicts = iter(await hear(unit, [reading for reading in readings if isinstance(reading, Event)]))
    return [_ORDER.get(next(verdicts)) if isinstance(reading, Event) else None for reading in readings]


async def report(unit: Unit, finding: Finding, seq: int) -> None:
    """Say on the topic of findings, and in the service's own log, what does not add up."""
    envelope = finding.envelope
    scope = Scope(LOG_SUBJECT, INSTALLATION)
    if envelope is not None:
        scope = Scope(envelope.subject, envelope.organisation, envelope.drill)
    _log.error("integrity_finding", finding=finding.code, seq=seq, partition=finding.partition, offset=finding.offset)
    payload = IntegrityFinding(
        finding=finding.code, topic=finding.topic, partition=finding.partition, offset=finding.offset, seq=seq
    )
    await tell(unit, payload, scope, actor=ACTOR, cause=envelope.id if envelope else None)


class Causes:
    """Looks once more for a cause that was not recorded when the event that names it was."""

    def __init__(self, units: Units) -> None:
        self._units = units

    async def look(self, timer: Timer) -> None:
        """The timer handler. What is still unknown is reported, once."""
        facts = timer.payload
        async with self._units.begin() as unit:
            if not await unit.connection.fetchval(_IS_RECORDED, facts["cause"]):
                scope = Scope(timer.subject, facts["organisation"], facts["drill"])
                _log.error("integrity_finding", finding=FindingCode.CAUSE_UNKNOWN, seq=facts["seq"])
                finding = IntegrityFinding(finding=FindingCode.CAUSE_UNKNOWN, seq=facts["seq"])
                await tell(unit, finding, scope, actor=ACTOR, cause=facts["event"])
            await unit.finish(timer)
