"""What is read of the log from outside: never more than the newest checkpoint covers."""

from dataclasses import dataclass

import asyncpg

from services.audit.tlog import ProofFile, Proofs, SignedNote, TilePath, pack_bundle
from services.audit.tlog.proof import Range
from services.audit.tlog.tiles import TILE_WIDTH

_NEWEST = "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1"
_CHECKPOINT = "SELECT size, note FROM checkpoint WHERE size = $1"
_TILE = "SELECT hashes FROM tile WHERE level = $1 AND idx = $2"
_LEAF_HASHES = "SELECT leaf_hash FROM entry WHERE seq >= $1 AND seq < $2 ORDER BY seq"
_TILE_ROOTS = "SELECT root FROM tile WHERE level = $1 AND idx >= $2 AND idx < $3 ORDER BY idx"
_LEAVES = "SELECT leaf FROM entry WHERE seq >= $1 AND seq < $2 ORDER BY seq"
_ENTRY = """
SELECT entry.seq, entry.leaf, coalesce(entry.organisation, head.organisation) AS organisation
FROM entry LEFT JOIN head ON head.subject = entry.subject WHERE entry.seq = $1
"""
_DETACHED = "SELECT data FROM detached WHERE sha256 = $1"
_HEAD = "SELECT subject, organisation, drill, n, hash, last_seq, seal_seq FROM head WHERE subject = $1"
_CHAIN = """
SELECT entry.seq, entry.n, entry.kind, entry.leaf_hash, entry.leaf, detached.data AS detached
FROM entry LEFT JOIN detached ON detached.sha256 = entry.detached
WHERE entry.subject = $1 AND entry.seq < $2 ORDER BY entry.n
"""
_PLACES = "SELECT event_id, seq FROM entry WHERE event_id = ANY($1) AND organisation = $2 ORDER BY seq DESC"


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that was signed and stored."""

    size: int
    note: bytes


class LogReader:
    """Queries for the HTTP faces."""

    def __init__(self, pool: asyncpg.Pool) -> None:
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
        if published is None or path.end > published.size:
            return None
        if path.level is None:
            return pack_bundle(row["leaf"] for row in await self._rows(_LEAVES, path))
        if path.width == TILE_WIDTH:
            hashes: bytes = await self._pool.fetchval(_TILE, path.level, path.index)
            return hashes
        if path.level == 0:
            return b"".join([row["leaf_hash"] for row in await self._rows(_LEAF_HASHES, path)])
        first = path.index * TILE_WIDTH
        rows = await self._pool.fetch(_TILE_ROOTS, path.level - 1, first, first + path.width)
        return b"".join([row["root"] for row in rows])

    async def _rows(self, query: str, path: TilePath) -> list[asyncpg.Record]:
        first = path.index * TILE_WIDTH
        return list(await self._pool.fetch(query, first, first + path.width))

    async def hashes(self, size: int, ranges: list[Range]) -> list[bytes]:
        """The lines of a proof in the tree of this size."""
        proofs = Proofs(size)
        tiles = {path: await self.tile(path) or b"" for path in proofs.tiles_for(ranges)}
        return proofs.hashes(ranges, tiles)

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

    async def head(self, subject: str) -> asyncpg.Record | None:
        """Where the chain of a subject stands."""
        return await self._pool.fetchrow(_HEAD, subject)

    async def chain(self, subject: str, size: int) -> list[asyncpg.Record]:
        """The entries of a subject in the log of this size, in order."""
        return list(await self._pool.fetch(_CHAIN, subject, size))

    async def places(self, event_ids: list[str], organisation: str) -> dict[str, int]:
        """Where these events of an organisation stand in the log, by id."""
        return {row["event_id"]: row["seq"] for row in await self._pool.fetch(_PLACES, event_ids, organisation)}
