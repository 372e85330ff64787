"""Writes what the log says about itself: indexes, exports, anchors, changes of keys, which log it goes on from."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.domain.leaf import Kind, Leaf, LeafBuilder
from services.audit.domain.own import (
    IndexRow,
    anchor_facts,
    export_facts,
    index_facts,
    key_statement,
    restore_facts,
)
from services.audit.guard import Guard
from services.audit.index import Index, IndexProof
from services.audit.timeline import Timeline
from services.audit.tlog import Checkpoint, LogKey
from shared.messaging.unit import Units

_MADE = "INSERT INTO index_made (seq, size, made_at) VALUES ($1, $1, $2)"
_NEWEST_INDEX = "SELECT seq, made_at FROM index_made ORDER BY seq DESC LIMIT 1"
_HAS_EVENTS = "SELECT EXISTS (SELECT FROM entry WHERE seq > $1 AND subject IS NOT NULL)"
_FIRST = "SELECT leaf FROM entry WHERE seq = 0"
_KEEP_RESPONSE = """
INSERT INTO timestamp_response (size, response, seq, fetched_at) VALUES ($1, $2, $3, $4)
"""


@dataclass(frozen=True, slots=True)
class Export:
    """What the log says about a bundle that is handed out."""

    incident: str
    organisation: str
    size: int
    """The log's size as of which the index proves the incident complete; its index stands there."""
    seq: int
    """Where the export itself stands."""
    row: IndexRow | None
    proofs: tuple[IndexProof, ...]


class BegunError(Exception):
    """The log has entries already: what it goes on from is said first or never."""


class Clerk:
    """Adds such entries through the writer, each in a transaction of its own."""

    def __init__(self, units: Units, timeline: Timeline, builder: LeafBuilder) -> None:
        self._units = units
        self._timeline = timeline
        self._builder = builder

    async def index(self, *, unless_younger_than: timedelta | None = None) -> int | None:
        """Log an index of the chains; where it stands. None when one is young enough, or nothing came since."""
        async with self._units.begin() as unit:
            newest = await unit.connection.fetchrow(_NEWEST_INDEX)
            if newest is not None and unless_younger_than is not None:
                young = unit.now - newest["made_at"] < unless_younger_than
                if young or not await unit.connection.fetchval(_HAS_EVENTS, newest["seq"]):
                    return None

            async def make(size: int) -> list[Leaf]:
                return [self._index(size, await Index.load(unit.connection))]

            seq = await self._timeline.add(unit, make)
            await unit.connection.execute(_MADE, seq, unit.now)
        return seq

    async def export(self, incident: str, organisation: str, disclosed: Sequence[str], by: str) -> Export:
        """Log an index, and behind it that this incident's evidence is handed out."""
        made: list[Index] = []
        async with self._units.begin() as unit:

            async def make(size: int) -> list[Leaf]:
                index = await Index.load(unit.connection)
                made.append(index)
                facts = export_facts(
                    index.find(incident), incident=incident, organisation=organisation, index=size, by=by
                ) | {"disclosed": sorted(disclosed)}
                return [self._index(size, index), self._builder.own(Kind.EXPORT, incident, size + 1, facts)]

            size = await self._timeline.add(unit, make)
            await unit.connection.execute(_MADE, size, unit.now)
        index = made[0]
        row = index.find(incident)
        return Export(incident, organisation, size, size + 1, row, tuple(index.prove(incident)))

    async def anchor(self, size: int, note: bytes, response: bytes) -> int:
        """Log the digest of an authority's timestamp over a checkpoint, and keep the response; where it stands."""
        async with self._units.begin() as unit:

            async def make(_: int) -> list[Leaf]:
                digests = [hashlib.sha256(data).hexdigest() for data in (note, response)]
                return [
                    self._builder.own(
                        Kind.ANCHOR, "rfc3161", size, anchor_facts(size, digests[0], "rfc3161", digests[1])
                    )
                ]

            seq = await self._timeline.add(unit, make)
            await unit.connection.execute(_KEEP_RESPONSE, size, response, seq, unit.now)
        return seq

    async def keys(self, old: LogKey, new: Sequence[LogKey]) -> int:
        """Log that the log goes on with these keys, signed by the old one (Ed25519); where it stands."""
        if not isinstance(old.key, Ed25519PrivateKey):
            raise ValueError("the old key signs with Ed25519")  # noqa: TRY004 - what the caller was given is at fault
        vkeys = [str(key.verifier) for key in new]
        signature = base64.b64encode(old.key.sign(key_statement(old.origin, vkeys))).decode()
        facts = {"keys": vkeys, "signed": str(old.verifier), "signature": signature}
        async with self._units.begin() as unit:

            async def make(size: int) -> list[Leaf]:
                return [self._builder.own(Kind.KEY, "", size, facts)]

            return await self._timeline.add(unit, make)

    async def begin(self, closed: Checkpoint, note: bytes, guard: Guard) -> None:
        """Log, as the first entry, at which checkpoint the log was closed that this one goes on from; `note` is all of
        it. What was interrupted is ended. Raises `BegunError`, and what `Guard.require_newest` raises."""
        if closed.origin == guard.origin:
            raise BegunError(f"{closed.origin} is closed: a new log needs an origin of its own")
        guard.require_newest(closed)
        facts = restore_facts(closed.origin, closed.size, closed.root, note)
        leaf = self._builder.own(Kind.RESTORE, closed.origin, closed.size, facts)

        async def make(size: int) -> list[Leaf]:
            if size:
                raise BegunError(f"the log has {size} entries already")
            return [leaf]

        async with self._units.begin() as unit:
            if await unit.connection.fetchval(_FIRST) != leaf.data:
                await self._timeline.add(unit, make)
        # Only now: until this note is gone, a log that does not say from which it goes on is not written to.
        guard.set_aside(closed)

    def _index(self, size: int, index: Index) -> Leaf:
        return self._builder.own(Kind.INDEX, "", size, index_facts(size, len(index.rows), index.root))
