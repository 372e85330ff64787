"""The rules between entries: chains, seals, partitions, detached parts, event signatures."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lostphone.screen import Sentence
from lostphone.verify.report import Offence
from services.audit.domain.leaf import Json, Kind, Opened, open_header, open_leaf
from services.audit.domain.own import IndexRow, key_statement
from services.audit.tlog import EMPTY_ROOT, Checkpoint, Edge, SignedNote, VerifierKey
from services.audit.tlog import leaf_hash as hash_of
from services.audit.tlog.keys import ED25519
from shared.events import Event, KeyRing, Reading, read
from shared.events.reporter import IncidentClosed, PersonalDataErased

MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading an entry raises that has another shape, or nests without end."""
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NAMES_CLOSED = IncidentClosed.event_type.encode()
_SPELT = rb"\u"
"""How JSON may write any character."""
_IN_CHAINS = (Kind.EVENT, Kind.SEAL)
_RECORDS = (Kind.EVENT, Kind.UNPARSED, Kind.UNVERIFIED, Kind.DUPLICATE)
_WRONG = "signature_invalid"
_IN_PARTITIONS = (*_RECORDS, Kind.GAP)


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

    origin: str
    """Of the log that they are of."""
    keyring: KeyRing | None
    fetch: Callable[[str], bytes]
    """Reads what was detached, by its path; raises when it cannot."""
    offences: list[Offence] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    chains: dict[str, _Last] = field(default_factory=dict)
    next_offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    events_checked: int = 0
    findings: list[Json] = field(default_factory=list)
    """What is odd and breaks no rule; looked for with the keys of the services."""
    detached: int = 0
    keys: Sequence[VerifierKey] = ()
    """Of the log, that the reader trusts."""
    closed: Checkpoint | None = None
    """Where another log was closed from which this one goes on."""
    _changes: list[tuple[int, set[bytes]]] = field(default_factory=list)
    """Where the log went on with other keys, and the ids of those before and after."""
    _rows: dict[str, bytes] = field(default_factory=dict)
    """Hashes of rows of the index, of the chains that did not go on since the last one: there is one for every hour."""
    _before: tuple[bytes, bytes | None] | None = None
    """The entry before, if it is an event, and what is detached of it."""
    _events: set[int] = field(default_factory=set)
    _spoken: dict[tuple[str, str], int] = field(default_factory=dict)
    """The last sequence by source and subject."""

    def take(self, seq: int, leaf: bytes, leaf_hash: bytes) -> None:
        """One entry. Whatever its bytes are, this does not raise for them."""
        before, self._before = self._before, None
        try:
            header = open_header(leaf)
            kind = Kind(header.get("of") or header["k"])
            if kind is Kind.DETACHED:
                raise ValueError("what is detached is of another kind, too")
        except MALFORMED:
            self._offend("chains", "既知の種類の項目ではありません", "it is not a leaf of a kind that is known", seq)
            return
        self.kinds[kind] += 1
        try:
            data = self._detached(seq, header) if "sha256" in header else None
            self._before = (leaf, data) if kind is Kind.EVENT else None
            # Most need not be taken apart: the name stands in a closing that is neither detached nor spelt otherwise.
            may_close = kind is Kind.EVENT and (data is not None or _NAMES_CLOSED in leaf or _SPELT in leaf)
            closes = may_close and open_leaf(leaf, data).attribute("type") == IncidentClosed.event_type
            self._chain(seq, kind, header, leaf_hash, closes=closes)
            self._partition(seq, kind, header)
            if kind is Kind.INDEX:
                self._index(seq, header)
            if kind is Kind.RESTORE:
                self._restore(seq, header)
            if kind is Kind.KEY:
                self._key(seq, header)
            if kind in (Kind.ERASURE, Kind.HOLD) and not _is_ordered(kind, header, before):
                self._offend(
                    "erasures",
                    "直前の項目は、これを命じるイベントではありません",
                    "the entry before it is not the event that says so",
                    seq,
                )
            if kind in _RECORDS and self.keyring is not None:
                self.judge(seq, open_leaf(leaf, data), self.keyring)
        except MALFORMED:
            self._offend("chains", "種類に必要な見出しがありません", "its header lacks what its kind needs", seq)

    def finish(self) -> None:
        """After the last entry: what was closed must be sealed, and changes of keys lead to the reader's."""
        known = {key.keyid for key in self.keys}
        for seq, keys in reversed(self._changes):
            if known & keys:
                known |= keys
            else:
                self.findings.append({"finding": "keys_changed_outside_the_policy", "seq": seq})
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
        self._rows.pop(subject, None)

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
        for subject in self.chains.keys() - self._rows.keys():
            last = self.chains[subject]
            self._rows[subject] = hash_of(IndexRow(subject, last.n + 1, last.hash, last.seq).line())
        rows = [self._rows[subject] for subject in sorted(self._rows, key=str.encode)]
        edge, _ = Edge().append(rows)
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
        if seq or closed.origin == self.origin or said != (closed.origin, closed.size, closed.root.hex()):
            self._offend(
                "restore",
                "ほかのログからの継続は、そのチェックポイントとともに最初にだけ記録できます",
                "a log says first, or never, from which checkpoint of another one it goes on",
                seq,
            )
        self.closed = closed

    def _key(self, seq: int, header: Json) -> None:
        if not isinstance(header["keys"], list):
            raise TypeError("a log goes on with a list of keys")
        old, new = VerifierKey.parse(header["signed"]), [VerifierKey.parse(vkey) for vkey in header["keys"]]
        signature = base64.b64decode(header["signature"].encode(), validate=True)
        if base64.b64encode(signature).decode() != header["signature"]:
            raise ValueError("not in the one form of its base64")
        if old.type != ED25519 or not old.verifies(key_statement(self.origin, header["keys"]).decode(), signature):
            self._offend(
                "keys", "古い鍵は鍵の交代に署名していません", "the old key did not sign the change of keys", seq
            )
        self._changes.append((seq, {old.keyid, *(key.keyid for key in new)}))

    def judge(self, seq: int, opened: Opened, keyring: KeyRing) -> None:
        """What an entry says of its record, by the keys of the services. Raises for one of another shape."""
        reading = read(opened.received(), keyring)
        if opened.kind is Kind.EVENT:
            self.events_checked += 1
            self._event(seq, reading, opened)
        elif opened.kind is Kind.DUPLICATE:
            if not isinstance(reading, Event) or _said(reading) not in self._events:
                self._offend(
                    "events",
                    "重複とされていますが、同じイベントはこれより前にありません",
                    "it is called a duplicate, and no such event stands before it",
                    seq,
                )
        elif isinstance(reading, Event):
            self._outside(seq, str(opened.header["reason"]), reading)

    def _outside(self, seq: int, reason: str, event: Event) -> None:
        """An event of ours stands outside of every chain. That its key was not known then may be true; that its
        signature was wrong is not."""
        if reason == _WRONG:
            self._offend(
                "events",
                "署名が不正とされ連鎖の外にありますが、確認できるイベントです",
                "it stands outside of every chain as wrongly signed, and verifies",
                seq,
            )
        else:
            self.findings.append(
                {"finding": "outside_though_it_verifies", "seq": seq, "reason": reason, "of": event.envelope.subject}
            )

    def _turn(self, seq: int, event: Event) -> None:
        """Each source counts what it says about a subject from 1: what it said and is not here leaves a hole."""
        envelope = event.envelope
        self._events.add(_said(event))
        place = (envelope.source, envelope.subject)
        due = self._spoken.get(place, 0) + 1
        self._spoken[place] = max(envelope.sequence, due - 1)
        if envelope.sequence != due:
            finding = "sequence_gap" if envelope.sequence > due else "sequence_step_back"
            told = {"source": envelope.source, "of": envelope.subject, "due": due}
            self.findings.append({"finding": finding, "seq": seq, **told})

    def _event(self, seq: int, reading: Reading, opened: Opened) -> None:
        header = opened.header
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
        else:
            self._turn(seq, reading)


def _is_ordered(kind: Kind, header: Json, before: tuple[bytes, bytes | None] | None) -> bool:
    """Whether an erasure or a hold says what the event before it says, of which the writer makes it."""
    if before is None:
        return False
    try:
        opened = open_leaf(*before)
        said = json.loads(opened.payload() or b"null")
        due = {"event": opened.attribute("id"), "organisation": opened.attribute("organisation")}
        due |= {"by": opened.attribute("actor"), **{name: said[name] for name in ("person", "ground", "fields")}}
        ordered = Kind.HOLD if said.get("on_hold") else Kind.ERASURE
    except MALFORMED:
        return False
    is_erasing = opened.attribute("type") == PersonalDataErased.event_type
    return is_erasing and kind is ordered and None not in due.values() and due.items() <= header.items()


def _said(event: Event) -> int:
    """All that tells an event from others, for a set of very many."""
    return hash((event.envelope.source, event.envelope.id, event.value))
