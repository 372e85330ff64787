"""Events that are new and in turn into the timeline, on what the writer remembers of it: what has to be so for that is
checked where they are added, and nothing is kept when it is not."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from services.audit import store
from services.audit.domain.leaf import LeafBuilder
from services.audit.memory import Memory
from services.audit.rows import Row, packed_usual
from services.audit.store import Connection, State, Step
from services.audit.tlog import Edge
from services.audit.usual import UsualRows, asked
from shared.events import Reading

SESSION = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan"
"""For the connection: its statements look for single rows, also under a plan that was made while tables were small."""
_SMALLEST_PART, _LARGEST_PART = 100, 200
"""Entries that are built while the database takes in those before them."""


async def add_at_once(
    connection: Connection, memory: Memory, builder: LeafBuilder, readings: Sequence[Reading], *, wake: bool
) -> None:
    """Add them behind the state that is remembered, and move what is remembered on. `wake`: somebody in another process
    waits for entries.

    Raises `UnusualError` when there is more to be said of them than their entries; `StaleWriterError` when the log is
    in another state, a cause is not recorded, or an event is parked; the database's error when a unique key is taken.
    """
    rows = UsualRows(builder, memory)
    firsts, causes = asked(readings)
    if unread := [subject for subject, sequence in firsts.items() if memory.has_to_be_read(subject, sequence)]:
        await store.follow(connection)
        memory.learn(await store.load_chains(connection, unread))
    if len(readings) < store.COPY_FROM:
        step, edge = _step(memory, rows, list(rows.of(readings)))
        if len(readings) == 1 and not step.tiles:
            await store.add_one(connection, step, next(iter(causes), None), wake=wake)
        else:
            await store.add_usual(connection, step, causes)
    else:
        async with connection.transaction():
            step, edge = await _copy(connection, memory, rows, readings, causes)
    memory.keep(step.after, edge, rows.next_offsets, rows.chains)


async def _copy(
    connection: Connection, memory: Memory, rows: UsualRows, readings: Sequence[Reading], causes: AbstractSet[str]
) -> tuple[Step, Edge]:
    async with store.Statements() as statements:
        await statements.send(store.lock_usual(connection, rows.before, causes))
        for part in _parts(readings):
            await statements.send(store.copy(connection, packed_usual(rows.of(part))))
        step, edge = _step(memory, rows, ())
        await statements.send(store.add(connection, step))
    return step, edge


def _parts(readings: Sequence[Reading]) -> Iterator[Sequence[Reading]]:
    """Small ones at first, until which the database has little to do, and at the end, when nothing is left to be built
    while it takes in the last one."""
    at = 0
    while at < len(readings):
        size = max(min(at, _LARGEST_PART, (len(readings) - at) // 2), _SMALLEST_PART)
        yield readings[at : at + size]
        at += size


def _step(memory: Memory, rows: UsualRows, added: Sequence[Row]) -> tuple[Step, Edge]:
    before = rows.before
    edge, tiles = memory.edge.append(rows.hashes)
    return Step(before, State(edge.size, edge.root(), before.epoch, before.writer), added, tiles), edge
