"""The tables of the timeline: what the writer reads and adds within its unit."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.audit.domain.chain import Batch, Entry, EventKey, Known, Stream
from services.audit.domain.leaf import Link
from services.audit.tlog import Edge, Tile
from services.audit.tlog.tiles import TILE_WIDTH
from shared.events import Event, Reading

type Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

COPY_FROM = 60
"""From so many rows on, COPY is faster than one statement with arrays."""

_COLUMNS = (
    "seq", "kind", "leaf_hash", "leaf", "detached", "stream_id", "kafka_offset", "subject", "n", "organisation",
    "source", "event_id", "event_type", "body_hash",
)  # fmt: skip
_TYPES = (
    "bigint", "text", "bytea", "bytea", "bytea", "smallint", "bigint", "text", "bigint", "text", "text", "text", "text",
    "bytea",
)  # fmt: skip
_INSERT = (
    f"INSERT INTO entry ({', '.join(_COLUMNS)}) SELECT * FROM unnest("  # noqa: S608 - names of our own columns
    + ", ".join(f"${at}::{kind}[]" for at, kind in enumerate(_TYPES, 1))
    + ")"
)

_LOCK = "SELECT size, root, epoch, writer FROM log_state FOR UPDATE"
_MOVE = """
UPDATE log_state SET size = $1, root = $2, epoch = $3, writer = $4 WHERE size = $5 AND epoch = $6
"""
_STREAMS = "SELECT id, topic, partition, next_offset FROM stream"
_MOVE_STREAMS = """
INSERT INTO stream (topic, partition, next_offset)
SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[])
ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
RETURNING id, topic, partition
"""
_HEADS = "SELECT subject, n, hash FROM head WHERE subject = ANY($1)"
_RECORDED = """
SELECT source, event_id, body_hash FROM entry WHERE event_id = ANY($1) AND subject IS NOT NULL ORDER BY seq
"""
_MOVE_HEADS = """
INSERT INTO head (subject, organisation, drill, n, hash, last_seq, seal_seq)
SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[])
ON CONFLICT (subject) DO UPDATE SET n = excluded.n, hash = excluded.hash, last_seq = excluded.last_seq,
    seal_seq = coalesce(excluded.seal_seq, head.seal_seq)
"""
_KEEP_TILES = """
INSERT INTO tile (level, idx, hashes, root)
SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bytea[])
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


async def move_state(connection: Connection, before: State, after: State) -> None:
    """Raises `StaleWriterError` when `before` is not what is there."""
    done = await connection.execute(_MOVE, after.size, after.root, after.epoch, after.writer, before.size, before.epoch)
    if done != "UPDATE 1":
        raise StaleWriterError(f"the log is not at size {before.size}, epoch {before.epoch} any more")


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


async def load_known(connection: Connection, readings: Sequence[Reading]) -> Known:
    """What the log holds that these records touch."""
    envelopes = [reading.envelope for reading in readings if isinstance(reading, Event)]
    looked_for = {envelope.id for envelope in envelopes}
    looked_for |= {envelope.causationid for envelope in envelopes if envelope.causationid is not None}
    heads = await connection.fetch(_HEADS, list({envelope.subject for envelope in envelopes}))
    recorded = await connection.fetch(_RECORDED, list(looked_for))
    streams = await connection.fetch(_STREAMS)
    return Known(
        heads={row["subject"]: Link(row["subject"], row["n"], row["hash"]) for row in heads},
        next_offsets={(row["topic"], row["partition"]): row["next_offset"] for row in streams},
        recorded={_event_key(row): row["body_hash"] for row in recorded},
    )


def _event_key(row: asyncpg.Record) -> EventKey:
    return row["source"], row["event_id"]


async def add(connection: Connection, start: int, batch: Batch, tiles: Sequence[Tile], known: Known) -> None:
    """Add the batch, whose first entry is `start`. `known` is as it stands after the batch."""
    ids = await _move_streams(connection, batch, known)
    for entry in batch.entries:
        if entry.leaf.detached is not None:
            await connection.execute(_KEEP_DETACHED, entry.leaf.detached_sha256, entry.leaf.detached)
    rows = [_row(start + at, entry, ids) for at, entry in enumerate(batch.entries)]
    if len(rows) < COPY_FROM:
        await connection.execute(_INSERT, *map(list, zip(*rows, strict=True)))
    else:
        await connection.copy_records_to_table("entry", records=rows, columns=_COLUMNS)
    if tiles:
        await connection.execute(
            _KEEP_TILES,
            [tile.level for tile in tiles],
            [tile.index for tile in tiles],
            [tile.hashes for tile in tiles],
            [tile.root for tile in tiles],
        )
    await _move_heads(connection, start, batch, known)


async def _move_streams(connection: Connection, batch: Batch, known: Known) -> dict[Stream, int]:
    moved = sorted({entry.stream for entry in batch.entries if entry.stream is not None})
    rows = await connection.fetch(
        _MOVE_STREAMS,
        [stream[0] for stream in moved],
        [stream[1] for stream in moved],
        [known.next_offsets[stream] for stream in moved],
    )
    return {(row["topic"], row["partition"]): row["id"] for row in rows}


def _row(seq: int, entry: Entry, ids: dict[Stream, int]) -> tuple[object, ...]:
    envelope, link = entry.envelope, entry.link
    return (
        seq,
        entry.leaf.kind.value,
        entry.leaf.hash,
        entry.leaf.data,
        entry.leaf.detached_sha256,
        ids[entry.stream] if entry.stream is not None else None,
        entry.offset,
        link.subject if link else None,
        link.n if link else None,
        envelope.organisation if envelope else None,
        envelope.source if envelope else None,
        envelope.id if envelope else None,
        envelope.type if envelope else None,
        entry.body,
    )


async def _move_heads(connection: Connection, start: int, batch: Batch, known: Known) -> None:
    last: dict[str, tuple[str, bool, int, int | None]] = {}
    seals = {seal.at: seal for seal in batch.seals}
    for at, entry in enumerate(batch.entries):
        if entry.link is None:
            continue
        seal = seals.get(at)
        envelope = seal.closed if seal else entry.envelope
        if envelope is None:
            raise AssertionError("an entry in a chain is an event or a seal")
        before = last.get(entry.link.subject)
        sealed = start + at if seal else before[3] if before else None
        last[entry.link.subject] = (envelope.organisation, envelope.drill, start + at, sealed)
    if not last:
        return
    links = [known.heads[subject] for subject in last]
    await connection.execute(
        _MOVE_HEADS,
        list(last),
        [organisation for organisation, _, _, _ in last.values()],
        [drill for _, drill, _, _ in last.values()],
        [link.n for link in links],
        [link.prev for link in links],
        [seq for _, _, seq, _ in last.values()],
        [seal for _, _, _, seal in last.values()],
    )
