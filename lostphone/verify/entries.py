"""The rules between entries: chains, seals, partitions, detached parts, event signatures."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from lostphone.screen import Sentence
from lostphone.verify.report import Offence
from services.audit.domain.leaf import Json, Kind, Opened, open_header, open_leaf
from services.audit.domain.own import IndexRow
from services.audit.tlog import EMPTY_ROOT, Checkpoint, Edge, SignedNote
from services.audit.tlog import leaf_hash as hash_of
from shared.events import Event, KeyRing, Received, read
from shared.events.reporter import IncidentClosed

_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading an entry raises that has another shape, or nests without end."""
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAMES_CLOSED = IncidentClosed.event_type.encode()
_IN_CHAINS = (Kind.EVENT, Kind.SEAL)
_IN_PARTITIONS = (Kind.EVENT, Kind.UNPARSED, Kind.UNVERIFIED, Kind.DUPLICATE, Kind.GAP)


@dataclass(frozen=True, slots=True)
class _Last:
    """The last entry of one chain."""

    seq: int
    n: int
    hash: bytes
    closes: bool


@dataclass(slots=True)
class Entries:
    """Reads the entries in order, and keeps what breaks a rule."""

    keyring: KeyRing | None
    fetch: Callable[[str], bytes]
    """Reads what was detached, by its path; raises when it cannot."""
    offences: list[Offence] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    chains: dict[str, _Last] = field(default_factory=dict)
    next_offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    events_checked: int = 0
    detached: int = 0
    closed: Checkpoint | None = None
    """Where another log was closed from which this one goes on."""

    def take(self, seq: int, leaf: bytes, leaf_hash: bytes) -> None:
        """One entry. Whatever its bytes are, this does not raise for them."""
        try:
            header = open_header(leaf)
            kind = Kind(header.get("of") or header["k"])
            if kind is Kind.DETACHED:
                raise ValueError("what is detached is of another kind, too")
        except _MALFORMED:
            self._offend("chains", "既知の種類の項目ではありません", "it is not a leaf of a kind that is known", seq)
            return
        self.kinds[kind] += 1
        try:
            data = self._detached(seq, header) if "sha256" in header else None
            # Most entries need not be taken apart: the name stands in every closing that is not detached.
            may_close = kind is Kind.EVENT and (data is not None or _NAMES_CLOSED in leaf)
            closes = may_close and open_leaf(leaf, data).attribute("type") == IncidentClosed.event_type
            self._chain(seq, kind, header, leaf_hash, closes=closes)
            self._partition(seq, kind, header)
            if kind is Kind.INDEX:
                self._index(seq, header)
            if kind is Kind.RESTORE:
                self._restore(seq, header)
            if kind is Kind.EVENT and self.keyring is not None:
                self._event(seq, open_leaf(leaf, data), self.keyring)
        except _MALFORMED:
            self._offend("chains", "種類に必要な見出しがありません", "its header lacks what its kind needs", seq)

    def finish(self) -> None:
        """After the last entry: an incident that was closed must be sealed."""
        for subject, last in self.chains.items():
            if last.closes:
                self._offend(
                    "seals",
                    f"{subject} を終結させましたが、封印が続きません",
                    f"{subject} was closed by it, and no seal follows",
                    last.seq,
                )

    def _offend(self, check: str, ja: str, en: str, seq: int) -> None:
        self.offences.append(Offence(check, Sentence(f"{seq} 番: {ja}", f"entry {seq}: {en}"), seq))

    def _detached(self, seq: int, header: Json) -> bytes | None:
        self.detached += 1
        digest = str(header["sha256"])
        # It becomes a path, of a file that is read and may be written: a log must not choose which.
        data = self.fetch(f"detached/{digest}") if _SHA256.fullmatch(digest) else b""
        if hashlib.sha256(data).hexdigest() != digest or len(data) != header["size"]:
            self._offend(
                "detached",
                "別置きの内容が項目の示すものと違います",
                "its detached part is not the one that it names",
                seq,
            )
            return None
        return data

    def _chain(self, seq: int, kind: Kind, header: Json, leaf_hash: bytes, *, closes: bool) -> None:
        if kind not in _IN_CHAINS:
            if header.keys() & {"i", "n", "prev"}:
                self._offend(
                    "chains",
                    f"種類 {kind} は連鎖に入れません",
                    f"an entry of kind {kind} claims a place in a chain",
                    seq,
                )
            return
        subject, n, prev = header["i"], header["n"], header["prev"]
        last = self.chains.get(subject)
        wanted = (last.n + 1, last.hash.hex()) if last else (0, None)
        if (n, prev) != wanted:
            self._offend(
                "chains",
                f"{subject} の連鎖が切れています（n={n}、あるべき n={wanted[0]}）",
                f"{subject} needs n={wanted[0]} after {wanted[1]}, not n={n} after {prev}",
                seq,
            )
        if last is not None and last.closes and kind is not Kind.SEAL:
            self._offend(
                "seals",
                f"{subject} を終結させましたが、封印が続きません",
                f"{subject} was closed by it, and no seal follows",
                last.seq,
            )
        if kind is Kind.SEAL and (last is None or not last.closes):
            self._offend(
                "seals", f"終結していない {subject} を封印しています", f"it seals {subject}, which was not closed", seq
            )
        self.chains[subject] = _Last(seq, n, leaf_hash, closes)

    def _partition(self, seq: int, kind: Kind, header: Json) -> None:
        if kind not in _IN_PARTITIONS:
            return
        stream = (header["s"], header["p"])
        if not isinstance(stream[0], str) or type(stream[1]) is not int:
            raise TypeError("a partition has a name and a number")
        expected, offset = self.next_offsets.get(stream, 0), header["o"]
        end = header["end"] if kind is Kind.GAP else offset + 1
        if offset != expected or end <= offset:
            self._offend(
                "partitions",
                f"{stream[0]}-{stream[1]} のオフセットが {expected} でなく {offset} です",
                f"{stream[0]}-{stream[1]} goes on at offset {offset}, not {expected}",
                seq,
            )
        self.next_offsets[stream] = end

    def _index(self, seq: int, header: Json) -> None:
        rows = [IndexRow(subject, last.n + 1, last.hash, last.seq) for subject, last in self.chains.items()]
        rows.sort(key=lambda row: row.subject.encode())
        edge, _ = Edge().append(hash_of(row.line()) for row in rows)
        root = edge.root() if rows else EMPTY_ROOT
        if (header["size"], header["rows"], header["root"]) != (seq, len(rows), root.hex()):
            self._offend(
                "index",
                "これより前の項目の索引ではありません",
                "it is not the index of the entries before it",
                seq,
            )

    def _restore(self, seq: int, header: Json) -> None:
        closed = Checkpoint.parse(SignedNote.parse(header["note"].encode()).text)
        said = (header["origin"], header["size"], header["root"])
        if seq != 0 or said != (closed.origin, closed.size, closed.root.hex()):
            self._offend(
                "restore",
                "ほかのログからの継続は、そのチェックポイントとともに最初にだけ記録できます",
                "a log says first, or never, from which checkpoint of another one it goes on",
                seq,
            )
        self.closed = closed

    def _event(self, seq: int, opened: Opened, keyring: KeyRing) -> None:
        self.events_checked += 1
        header = opened.header
        content_type = [("content-type", str(header["m"]).encode())] if header["m"] is not None else []
        received = Received(
            header["s"],
            header["p"],
            header["o"],
            header["ts"],
            opened.key,
            (*opened.headers, *content_type),
            opened.value,
        )
        reading = read(received, keyring)
        if not isinstance(reading, Event):
            self._offend(
                "events",
                f"イベントの署名を確認できません: {reading.reason}",
                f"the event does not verify: {reading.reason}",
                seq,
            )
        elif reading.envelope.subject != header["i"]:
            self._offend(
                "events",
                f"{header['i']} の連鎖にありますが、対象が違います",
                f"it stands in the chain of {header['i']}, not of its subject",
                seq,
            )
