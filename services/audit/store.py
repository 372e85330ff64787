"""The tables of the timeline: what the writer reads and adds within its unit."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Self

import asyncpg

from services.audit.domain.chain import Entry, Known, Stream
from services.audit.domain.leaf import Link
from services.audit.rows import COLUMNS, packed, plain
from services.audit.tlog import Edge, Tile
from services.audit.tlog.tiles import TILE_WIDTH
from shared.events import Event, Reading
from shared.messaging import in_turn
from shared.postgres.literals import texts

type Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

COPY_FROM = 60
"""From so many rows on, COPY is faster than one statement with arrays."""

_TYPES = (
    "bigint", "text", "bytea", "bytea", "bytea", "smallint", "bigint", "text", "bigint", "text", "text", "text", "text",
)  # fmt: skip

# What is read here is right only when the state is the one that this writer left: a statement that waits for the lock
# sees the other tables as they were before it waited. `load_known` reads again where it is not.
_OPEN = """
WITH state AS (SELECT size, root, epoch, writer FROM log_state FOR UPDATE)
SELECT 's' AS part, writer AS name, NULL AS id, size AS n, epoch AS m, root AS data FROM state
UNION ALL
"""
NEXT_OFFSET = "SELECT coalesce(max(kafka_offset) + 1, 0) FROM entry WHERE stream_id = stream.id"
"""How far a stream is recorded: a hole is told with the record behind it, so that its last entry is a record."""
# The chain's last entry, by the unique key of chains: a head that was kept once more would be one more row to change.
_HEAD = """
SELECT subject, n + 1 AS n, leaf_hash AS hash FROM entry WHERE entry.subject = wanted.subject ORDER BY n DESC LIMIT 1
"""
# LATERAL with OFFSET or LIMIT: by the index for each, also under a plan that was made while the tables were small.
_KNOWN = f"""
SELECT 'h' AS part, found.subject AS name, NULL AS id, found.n, NULL::bigint AS m, found.hash AS data
FROM unnest($1::text::text[]) AS wanted (subject)
CROSS JOIN LATERAL ({_HEAD}) AS found
UNION ALL
SELECT 'r', found.source, found.event_id, found.seq, NULL, found.body_hash
FROM unnest($2::text::text[]) AS wanted (event_id)
CROSS JOIN LATERAL (
    SELECT source, event_id, seq,
        sha256(substr(leaf, position('\\x0a'::bytea IN leaf) + 1) || coalesce(detached.data, '')) AS body_hash
    FROM entry LEFT JOIN detached ON detached.sha256 = entry.detached
    WHERE entry.event_id = wanted.event_id AND subject IS NOT NULL OFFSET 0) AS found
UNION ALL
SELECT 'p', topic, id::text, partition, ({NEXT_OFFSET}), NULL FROM stream
"""  # noqa: S608
_LOCK = "SELECT size, root, epoch, writer FROM log_state FOR UPDATE"
_NEW_STREAMS = """
INSERT INTO stream (topic, partition)
SELECT topic, partition FROM unnest($1::text[], $2::integer[]) AS new (topic, partition)
RETURNING id, topic, partition
"""
_HEADS = f"""
SELECT head.subject, head.n, head.hash FROM unnest($1::text::text[]) AS wanted (subject)
CROSS JOIN LATERAL ({_HEAD}) AS head
"""  # noqa: S608
# One statement, because each more costs a single event a tenth of its time. The names are those of our own columns.
_APPEND = f"""
WITH moved AS (
    UPDATE log_state SET size = $1, root = $2, epoch = $3, writer = $4
    WHERE size = $5 AND epoch = $6 AND root = $7 RETURNING size
), tiles AS (
    INSERT INTO tile (level, idx, hashes, root)
    SELECT * FROM unnest($8::smallint[], $9::bigint[], $10::bytea[], $11::bytea[])
), entries AS (
    INSERT INTO entry ({", ".join(COLUMNS)})
    SELECT * FROM unnest({", ".join(f"${at}::{kind}[]" for at, kind in enumerate(_TYPES, 12))})
)
"""  # noqa: S608
_ADD = f"{_APPEND} SELECT size, pg_notify('audit_entries', '') FROM moved"  # noqa: S608
_NEXT = 12 + len(_TYPES)
_CHECKS = """refuse_unusual({0}::bigint, {1}::bigint, {2}::text::text[], {3}::text::text[])"""
_ADD_AT_ONCE = f"""{_APPEND}
SELECT {_CHECKS.format("(SELECT size FROM moved)", "$5", f"${_NEXT}", f"${_NEXT + 1}")},
    {in_turn.CALL.format(*(f"${at}" for at in range(_NEXT + 2, _NEXT + 11)))}, pg_notify('audit_entries', '')
"""  # noqa: S608
_CHECK = f"""
SELECT {_CHECKS.format("$1", "$1", "$2", "$3")}, {in_turn.CALL.format(*(f"${at}" for at in range(4, 13)))}
"""
_KEEP_DETACHED = "INSERT INTO detached (sha256, data) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING"
_LEAF_HASHES = "SELECT leaf_hash FROM entry WHERE seq >= $1 AND seq < $2 ORDER BY seq"
_TILE_ROOTS = "SELECT root FROM tile WHERE level = $1 AND idx >= $2 ORDER BY idx"


class StaleWriterError(Exception):
    """The state of the log changed under its lock: nothing of this batch is kept."""


@dataclass(frozen=True, slots=True)
class State:
    """The tree as it is committed."""

    size: int
    root: bytes
    epoch: int
    writer: str


async def lock_state(connection: Connection) -> State:
    """The state, locked until the transaction ends."""
    row = await connection.fetchrow(_LOCK)
    if row is None:
        raise AssertionError("the migration made the row")
    return State(row["size"], row["root"], row["epoch"], row["writer"])


async def load_edge(connection: Connection, size: int) -> Edge:
    """The right edge of the tree of this size, out of entries and tiles."""
    rows = await connection.fetch(_LEAF_HASHES, size - size % TILE_WIDTH, size)
    levels = [tuple(row["leaf_hash"] for row in rows)]
    level = 1
    while size >> (8 * level):
        first = (size >> (8 * (level + 1))) * TILE_WIDTH
        rows = await connection.fetch(_TILE_ROOTS, level - 1, first)
        levels.append(tuple(row["root"] for row in rows))
        level += 1
    return Edge(size, tuple(levels))


@dataclass(slots=True)
class Before:
    """What the log holds that a batch touches."""

    known: Known
    streams: dict[Stream, int]
    """The ids of all streams."""


async def open_batch(connection: Connection, readings: Sequence[Reading]) -> tuple[State, Before]:
    """The state, locked until the transaction ends, and what the log held when this was asked: the truth unless
    another writer moved the state since this one did."""
    rows = await connection.fetch(_OPEN + _KNOWN, *_asked(readings))
    (state,) = (State(row["n"], row["data"], row["m"], row["name"]) for row in rows if row["part"] == "s")
    return state, await _before(connection, rows, readings)


async def load_before(connection: Connection, readings: Sequence[Reading]) -> Before:
    """What the log holds. Lock the state first."""
    return await _before(connection, await connection.fetch(_KNOWN, *_asked(readings)), readings)


def _asked(readings: Sequence[Reading]) -> tuple[str, str]:
    envelopes = [reading.envelope for reading in readings if isinstance(reading, Event)]
    looked_for = {envelope.id for envelope in envelopes}
    looked_for |= {envelope.causationid for envelope in envelopes if envelope.causationid is not None}
    return texts({envelope.subject for envelope in envelopes}), texts(looked_for)


async def _before(connection: Connection, rows: Sequence[asyncpg.Record], readings: Sequence[Reading]) -> Before:
    known = Known(
        heads={row["name"]: Link(row["name"], row["n"], row["data"]) for row in rows if row["part"] == "h"},
        next_offsets={(row["name"], row["n"]): row["m"] for row in rows if row["part"] == "p"},
        # In the order of the log, so that of several with one id the last one counts.
        recorded={
            (row["name"], row["id"]): row["data"]
            for row in sorted((row for row in rows if row["part"] == "r"), key=lambda row: row["n"])
        },
    )
    streams = {(row["name"], row["n"]): int(row["id"]) for row in rows if row["part"] == "p"}
    await add_streams(connection, streams, {(one.received.topic, one.received.partition) for one in readings})
    return Before(known, streams)


async def add_streams(connection: Connection, streams: dict[Stream, int], wanted: AbstractSet[Stream]) -> None:
    """Give an id to those that `streams` lacks."""
    new = sorted(wanted - streams.keys())
    if new:
        added = await connection.fetch(_NEW_STREAMS, [stream[0] for stream in new], [stream[1] for stream in new])
        streams |= {(row["topic"], row["partition"]): row["id"] for row in added}


class Statements:
    """Statements of one connection, each of which the database works on while the next one is being made.

        async with Statements() as statements:
            await statements.send(copy(connection, rows))
            rows = ...
            await statements.send(copy(connection, rows))

    Raises what a statement raises, at the latest at the end.
    """

    def __init__(self) -> None:
        self._sent: asyncio.Future[None] | None = None

    async def send(self, statement: Coroutine[Any, Any, None]) -> None:
        """Send it, when the one before it is done."""
        try:
            await self._done()
        except BaseException:
            statement.close()
            raise
        self._sent = asyncio.ensure_future(statement)
        # A task begins when the loop comes round to it.
        await asyncio.sleep(0)

    async def _done(self) -> None:
        if self._sent is not None:
            sent, self._sent = self._sent, None
            await sent

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._done()


async def copy(connection: Connection, rows: bytes) -> None:
    """Add entries, packed by `packed`. Of a binary COPY the server adds nothing before it has a thousand rows or the
    end, so that a batch goes in several."""
    # A view, because bytes would be taken for the path of a file; that a buffer is taken, the stubs do not know.
    source: Any = memoryview(rows)
    await connection.copy_to_table("entry", source=source, columns=COLUMNS, format="binary")


async def copy_parts(
    connection: Connection,
    statements: Statements,
    start: int,
    parts: Iterable[Sequence[Entry]],
    streams: Mapping[Stream, int],
) -> None:
    """Add many entries, the first of which is `start`; each part while the next is being built."""
    for part in parts:
        rows = packed(start, part, streams)
        start += len(part)
        await statements.send(copy(connection, rows))


async def load_heads(connection: Connection, subjects: Iterable[str]) -> dict[str, Link]:
    """The next links of those of these subjects that have a chain."""
    rows = await connection.fetch(_HEADS, texts(subjects))
    return {row["subject"]: Link(row["subject"], row["n"], row["hash"]) for row in rows}


@dataclass(frozen=True, slots=True)
class Step:
    """One move of the log, from a state to the one after it."""

    before: State
    after: State
    entries: Sequence[Entry]
    """Those that are not there already."""
    tiles: Sequence[Tile]
    streams: Mapping[Stream, int]

    def columns(self) -> tuple[object, ...]:
        """The parameters of `_APPEND`."""
        before, after = self.before, self.after
        rows = plain(before.size, self.entries, self.streams)
        return (
            *(after.size, after.root, after.epoch, after.writer, before.size, before.epoch, before.root),
            [tile.level for tile in self.tiles],
            [tile.index for tile in self.tiles],
            [tile.hashes for tile in self.tiles],
            [tile.root for tile in self.tiles],
            *(zip(*rows, strict=True) if rows else [()] * len(COLUMNS)),
        )


async def keep_detached(connection: Connection, entries: Iterable[Entry]) -> None:
    """Keep what was too long for these entries' leaves."""
    for entry in entries:
        if entry.leaf.detached is not None:
            await connection.execute(_KEEP_DETACHED, entry.leaf.detached_sha256, entry.leaf.detached)


async def add(connection: Connection, step: Step) -> None:
    """Move the log, and wake whoever waits for entries. Raises `StaleWriterError` when the log is not in the state
    before the step."""
    if await connection.fetchrow(_ADD, *step.columns()) is None:
        raise StaleWriterError(f"the log is not at size {step.before.size}, epoch {step.before.epoch} any more")


@dataclass(frozen=True, slots=True)
class Usual:
    """What must be so of a batch that is added at once."""

    events: str
    """None of them is recorded."""
    causes: str
    """All of them are."""
    turn: tuple[str, ...]
    """The arguments of `take_in_turn`."""

    @classmethod
    def of(cls, readings: Sequence[Reading]) -> "Usual | None":
        """None when the readings by themselves show that they are not in turn."""
        turn = in_turn.arguments(readings)
        if turn is None:
            return None
        ids: set[str] = set()
        causes: set[str] = set()
        for envelope in (reading.envelope for reading in readings if isinstance(reading, Event)):
            if envelope.id in ids:
                return None
            if envelope.causationid is not None and envelope.causationid not in ids:
                causes.add(envelope.causationid)
            ids.add(envelope.id)
        return cls(texts(ids), texts(causes), turn)

    def parameters(self) -> tuple[str, ...]:
        return (self.events, self.causes, *self.turn)


async def add_at_once(connection: Connection, step: Step, usual: Usual) -> None:
    """Add, and move positions and sequences, in one statement. Raises what `in_turn.is_refusal` knows when the batch is
    not `usual`, or the log is in another state."""
    await connection.fetchrow(_ADD_AT_ONCE, *step.columns(), *usual.parameters())


async def lock(connection: Connection, state: State) -> None:
    """Lock the log until the transaction ends. Raises `StaleWriterError` when it is in another state."""
    if await lock_state(connection) != state:
        raise StaleWriterError(f"the log is not at size {state.size}, epoch {state.epoch} any more")


async def check(connection: Connection, size: int, usual: Usual) -> None:
    """Check a batch some of whose entries are there, from `size` on, and move positions and sequences. Raises like
    `add_at_once`."""
    await connection.fetchrow(_CHECK, size, *usual.parameters())
