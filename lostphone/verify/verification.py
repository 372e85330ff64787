"""The verification of a whole log: from its signed checkpoint down to every byte of every entry."""

import base64
from collections.abc import Callable, Sequence

from lostphone.verify.entries import Entries
from lostphone.verify.report import Offence, Report
from lostphone.verify.source import Source, UnreadableError
from services.audit.tlog import (
    Checkpoint,
    CheckpointError,
    Edge,
    NoteError,
    SignedNote,
    TilePath,
    VerifierKey,
    leaf_hash,
    unpack_bundle,
)
from services.audit.tlog.tiles import HASH_BYTES, TILE_WIDTH
from shared.events import KeyRing

_MAX_SIZE = 1 << 40


def run(
    source: Source,
    keys: Sequence[VerifierKey],
    *,
    earlier: Sequence[bytes] = (),
    keyring: KeyRing | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Report:
    """Verify the log in `source` by the reader's `keys`.

    `earlier`: checkpoints that the reader kept from before; the log must begin with each of them.
    `keyring`: the public keys of the services; with them the signature of every event is checked as well.
    Raises nothing for what the log holds: what could not be read is an outcome of its own.
    """
    report = Report()
    checkpoint = _checkpoint(report, "signature", source, keys)
    if checkpoint is None:
        return report
    report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root.hex()
    _Walk(report, source, checkpoint, keyring, progress).go(_earlier(report, earlier, keys, checkpoint))
    return report


def _checkpoint(report: Report, name: str, source: Source, keys: Sequence[VerifierKey]) -> Checkpoint | None:
    try:
        data = source.read("checkpoint")
    except UnreadableError as error:
        report.add(name, "", undecided=str(error))
        return None
    try:
        checkpoint, signed = _opened(data, keys)
    except (NoteError, CheckpointError) as error:
        report.offences.append(Offence(name, str(error)))
        checkpoint = None
    else:
        report.keys = [str(key)[:120] for key in signed]
    unchecked = [key.name for key in keys if checkpoint is not None and key not in signed]
    missing = f"; not signed by {len(unchecked)} of the keys given" if unchecked else ""
    report.add(name, f"signed by {len(report.keys)} of the {len(keys)} keys given{missing}")
    return checkpoint


def _opened(data: bytes, keys: Sequence[VerifierKey]) -> tuple[Checkpoint, list[VerifierKey]]:
    note = SignedNote.parse(data)
    signed = note.verified_by(keys)
    checkpoint = Checkpoint.parse(note.text)
    if any(key.name != checkpoint.origin for key in keys):
        raise CheckpointError(f"the checkpoint is of {checkpoint.origin}, not of the log that the keys are of")
    if checkpoint.size > _MAX_SIZE:
        raise CheckpointError("the log says that it is larger than any log")
    return checkpoint, [key for key in keys if key in signed]


def _earlier(
    report: Report, earlier: Sequence[bytes], keys: Sequence[VerifierKey], newest: Checkpoint
) -> list[Checkpoint]:
    """The earlier checkpoints to compare with, smallest first."""
    found: list[Checkpoint] = []
    for data in earlier:
        try:
            checkpoint, _ = _opened(data, keys)
        except (NoteError, CheckpointError) as error:
            report.offences.append(Offence("consistency", f"an earlier checkpoint does not count: {error}"))
            continue
        if checkpoint.size > newest.size:
            reason = f"the log had {checkpoint.size} entries before, and has {newest.size} now"
            report.offences.append(Offence("consistency", reason, newest.size))
            continue
        found.append(checkpoint)
    return sorted(found, key=lambda checkpoint: checkpoint.size)


class _Walk:
    """One pass over all entries."""

    def __init__(
        self,
        report: Report,
        source: Source,
        checkpoint: Checkpoint,
        keyring: KeyRing | None,
        progress: Callable[[int, int], None],
    ) -> None:
        self._report = report
        self._source = source
        self._checkpoint = checkpoint
        self._progress = progress
        self._edge = Edge()
        self._entries = Entries(keyring, source.read)
        self._compared = 0

    def go(self, earlier: list[Checkpoint]) -> None:
        unreadable: str | None = None
        try:
            self._compare_earlier(earlier)
            while self._edge.size < self._checkpoint.size:
                self._bundle(earlier)
                self._progress(self._edge.size, self._checkpoint.size)
            self._compare_edge()
        except UnreadableError as error:
            unreadable = f"not all of the log could be read: {error}"
        else:
            self._entries.finish()
        self._conclude(unreadable)

    def _bundle(self, earlier: list[Checkpoint]) -> None:
        start = self._edge.size
        width = min(TILE_WIDTH, self._checkpoint.size - start)
        index = start // TILE_WIDTH
        served = self._source.read(str(TilePath(0, index, width)))
        try:
            leaves = unpack_bundle(self._source.read(str(TilePath(None, index, width))))
        except ValueError as error:
            self._offend("leaves", f"bundle {index}: {error}", start)
            raise UnreadableError(f"bundle {index} is damaged") from error
        if len(leaves) != width or len(served) != width * HASH_BYTES:
            self._offend("leaves", f"bundle or tile {index} does not have {width} entries", start)
            raise UnreadableError(f"bundle or tile {index} is damaged")
        hashes = [leaf_hash(leaf) for leaf in leaves]
        for at, (leaf, hashed) in enumerate(zip(leaves, hashes, strict=True)):
            if hashed != served[at * HASH_BYTES : (at + 1) * HASH_BYTES]:
                self._offend("leaves", f"entry {start + at}: its bytes do not have the hash in its tile", start + at)
            self._entries.take(start + at, leaf, hashed)
        self._grow(hashes, earlier)

    def _grow(self, hashes: list[bytes], earlier: list[Checkpoint]) -> None:
        taken = 0
        for checkpoint in [one for one in earlier if self._edge.size < one.size <= self._edge.size + len(hashes)]:
            until = checkpoint.size - self._edge.size + taken
            self._append(hashes[taken:until])
            taken = until
            self._compare_earlier([checkpoint])
        self._append(hashes[taken:])

    def _append(self, hashes: list[bytes]) -> None:
        self._edge, tiles = self._edge.append(hashes)
        for tile in tiles:
            if tile.level and self._source.read(str(TilePath(tile.level, tile.index))) != tile.hashes:
                path = TilePath(tile.level, tile.index)
                self._offend("root", f"{path} is not what its entries give", None)

    def _compare_edge(self) -> None:
        for level, hashes in enumerate(self._edge.open_tiles):
            path = TilePath(level, self._edge.size >> (8 * (level + 1)), len(hashes))
            if level and hashes and self._source.read(str(path)) != b"".join(hashes):
                self._offend("root", f"{path} is not what its entries give", None)

    def _compare_earlier(self, earlier: list[Checkpoint]) -> None:
        for checkpoint in earlier:
            if checkpoint.size == self._edge.size:
                self._compared += 1
                if checkpoint.root != self._edge.root():
                    reason = f"the first {checkpoint.size} entries are not those that were signed before"
                    self._offend("consistency", reason, None)

    def _offend(self, check: str, reason: str, seq: int | None) -> None:
        self._report.offences.append(Offence(check, reason, seq))

    def _conclude(self, unreadable: str | None) -> None:
        report, entries, size = self._report, self._entries, self._checkpoint.size
        root = self._edge.root()
        if unreadable is None and root != self._checkpoint.root:
            signed = base64.b64encode(self._checkpoint.root).decode()
            self._offend(
                "root", f"the entries give the root {base64.b64encode(root).decode()}, signed is {signed}", None
            )
        report.offences.extend(entries.offences)
        report.kinds = dict(sorted(entries.kinds.items()))
        report.subjects = len(entries.chains)
        report.partitions = {f"{name}-{at}": offset for (name, at), offset in sorted(entries.next_offsets.items())}
        read = f"{self._edge.size} of {size} entries"
        report.add("leaves", f"{read} have the hashes in the tiles", undecided=unreadable)
        report.add("root", f"the root over {read} is the one that was signed", undecided=unreadable)
        report.add("chains", f"{report.subjects} chains run from 0 without a break", undecided=unreadable)
        report.add("seals", f"{entries.kinds['seal']} seals, each behind a closing", undecided=unreadable)
        report.add("partitions", f"{len(report.partitions)} partitions without a hole", undecided=unreadable)
        report.add("detached", f"{entries.detached} detached parts are what their entries name", undecided=unreadable)
        if self._compared or any(offence.check == "consistency" for offence in report.offences):
            report.add("consistency", f"the log begins with {self._compared} earlier checkpoints", undecided=unreadable)
        if entries.keyring is not None:
            report.add("events", f"{entries.events_checked} events verify by their writers' keys", undecided=unreadable)
