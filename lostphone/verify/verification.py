"""The verification of a whole log: from its signed checkpoint down to every byte of every entry."""

import base64
from collections.abc import Callable, Sequence

from lostphone.screen import Sentence
from lostphone.verify.entries import Entries
from lostphone.verify.report import Offence, Report
from lostphone.verify.source import Source, UnreadableError
from services.audit.tlog import (
    BundleError,
    Checkpoint,
    CheckpointError,
    Edge,
    NoteError,
    Policy,
    SignedNote,
    TilePath,
    VerifierKey,
    leaf_hashes,
    unpack_bundle,
)
from services.audit.tlog.tiles import HASH_BYTES, TILE_WIDTH
from shared.events import KeyRing

_MAX_SIZE = 1 << 40


def run(
    source: Source,
    keys: Sequence[VerifierKey],
    *,
    policy: Policy | None = None,
    earlier: Sequence[bytes] = (),
    keyring: KeyRing | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Report:
    """Verify the log in `source` by the reader's `keys`.

    `policy`: the reader's; its witnesses must have signed the checkpoint. The keys of the log are in `keys` alone.
    `earlier`: checkpoints that the reader kept from before; the log must begin with each of them, or, where one is of
    another log, have been begun where that one was closed, at this size or a larger one.
    `keyring`: the public keys of the services; with them the signature of every event is checked as well.
    Raises nothing for what the log holds: what could not be read is an outcome of its own.
    """
    report = Report()
    checkpoint, note = _checkpoint(report, "signature", source, keys)
    if checkpoint is None or note is None:
        return report
    if policy is not None:
        _quorum(report, policy, note)
    report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root.hex()
    older = _earlier(report, earlier, keys, checkpoint)
    others = [one for one in older if one.origin != checkpoint.origin]
    _Walk(report, source, checkpoint, keyring, progress, keys=keys).go(
        [one for one in older if one not in others], others
    )
    return report


def _checkpoint(
    report: Report, name: str, source: Source, keys: Sequence[VerifierKey]
) -> tuple[Checkpoint | None, SignedNote | None]:
    try:
        data = source.read("checkpoint")
    except UnreadableError as error:
        report.add(name, "", "", undecided=Sentence(f"読めません: {error}", str(error)))
        return None, None
    checkpoint = note = None
    try:
        checkpoint, note, signed = _opened(data, keys)
    except (NoteError, CheckpointError) as error:
        report.offences.append(Offence(name, Sentence(f"チェックポイントが正しくありません: {error}", str(error))))
    else:
        report.keys = [str(key)[:120] for key in signed]
    report.add(
        name,
        f"指定の鍵 {len(keys)} 個のうち {len(report.keys)} 個の署名",
        f"signed by {len(report.keys)} of the {len(keys)} keys given",
    )
    return checkpoint, note


def _quorum(report: Report, policy: Policy, note: SignedNote) -> None:
    signed: list[str] = []
    for name, witness in policy.witnesses.items():
        mine = [line for line in note.signatures if (line.name, line.keyid) == (witness.key.name, witness.key.keyid)]
        if not all(witness.key.verifies(note.text, line.value) for line in mine):
            wrong = Sentence(f"証人 {name} の署名が正しくありません", f"the signature of the witness {name} is wrong")
            report.offences.append(Offence("quorum", wrong))
        elif mine:
            signed.append(name)
    if not policy.is_fulfilled(signed):
        missing = Sentence(
            f"方針の求める証人（{policy.quorum}）の署名がありません",
            f"the witnesses that the policy asks for ({policy.quorum}) did not sign",
        )
        report.offences.append(Offence("quorum", missing))
    names = ", ".join(signed)
    report.add("quorum", f"証人: {names or 'なし'}", f"cosigned by {names or 'nobody'}; it asks for {policy.quorum}")


def _opened(data: bytes, keys: Sequence[VerifierKey]) -> tuple[Checkpoint, SignedNote, list[VerifierKey]]:
    note = SignedNote.parse(data)
    checkpoint, signed = Checkpoint.signed(note, keys)
    if checkpoint.size > _MAX_SIZE:
        raise CheckpointError("the log says that it is larger than any log")
    return checkpoint, note, signed


def _earlier(
    report: Report, earlier: Sequence[bytes], keys: Sequence[VerifierKey], newest: Checkpoint
) -> list[Checkpoint]:
    """The earlier checkpoints to compare with, of this log or another one, smallest first."""
    found: list[Checkpoint] = []
    for data in earlier:
        try:
            checkpoint, _, _ = _opened(data, keys)
        except (NoteError, CheckpointError) as error:
            report.offences.append(
                Offence(
                    "consistency",
                    Sentence(
                        f"以前のチェックポイントが正しくありません: {error}",
                        f"an earlier checkpoint does not count: {error}",
                    ),
                )
            )
            continue
        if checkpoint.origin == newest.origin and checkpoint.size > newest.size:
            shrunk = Sentence(
                f"以前は {checkpoint.size} 件、いまは {newest.size} 件です",
                f"the log had {checkpoint.size} entries before, and has {newest.size} now",
            )
            report.offences.append(Offence("consistency", shrunk, newest.size))
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
        *,
        keys: Sequence[VerifierKey],
    ) -> None:
        self._report = report
        self._source = source
        self._checkpoint = checkpoint
        self._progress = progress
        self._edge = Edge()
        self._entries = Entries(checkpoint.origin, keyring, source.read, keys=keys)
        self._compared = 0

    def go(self, earlier: list[Checkpoint], others: list[Checkpoint]) -> None:
        """`others` are of a log that this one should go on from."""
        unreadable: Sentence | None = None
        try:
            self._compare_earlier(earlier)
            while self._edge.size < self._checkpoint.size:
                self._bundle(earlier)
                self._progress(self._edge.size, self._checkpoint.size)
            self._compare_edge()
        except UnreadableError as error:
            unreadable = Sentence(f"ログのすべては読めません: {error}", f"not all of the log could be read: {error}")
        else:
            self._entries.finish()
            self._compare_closed(others)
        self._conclude(unreadable)

    def _bundle(self, earlier: list[Checkpoint]) -> None:
        start = self._edge.size
        width = min(TILE_WIDTH, self._checkpoint.size - start)
        index = start // TILE_WIDTH
        served = self._source.read(str(TilePath(0, index, width)))
        is_whole = len(served) == width * HASH_BYTES
        try:
            leaves = unpack_bundle(self._source.read(str(TilePath(None, index, width))))
        except BundleError as error:
            leaves, is_whole = error.leaves, False
        is_whole, leaves = is_whole and len(leaves) <= width, leaves[:width]
        hashes = leaf_hashes(leaves)
        for at, (leaf, hashed) in enumerate(zip(leaves, hashes, strict=True)):
            if hashed != served[at * HASH_BYTES : (at + 1) * HASH_BYTES]:
                self._offend(
                    "leaves",
                    f"{start + at} 番: 内容のハッシュがタイルと違います",
                    f"entry {start + at}: its bytes do not have the hash in its tile",
                    start + at,
                )
            self._entries.take(start + at, leaf, hashed)
        if len(leaves) < width:
            ends = start + len(leaves)
            self._offend(
                "leaves", f"{ends} 番: 束がその途中で終わっています", f"entry {ends}: the bundle ends inside it", ends
            )
            raise UnreadableError(f"bundle {index} is damaged")
        if not is_whole:
            self._offend(
                "leaves",
                f"束またはタイル {index} に {width} 件より多くあります",
                f"bundle or tile {index} does not have {width} entries",
                start,
            )
            raise UnreadableError(f"bundle or tile {index} is damaged")
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
                self._offend(
                    "root", f"{path} が項目から計算したものと違います", f"{path} is not what its entries give", None
                )

    def _compare_edge(self) -> None:
        for level, hashes in enumerate(self._edge.open_tiles):
            path = TilePath(level, self._edge.size >> (8 * (level + 1)), len(hashes))
            if level and hashes and self._source.read(str(path)) != b"".join(hashes):
                self._offend(
                    "root", f"{path} が項目から計算したものと違います", f"{path} is not what its entries give", None
                )

    def _compare_earlier(self, earlier: list[Checkpoint]) -> None:
        for checkpoint in earlier:
            if checkpoint.size == self._edge.size:
                self._compared += 1
                if checkpoint.root != self._edge.root():
                    self._offend(
                        "consistency",
                        f"先頭の {checkpoint.size} 件が、以前署名されたものと違います",
                        f"the first {checkpoint.size} entries are not those that were signed before",
                        None,
                    )

    def _compare_closed(self, others: list[Checkpoint]) -> None:
        closed = self._entries.closed
        for other in others:
            if closed is None or closed.origin != other.origin:
                self._offend(
                    "restore",
                    f"以前のチェックポイントは {other.origin} のもので、このログはその継続ではありません",
                    f"an earlier checkpoint is of {other.origin}, and this log does not go on from it",
                    None,
                )
            elif other.size > closed.size or (other.size == closed.size and other.root != closed.root):
                self._offend(
                    "restore",
                    f"{other.origin} は {other.size} 件を署名していましたが、{closed.size} 件で閉じたとされています",
                    f"{other.origin} had signed {other.size} entries, and is said to have been closed at {closed.size}",
                    0,
                )

    def _offend(self, check: str, ja: str, en: str, seq: int | None) -> None:
        self._report.offences.append(Offence(check, Sentence(ja, en), seq))

    def _conclude(self, unreadable: Sentence | None) -> None:
        report, entries, size = self._report, self._entries, self._checkpoint.size
        root = self._edge.root()
        if unreadable is None and root != self._checkpoint.root:
            given, signed = (base64.b64encode(digest).decode() for digest in (root, self._checkpoint.root))
            self._offend(
                "root",
                f"計算したルート {given} が、署名されたもの {signed} と違います",
                f"the entries give the root {given}, and {signed} was signed",
                None,
            )
        report.offences.extend(entries.offences)
        report.findings = entries.findings
        report.kinds = dict(sorted(entries.kinds.items()))
        report.subjects = len(entries.chains)
        report.partitions = {f"{name}-{at}": offset for (name, at), offset in sorted(entries.next_offsets.items())}
        done = self._edge.size
        facts = (
            (
                "leaves",
                f"{size} 件中 {done} 件がタイルと一致",
                f"{done} of {size} entries have the hashes in the tiles",
            ),
            ("root", f"{done} 件のルートが署名と一致", f"the root over {done} entries is the one that was signed"),
            ("chains", f"{report.subjects} 本、0 から切れ目なし", f"{report.subjects}, each from 0 without a break"),
            ("seals", f"{entries.kinds['seal']} 個、終結の直後", f"{entries.kinds['seal']}, each behind a closing"),
            ("partitions", f"{len(report.partitions)} 個、欠けなし", f"{len(report.partitions)} without a hole"),
            ("detached", f"{entries.detached} 個が一致", f"{entries.detached}, each what its entry names"),
            (
                "index",
                f"{entries.kinds['index']} 個、それまでの項目どおり",
                f"{entries.kinds['index']}, each of exactly the entries before it",
            ),
        )
        for name, ja, en in facts:
            report.add(name, ja, en, undecided=unreadable)
        if self._compared or any(offence.check == "consistency" for offence in report.offences):
            kept = self._compared
            report.add("consistency", f"{kept} 個と一致", f"the log begins with {kept} of them", undecided=unreadable)
        closed = entries.closed
        if closed is not None or any(offence.check == "restore" for offence in report.offences):
            said = f"{closed.origin} · {closed.size} · {closed.root.hex()}" if closed else ""
            report.add("restore", f"継続元 {said}", f"it goes on from {said}", undecided=unreadable)
        if changes := entries.kinds["key"]:
            report.add(
                "keys", f"{changes} 回、古い鍵の署名", f"{changes}, each signed by the old one", undecided=unreadable
            )
        erased = entries.kinds["erasure"] + entries.kinds["hold"]
        if erased:
            said = f"{erased} stand behind the events that say so"
            report.add("erasures", f"{erased} 個、それを命じるイベントの直後", said, undecided=unreadable)
        if entries.keyring is not None:
            checked = entries.events_checked
            report.add(
                "events", f"{checked} 件を確認", f"{checked} verify by their writers' keys", undecided=unreadable
            )
