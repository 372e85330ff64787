"""Takes entries that a restored database lacks from a copy of the log, byte for byte.

The copy is a folder in the paths of c2sp.org/tlog-tiles with its checkpoint, such as `lostphone verify --save` makes.
Nothing is written unless all of the copy gives the root that the log's keys signed, and the database is its beginning.
"""

from collections.abc import Sequence
from pathlib import Path

import asyncpg

from services.audit import store
from services.audit.domain.chain import Entry
from services.audit.domain.leaf import Kind, Leaf, Link, Opened, open_header, open_leaf
from services.audit.rows import rows_of
from services.audit.tlog import (
    Checkpoint,
    Edge,
    NoteError,
    SignedNote,
    TilePath,
    VerifierKey,
    leaf_hashes,
    unpack_bundle,
)
from services.audit.tlog.tiles import TILE_WIDTH
from shared.events import Envelope, Event, KeyRing, read

_WRITER = "recovery"


class RecoveryError(Exception):
    """The copy cannot be used; the message says why. Nothing more was written."""


class Recovery:
    """One copy, and what it takes to read it."""

    def __init__(self, copy: Path, keys: Sequence[VerifierKey], keyring: KeyRing) -> None:
        """`keys` of the log, past ones too. Raises `RecoveryError` when none of them signed the copy's checkpoint."""
        self._copy = copy
        self._keyring = keyring
        try:
            note = SignedNote.parse((copy / "checkpoint").read_bytes())
            self._checkpoint, _ = Checkpoint.signed(note, keys)
        except (OSError, NoteError, ValueError) as error:
            raise RecoveryError(f"{copy} has no checkpoint of this log: {error}") from error
        if any(key.name != self._checkpoint.origin for key in keys):
            raise RecoveryError(f"the copy is of {self._checkpoint.origin}")

    async def run(self, pool: asyncpg.Pool) -> int:
        """Add what is missing, bundle by bundle; how many entries. Doing it again goes on where it ended."""
        async with pool.acquire() as connection, connection.transaction():
            state = await store.lock_state(connection)
        self._compare(state)
        added = 0
        for index in range(state.size // TILE_WIDTH, -(-self._checkpoint.size // TILE_WIDTH)):
            async with pool.acquire() as connection, connection.transaction():
                added += await self._add(connection, index)
        return added

    def _compare(self, state: store.State) -> None:
        edge, size = Edge(), self._checkpoint.size
        if state.size > size:
            raise RecoveryError(f"the database has {state.size} entries already, and the copy {size}")
        for index in range(-(-size // TILE_WIDTH)):
            hashes = leaf_hashes(self._leaves(index))
            until = state.size - edge.size
            if 0 <= until <= len(hashes):
                beginning, _ = edge.append(hashes[:until])
                if beginning.root() != state.root:
                    raise RecoveryError("what the database holds is not the beginning of the copy: another history")
            edge, _ = edge.append(hashes)
        if edge.root() != self._checkpoint.root:
            raise RecoveryError("the entries of the copy do not give the root that was signed")

    def _leaves(self, index: int) -> list[bytes]:
        width = min(TILE_WIDTH, self._checkpoint.size - index * TILE_WIDTH)
        try:
            leaves = unpack_bundle((self._copy / str(TilePath(None, index, width))).read_bytes())
        except (OSError, ValueError) as error:
            raise RecoveryError(f"bundle {index} of the copy cannot be read: {error}") from error
        if len(leaves) != width:
            raise RecoveryError(f"bundle {index} of the copy has {len(leaves)} entries, not {width}")
        return leaves

    async def _add(self, connection: store.Connection, index: int) -> int:
        state = await store.lock_state(connection)
        leaves = self._leaves(index)[state.size - index * TILE_WIDTH :]
        if not leaves:
            return 0
        entries = list(map(self._entry, leaves))
        edge, tiles = (await store.load_edge(connection, state.size)).append([entry.leaf.hash for entry in entries])
        after = store.State(edge.size, edge.root(), state.epoch + 1, _WRITER)
        before = await store.load_before(connection, ())
        times = await store.load_times(connection, [entry.envelope.id for entry in entries if entry.envelope])
        for entry in entries:
            if entry.envelope is not None:
                entry.repeat = times.get(entry.envelope.id, 0)
                times[entry.envelope.id] = entry.repeat + 1
        wanted = {entry.stream for entry in entries if entry.stream is not None}
        await store.add_streams(connection, before.streams, wanted)
        rows = rows_of(state.size, entries, before.streams)
        await store.keep_detached(connection, entries)
        await store.add(connection, store.Step(state, after, rows, tiles))
        return len(leaves)

    def _entry(self, data: bytes) -> Entry:
        header = open_header(data)
        detached = self._detached(header["sha256"]) if "sha256" in header else None
        opened = open_leaf(data, detached)
        stream = (header["s"], header["p"]) if "s" in header else None
        link = None
        if "i" in header:
            link = Link(header["i"], header["n"], bytes.fromhex(header["prev"]) if header["prev"] else None)
        return Entry(Leaf(opened.kind, data, detached), stream, header.get("o"), link, self._event(opened))

    def _event(self, opened: Opened) -> Envelope | None:
        if opened.kind not in (Kind.EVENT, Kind.DUPLICATE):
            return None
        received = opened.received()
        reading = read(received, self._keyring)
        if not isinstance(reading, Event):
            raise RecoveryError(
                f"the event at offset {received.offset} of partition {received.partition} does not verify: "
                f"{reading.reason}; the public keys of all services, past ones too, are needed"
            )
        return reading.envelope

    def _detached(self, sha256: str) -> bytes:
        try:
            return (self._copy / "detached" / sha256).read_bytes()
        except OSError as error:
            raise RecoveryError(f"the copy lacks the detached part {sha256}: {error.strerror}") from error
