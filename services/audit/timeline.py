"""The writer: every record of the log becomes an entry, which carries its place in Kafka.

Life of an entry that is not added at once (`at_once.py`): lock `log_state` → read chain heads, recorded events, stream
positions → build leaves → hash them into the tree → add entries and full tiles → move `log_state` from the size that
was locked → commit, by the kit, together with the position, the findings in the outbox and the timers. Nothing is
published before that.
"""

import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from itertools import batched

import asyncpg
import structlog

from services.audit import store
from services.audit.added import Added
from services.audit.at_once import SESSION, add_at_once
from services.audit.domain.chain import Batch, Entry, Known, Recorder
from services.audit.domain.finding import INSTALLATION, LOG_SUBJECT, Finding, FindingCode, to_report
from services.audit.domain.leaf import Leaf, LeafBuilder
from services.audit.feeds.ocsf_own import tell
from services.audit.feeds.ocsf_versions import OcsfVersion
from services.audit.guard import Guard
from services.audit.memory import Memory
from services.audit.rows import rows_of
from services.audit.usual import UnusualError
from shared.events import Event, Reading
from shared.events.audit import IntegrityFinding, TimelineSealed
from shared.messaging.heard import Verdict, hear
from shared.messaging.timer import Timer
from shared.messaging.unit import Scope, Unit, Units

ACTOR = "service/audit"
_PART = 200
"""Entries that are built while the database takes in those before them."""
CAUSE_WAIT = timedelta(seconds=60)
"""How long a cause may take to arrive: it may lie in a partition that is read later."""
CAUSE_TIMER = "cause"

_ORDER = {
    Verdict.GAP: FindingCode.SEQUENCE_GAP,
    Verdict.REPEAT: FindingCode.SEQUENCE_STEP_BACK,
    Verdict.CONFLICT: FindingCode.SEQUENCE_TAKEN,
}
_IS_RECORDED = "SELECT EXISTS (SELECT FROM entry WHERE event_id = $1 AND subject IS NOT NULL)"

_log = structlog.get_logger()


class Timeline:
    """The sink of the consume loop. Any number may run: the lock on the log's state puts them in a line, and one that
    finds the log changed by another reads the edge of the tree again."""

    urgent: Collection[str] = ()
    """No event: the checkpoint that covers an entry comes once a second."""

    def __init__(
        self,
        builder: LeafBuilder,
        guard: Guard | None = None,
        added: Added | None = None,
        ocsf: OcsfVersion = OcsfVersion.V1_8,
    ) -> None:
        self._builder = builder
        self._ocsf = ocsf
        self._guard = guard
        self._added = added or Added("anybody")
        self._writer = secrets.token_hex(8)
        self._memory = Memory()

    async def take(self, unit: Unit, readings: Sequence[Reading]) -> None:
        """Record a batch. Raises `StaleWriterError` when the log's state is moved by someone who did not lock it, and
        `ForkedError`, for which the consume loop waits, when it would fork what was published."""
        state, before = await store.open_batch(unit.connection, readings)
        await self._check(unit, state)
        if state != self._memory.state:
            before = await store.load_before(unit.connection, readings)
        await store.follow(unit.connection)
        orders = await _orders(unit, readings)
        recorder = Recorder(self._builder, before.known)
        parts = map(recorder.add, batched(zip(readings, orders, strict=True), _PART))
        copied = len(readings) >= store.COPY_FROM
        if copied:
            async with store.Statements() as statements:
                await store.copy_parts(unit.connection, statements, state.size, parts, before.streams)
        else:
            deque(parts, maxlen=0)
        batch = recorder.batch
        if not batch.entries:
            return
        await self._append(unit, state, batch, before, copied=copied)
        await self._tell(unit, state.size, state.size + len(batch.entries), batch)

    async def take_at_once(self, units: Units, readings: Sequence[Reading]) -> bool:
        """Record a batch of events that are new and in turn, and of which nothing more is to be said, on what is
        remembered of the log: the statement that adds them refuses when it is not so. False when nothing was kept."""
        connection = await units.line.connection(SESSION)
        try:
            await add_at_once(connection, self._memory, self._builder, readings, wake=self._added.elsewhere)
        except (UnusualError, store.StaleWriterError, asyncpg.UniqueViolationError):
            return False
        self._added.tell()
        return True

    async def add(self, unit: Unit, make: Callable[[int], Awaitable[Sequence[Leaf]]]) -> int:
        """Add what the log says about itself. `make` is given the size of the log, which is locked; it is returned.
        Raises like `take`."""
        state = await store.lock_state(unit.connection)
        await self._check(unit, state)
        leaves = await make(state.size)
        if leaves:
            nothing = store.Before(Known({}, {}, {}), {})
            await self._append(unit, state, Batch([Entry(leaf) for leaf in leaves]), nothing)
        return state.size

    async def _check(self, unit: Unit, state: store.State) -> None:
        last = self._memory.state
        if self._guard is not None and (last is None or state.size < last.size):
            # At the start, and when the log became smaller: a rollback of ours, or a database from a backup.
            await self._guard.check(unit.connection, state.size)

    async def _append(
        self, unit: Unit, state: store.State, batch: Batch, before: store.Before, *, copied: bool = False
    ) -> None:
        if state != self._memory.state:
            self._memory = Memory(state, await store.load_edge(unit.connection, state.size))
        memory = self._memory
        hashes = [entry.leaf.hash for entry in batch.entries]
        edge, tiles = memory.edge.append(hashes)
        after = store.State(edge.size, edge.root(), state.epoch + (state.writer != self._writer), self._writer)
        rows = rows_of(state.size, () if copied else batch.entries, before.streams)
        await store.keep_detached(unit.connection, batch.entries)
        await store.add(unit.connection, store.Step(state, after, rows, tiles))
        memory.keep_batch(after, edge, before)

    async def _tell(self, unit: Unit, start: int, size: int, batch: Batch) -> None:
        for finding in to_report(batch.findings):
            await report(unit, finding, start + finding.at, self._ocsf)
        for seal in batch.seals:
            sealed = TimelineSealed(
                entries=seal.link.n, head=(seal.link.prev or b"").hex(), seal_seq=start + seal.at, size=size
            )
            closed = seal.closed
            scope = Scope(closed.subject, closed.organisation, closed.drill)
            leaf = batch.entries[seal.at].leaf
            await tell(unit, sealed, scope, actor=ACTOR, ocsf=self._ocsf, cause=closed.id, seal=leaf.hash)
        for at, envelope in batch.causes:
            payload = {
                "cause": envelope.causationid,
                "event": envelope.id,
                "organisation": envelope.organisation,
                "drill": envelope.drill,
                "seq": start + at,
            }
            await unit.arm(envelope.subject, f"{CAUSE_TIMER}:{start + at}", unit.now + CAUSE_WAIT, payload)


async def _orders(unit: Unit, readings: Sequence[Reading]) -> list[FindingCode | None]:
    """What is wrong with the sequence of each reading, if anything is."""
    verdicts = iter(await hear(unit, [reading for reading in readings if isinstance(reading, Event)]))
    return [_ORDER.get(next(verdicts)) if isinstance(reading, Event) else None for reading in readings]


async def report(unit: Unit, finding: Finding, seq: int, ocsf: OcsfVersion) -> None:
    """Say on the topic of findings, and in the service's own log, what does not add up."""
    envelope = finding.envelope
    scope = Scope(LOG_SUBJECT, INSTALLATION)
    if envelope is not None:
        scope = Scope(envelope.subject, envelope.organisation, envelope.drill)
    _log.error("integrity_finding", finding=finding.code, seq=seq, partition=finding.partition, offset=finding.offset)
    payload = IntegrityFinding(
        finding=finding.code, topic=finding.topic, partition=finding.partition, offset=finding.offset, seq=seq
    )
    await tell(unit, payload, scope, actor=ACTOR, ocsf=ocsf, cause=envelope.id if envelope else None)


class Causes:
    """Looks once more for a cause that was not recorded when the event that names it was."""

    def __init__(self, units: Units, ocsf: OcsfVersion = OcsfVersion.V1_8) -> None:
        self._units = units
        self._ocsf = ocsf

    async def look(self, timer: Timer) -> None:
        """The timer handler. What is still unknown is reported, once."""
        facts = timer.payload
        async with self._units.begin() as unit:
            if not await unit.connection.fetchval(_IS_RECORDED, facts["cause"]):
                scope = Scope(timer.subject, facts["organisation"], facts["drill"])
                _log.error("integrity_finding", finding=FindingCode.CAUSE_UNKNOWN, seq=facts["seq"])
                finding = IntegrityFinding(finding=FindingCode.CAUSE_UNKNOWN, seq=facts["seq"])
                await tell(unit, finding, scope, actor=ACTOR, ocsf=self._ocsf, cause=facts["event"])
            await unit.finish(timer)
