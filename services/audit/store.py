"""The tables of the timeline: what the writer reads and adds within its unit."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Self

import asyncpg

from services.audit.domain.chain import Chain, Entry, Known, Stream
from services.audit.domain.leaf import Link, open_leaf
from services.audit.rows import COLUMNS, Row, packed, rows_of
from services.audit.tlog import Edge, Tile
from services.audit.tlog.tiles import TILE_WIDTH
from shared.events import Event, Reading, event_types
from shared.postgres.literals import texts

type Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

COPY_FROM = 60
"""From so many rows on, COPY is faster than one statement with arrays."""

_TYPES = (
    "bigint", "text", "bytea", "bytea", "bytea", "smallint", "bigint", "text", "bigint", "text", "text", "text", "text",
    "integer", "bigint",
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
_TIMES = """
SELECT event_id, repeat + 1 AS times FROM entry WHERE entry.event_id = wanted.event_id ORDER BY repeat DESC LIMIT 1
"""
# LATERAL with OFFSET or LIMIT: by the index for each, also under a plan that was made while the tables were small.
_KNOWN = f"""
SELECT 'h' AS part, found.subject AS name, NULL AS id, found.n, NULL::bigint AS m, found.hash AS data
FROM unnest($1::text::text[]) AS wanted (subject)
CROSS JOIN LATERAL ({_HEAD}) AS found
UNION ALL
SELECT 't', NULL, found.event_id, found.times, NULL, NULL FROM unnest($2::text::text[]) AS wanted (event_id)
CROSS JOIN LATERAL ({_TIMES}) AS found
UNION ALL
SELECT 'p', topic, id::text, partition, ({NEXT_OFFSET}), NULL FROM stream
"""  # noqa: S608
_RECORDED = """
SELECT found.* FROM unnest($1::text::text[]) AS wanted (event_id)
CROSS JOIN LATERAL (
    SELECT source, entry.event_id, leaf, detached.data AS detached
    FROM entry LEFT JOIN detached ON detached.sha256 = entry.detached
    WHERE entry.event_id = wanted.event_id AND subject IS NOT NULL OFFSET 0) AS found
"""
_LOAD_TIMES = f"""
SELECT found.event_id, found.times FROM unnest($1::text::text[]) AS wanted (event_id)
CROSS JOIN LATERAL ({_TIMES}) AS found
"""  # noqa: S608
_LOCK = "SELECT size, root, epoch, writer FROM log_state FOR UPDATE"
_NEW_STREAMS = """
INSERT INTO stream (topic, partition)
SELECT topic, partition FROM unnest($1::text[], $2::integer[]) AS new (topic, partition)
RETURNING id, topic, partition
"""
_CHAINS = f"""
SELECT head.subject, head.n, head.hash, spoken.source, spoken.sequence
FROM unnest($1::text::text[]) AS wanted (subject)
CROSS JOIN LATERAL ({_HEAD}) AS head
LEFT JOIN LATERAL (
    SELECT source, sequence FROM heard WHERE heard.subject = wanted.subject AND heard.source = ANY($2) OFFSET 0
) AS spoken ON true
"""  # noqa: S608
_SOURCES = sorted({entry.source for entry in event_types()})
_MOVED = """
UPDATE log_state SET size = $1, root = $2, epoch = $3, writer = $4
WHERE size = $5 AND epoch = $6 AND root = $7
"""
_NOTHING_IS_PARKED = "NOT EXISTS (SELECT FROM parked WHERE settled_at IS NULL)"
_CAUSES_ARE_RECORDED = """NOT EXISTS (SELECT FROM unnest({0}::text::text[]) AS wanted (event_id)
    LEFT JOIN LATERAL (SELECT seq FROM entry WHERE entry.event_id = wanted.event_id LIMIT 1) AS found
    ON true WHERE found.seq IS NULL)"""
# One statement, because each more costs a single event a tenth of its time. The names are those of our own columns.
_ADD = """
WITH moved AS (
    {0} RETURNING size
), tiles AS (
    INSERT INTO tile (level, idx, hashes, root)
    SELECT * FROM unnest($8::smallint[], $9::bigint[], $10::bytea[], $11::bytea[]) WHERE EXISTS (SELECT FROM moved)
), entries AS (
    INSERT INTO entry ({1}) SELECT * FROM unnest({2}) WHERE EXISTS (SELECT FROM moved)
)
SELECT size, pg_notify('audit_entries', '') FROM moved
"""
_COLUMNS = ", ".join(COLUMNS)
_ARRAYS = ", ".join(f"${at}::{kind}[]" for at, kind in enumerate(_TYPES, 12))
_ADD_ANY = _ADD.format(_MOVED, _COLUMNS, _ARRAYS)
_ADD_USUAL = _ADD.format(
    f"{_MOVED} AND {_NOTHING_IS_PARKED} AND {_CAUSES_ARE_RECORDED.format(f'${12 + len(_TYPES)}')}", _COLUMNS, _ARRAYS
)
_LOCK_USUAL = f"""
SELECT size FROM log_state WHERE size = $1 AND epoch = $2 AND root = $3
    AND {_NOTHING_IS_PARKED} AND {_CAUSES_ARE_RECORDED.format("$4")} FOR UPDATE
"""  # noqa: S608
# What most of a quiet log's entries are added by.
_ADD_ONE = """
WITH moved AS (
    UPDATE log_state SET size = $1 + 1, root = $2 WHERE size = $1 AND epoch = $3 AND root = $4
    AND {nothing_is_parked}
    AND ($5::text IS NULL OR EXISTS (SELECT FROM entry WHERE event_id = $5)) RETURNING size
), added AS (
    INSERT INTO entry (seq, kind, leaf_hash, leaf, stream_id, kafka_offset, subject, n, organisation, source, event_id,
        event_type, sequence)
    SELECT $1, 'event', $6, $7, $8::smallint, $9::bigint, $10, $11::bigint, $12, $13, $14, $15, $16::bigint FROM moved
)
SELECT size{wake} FROM moved
"""
_ADD_ONE_UNHEARD = _ADD_ONE.format(nothing_is_parked=_NOTHING_IS_PARKED, wake="")
_ADD_ONE_AND_WAKE = _ADD_ONE.format(nothing_is_parked=_NOTHING_IS_PARKED, wake=", pg_notify('audit_entries', '')")
_FOLLOW = "SELECT follow($1)"
_FOLLOW_SOON = "SELECT follow($1), set_config('synchronous_commit', 'off', true)"
_STRIDE = 10_000
"""Entries by which positions and sequences follow in one statement, so that none runs into its time limit."""
_KEEP_DETACHED = "INSERT INTO detached (sha256, data) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING"
_LEAF_HASHES = "SELECT leaf_hash FROM entry WHERE seq >= $1 AND seq < $2 ORDER BY seq"
_TILE_ROOTS = "SELECT root FROM tile WHERE level = $1 AND idx >= $2 ORDER BY idx"


class StaleWriterError(Exception):
    """The log is not as the writer thought: nothing of this batch is kept."""


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
    return Edge.of(size, levels)


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
        recorded={},
        times={row["id"]: row["n"] for row in rows if row["part"] == "t"},
    )
    repeated = {one.envelope.id for one in readings if isinstance(one, Event)} & known.times.keys()
    for row in await connection.fetch(_RECORDED, texts(repeated)) if repeated else ():
        received = open_leaf(row["leaf"], row["detached"]).received()
        known.recorded.setdefault((row["source"], row["event_id"]), []).append(received)
    streams = {(row["name"], row["n"]): int(row["id"]) for row in rows if row["part"] == "p"}
    await add_streams(connection, streams, {(one.received.topic, one.received.partition) for one in readings})
    return Before(known, streams)


async def load_times(connection: Connection, event_ids: Iterable[str]) -> dict[str, int]:
    """How many entries have each of these ids, of those that some have."""
    return {row["event_id"]: row["times"] for row in await connection.fetch(_LOAD_TIMES, texts(event_ids))}


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
        rows = packed(rows_of(start, part, streams))
        start += len(part)
        await statements.send(copy(connection, rows))


async def load_chains(connection: Connection, subjects: Iterable[str]) -> list[Chain]:
    """Those of these subjects that have one. Let positions and sequences follow first."""
    chains: dict[str, Chain] = {}
    for row in await connection.fetch(_CHAINS, texts(subjects), _SOURCES):
        subject = row["subject"]
        chain = chains.setdefault(subject, Chain(Link(subject, row["n"], row["hash"]), {}))
        if row["source"] is not None:
            chain.last[row["source"]] = row["sequence"]
    return list(chains.values())


async def follow(connection: Connection) -> None:
    """Let positions and sequences that were heard follow the entries that were added at once. Within a transaction that
    locked the state: up to there. Outside, nobody waits for the disk: what a power cut undoes follows again."""
    statement = _FOLLOW if connection.is_in_transaction() else _FOLLOW_SOON
    while await connection.fetchval(statement, _STRIDE):
        pass


@dataclass(frozen=True, slots=True)
class Step:
    """One move of the log, from a state to the one after it."""

    before: State
    after: State
    rows: Sequence[Row]
    """Of the entries that are not there already."""
    tiles: Sequence[Tile]

    def columns(self) -> tuple[object, ...]:
        """The parameters of `_ADD`."""
        before, after = self.before, self.after
        return (
            *(after.size, after.root, after.epoch, after.writer, before.size, before.epoch, before.root),
            [tile.level for tile in self.tiles],
            [tile.index for tile in self.tiles],
            [tile.hashes for tile in self.tiles],
            [tile.root for tile in self.tiles],
            *(zip(*self.rows, strict=True) if self.rows else [()] * len(COLUMNS)),
        )


async def keep_detached(connection: Connection, entries: Iterable[Entry]) -> None:
    """Keep what was too long for these entries' leaves."""
    for entry in entries:
        if entry.leaf.detached is not None:
            await connection.execute(_KEEP_DETACHED, entry.leaf.detached_sha256, entry.leaf.detached)


async def add(connection: Connection, step: Step) -> None:
    """Move the log, and wake whoever waits for entries. Raises `StaleWriterError` when the log is not in the state
    before the step."""
    _done(step, await connection.fetchrow(_ADD_ANY, *step.columns()))


async def add_usual(connection: Connection, step: Step, causes: Iterable[str]) -> None:
    """The same, where nothing is parked and these causes were recorded before the step; `StaleWriterError` when that is
    not so, too."""
    _done(step, await connection.fetchrow(_ADD_USUAL, *step.columns(), texts(causes)))


async def add_one(connection: Connection, step: Step, cause: str | None, *, wake: bool) -> None:
    """The same for a step of one entry that fills no tile. `wake`: whoever waits in another process."""
    statement = _ADD_ONE_AND_WAKE if wake else _ADD_ONE_UNHEARD
    before, (row,) = step.before, step.rows
    seq, _, leaf_hash, leaf, _, stream_id, offset, subject, n, organisation, source, event_id, said, _, sequence = row
    moved = (seq, step.after.root, before.epoch, before.root)
    place = (stream_id, offset, subject, n)
    told = (organisation, source, event_id, said, sequence)
    _done(step, await connection.fetchrow(statement, *moved, cause, leaf_hash, leaf, *place, *told))


def _done(step: Step, row: asyncpg.Record | None) -> None:
    if row is None:
        raise _stale(step.before)


def _stale(before: State) -> StaleWriterError:
    return StaleWriterError(f"the log is not at size {before.size}, epoch {before.epoch} any more, or has to be asked")


async def lock_usual(connection: Connection, before: State, causes: Iterable[str]) -> None:
    """Lock the log until the transaction ends, for what `add` will add. Raises `StaleWriterError` when the log is in
    another state, something is parked, or one of these causes is not recorded."""
    if await connection.fetchrow(_LOCK_USUAL, before.size, before.epoch, before.root, texts(causes)) is None:
        raise _stale(before)
