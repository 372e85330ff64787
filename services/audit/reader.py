"""What is read of the log from outside: never more than the newest checkpoint covers."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import asyncpg

from services.audit.store import NEXT_OFFSET, Connection
from services.audit.tlog import Checkpoint, ProofFile, Proofs, SignedNote, TilePath, pack_bundle, verify_consistency
from services.audit.tlog.proof import Range, subtrees
from services.audit.tlog.tiles import HASH_BYTES, TILE_WIDTH
from services.audit.tlog.tree import EMPTY_ROOT, fold
from shared.messaging import DependencyUnavailableError

_NEWEST = "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1"
_CHECKPOINT = "SELECT size, note FROM checkpoint WHERE size = $1"
# All tiles of a proof at once: full ones as they lie, a partial one made of what it would hold.
_TILES = """
SELECT level, idx, width, CASE
    WHEN width = 256 THEN (SELECT hashes FROM tile WHERE (tile.level, tile.idx) = (wanted.level, wanted.idx))
    WHEN level = 0 THEN (SELECT string_agg(leaf_hash, '' ORDER BY seq) FROM entry
        WHERE seq >= wanted.idx * 256 AND seq < wanted.idx * 256 + width)
    ELSE (SELECT string_agg(root, '' ORDER BY below.idx) FROM tile AS below
        WHERE below.level = wanted.level - 1 AND below.idx >= wanted.idx * 256 AND below.idx < wanted.idx * 256 + width)
    END AS hashes
FROM unnest($1::smallint[], $2::bigint[], $3::smallint[]) AS wanted (level, idx, width)
"""
_LEAVES = "SELECT leaf FROM entry WHERE seq >= $1 AND seq < $2 ORDER BY seq"
_ENTRY = """
SELECT entry.seq, entry.leaf, coalesce(entry.organisation, first.organisation) AS organisation
FROM entry LEFT JOIN entry AS first ON first.subject = entry.subject AND first.n = 0 WHERE entry.seq = $1
"""
_DETACHED = "SELECT data FROM detached WHERE sha256 = $1"
_ORGANISATION = "SELECT organisation FROM entry WHERE subject = $1 AND n = 0"
_CHAIN = """
SELECT entry.seq, entry.n, entry.kind, entry.leaf_hash, entry.leaf, detached.data AS detached
FROM entry LEFT JOIN detached ON detached.sha256 = entry.detached
WHERE entry.subject = $1 AND entry.seq < $2 ORDER BY entry.n
"""
_PLACES = """
SELECT event_id, seq FROM entry
WHERE event_id = ANY($1) AND organisation = $2 AND subject IS NOT NULL ORDER BY seq DESC
"""

_OWN = "SELECT seq, leaf FROM entry WHERE kind = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq"
_LEAF = "SELECT leaf FROM entry WHERE seq = $1"
_TIMESTAMPS = """
SELECT stamp.size, stamp.response, entry.seq, entry.leaf
FROM timestamp_response AS stamp JOIN entry ON entry.seq = stamp.seq
WHERE stamp.seq < $1 ORDER BY stamp.size DESC LIMIT 10
"""
_ERASURES = "SELECT seq, leaf FROM entry WHERE kind = 'erasure' AND seq < $1 ORDER BY seq"
_RECORD = """
SELECT seq FROM entry JOIN stream ON stream.id = stream_id
WHERE topic = $1 AND partition = $2 AND kafka_offset = $3 AND kind <> 'gap'
"""
_STREAMS = f"SELECT topic, partition, ({NEXT_OFFSET}) AS next_offset FROM stream ORDER BY topic, partition"  # noqa: S608


class DamagedError(DependencyUnavailableError):
    """The tables lack what the log is made of."""


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that was signed and stored."""

    size: int
    note: bytes


class LogReader:
    """Queries for the HTTP faces, on a pool or on one connection."""

    def __init__(self, pool: asyncpg.Pool | Connection) -> None:
        self._pool = pool

    async def newest(self) -> Published | None:
        """The newest checkpoint; None before the first one is signed."""
        row = await self._pool.fetchrow(_NEWEST)
        return Published(row["size"], row["note"]) if row else None

    async def checkpoint(self, size: int) -> Published | None:
        """The checkpoint of exactly this size, if one was signed."""
        row = await self._pool.fetchrow(_CHECKPOINT, size)
        return Published(row["size"], row["note"]) if row else None

    async def tile(self, path: TilePath) -> bytes | None:
        """The bytes at this path; None when no checkpoint covers it."""
        published = await self.newest()
        return None if published is None or path.end > published.size else await self._stored(path)

    async def _stored(self, path: TilePath) -> bytes:
        if path.level is not None:
            return (await self._tiles({path}))[path]
        first = path.index * TILE_WIDTH
        return pack_bundle(row["leaf"] for row in await self._pool.fetch(_LEAVES, first, first + path.width))

    async def _tiles(self, paths: AbstractSet[TilePath]) -> dict[TilePath, bytes]:
        columns = zip(*((path.level, path.index, path.width) for path in paths), strict=True)
        rows = await self._pool.fetch(_TILES, *columns) if paths else []
        return {TilePath(row["level"], row["idx"], row["width"]): row["hashes"] for row in rows}

    async def hashes(self, size: int, ranges: list[Range]) -> list[bytes]:
        """The lines of a proof in the tree of this size, which is committed, whether it was published or not. Raises
        `DamagedError`."""
        proofs = Proofs(size)
        tiles = await self._tiles(proofs.tiles_for(ranges))
        for path, hashes in tiles.items():
            if len(hashes or b"") != path.width * HASH_BYTES:
                raise DamagedError(f"the log: its tables lack hashes of {path} (docs/timeline.md, recovery)")
        return proofs.hashes(ranges, tiles)

    async def root(self, size: int) -> bytes:
        """The root over the first `size` entries, which are committed."""
        return fold(await self.hashes(size, subtrees(size))) if size else EMPTY_ROOT

    async def continues(self, size: int, earlier: Checkpoint) -> bool:
        """Whether the first `size` entries, which are committed, begin with those of a checkpoint that has no more."""
        if not earlier.size:
            return True
        proof = await self.hashes(size, Proofs(size).consistency(earlier.size))
        return verify_consistency(earlier.size, size, earlier.root, await self.root(size), proof)

    async def proof(self, seq: int, published: Published) -> ProofFile:
        """The proof of one entry. Raises `ValueError` when the checkpoint does not cover it."""
        hashes = await self.hashes(published.size, Proofs(published.size).inclusion(seq))
        return ProofFile(seq, tuple(hashes), SignedNote.parse(published.note))

    async def entry(self, seq: int) -> asyncpg.Record | None:
        """`seq`, `leaf` and `organisation`, when the newest checkpoint covers the entry."""
        published = await self.newest()
        return await self._pool.fetchrow(_ENTRY, seq) if published is not None and seq < published.size else None

    async def detached(self, sha256: bytes) -> bytes | None:
        """What was too long for its leaf."""
        data: bytes | None = await self._pool.fetchval(_DETACHED, sha256)
        return data

    async def organisation(self, subject: str) -> str | None:
        """Whose the chain of a subject is; None when there is no such chain."""
        organisation: str | None = await self._pool.fetchval(_ORGANISATION, subject)
        return organisation

    async def chain(self, subject: str, size: int) -> list[asyncpg.Record]:
        """The entries of a subject in the log of this size, in order."""
        return list(await self._pool.fetch(_CHAIN, subject, size))

    async def places(self, event_ids: list[str], organisation: str) -> dict[str, int]:
        """Where these events of an organisation stand in the log, by id."""
        return {row["event_id"]: row["seq"] for row in await self._pool.fetch(_PLACES, event_ids, organisation)}

    async def own(self, kind: str, first: int, last: int) -> list[asyncpg.Record]:
        """`seq` and `leaf` of the entries of a kind that the log writes itself, or of gaps, in these places."""
        return list(await self._pool.fetch(_OWN, kind, first, last))

    async def record(self, topic: str, partition: int, offset: int) -> int | None:
        """Where the record at this place of Kafka stands in the log, published or not."""
        seq: int | None = await self._pool.fetchval(_RECORD, topic, partition, offset)
        return seq

    async def streams(self) -> list[asyncpg.Record]:
        """`topic`, `partition` and `next_offset` of everything that is recorded."""
        return list(await self._pool.fetch(_STREAMS))

    async def leaf(self, seq: int) -> bytes:
        """The bytes of an entry that is known to be there."""
        data: bytes = await self._pool.fetchval(_LEAF, seq)
        return data

    async def timestamps(self, size: int) -> list[asyncpg.Record]:
        """The newest timestamps whose anchors are in the log of this size: `size`, `response`, and the anchor."""
        return list(await self._pool.fetch(_TIMESTAMPS, size))

    async def erasures(self, size: int) -> list[asyncpg.Record]:
        """`seq` and `leaf` of every erasure."""
        return list(await self._pool.fetch(_ERASURES, size))
