#!/usr/bin/env python3
"""Check evidence of a Lostphone timeline, or a whole log, without trusting whoever handed it over.

    python3 -I -S verify.py bundle evidence.zip --policy policy.txt [--earlier checkpoint …] [--tsa-root ca.pem …]
    python3 -I -S verify.py log https://log.example | copy/ --vkey KEY [--token TOKEN] [--earlier checkpoint …]
    python3 -I -S verify.py consistency OLD NEW PROOF --vkey KEY
    python3 -I -S verify.py proof LEAF PROOF.tlog-proof --vkey KEY
    python3 -I -S verify.py diff ONE OTHER

Needs Python 3.11 or newer and its standard library, nothing else; a bundle is checked without any network. Keys and
policy are yours: get them from somebody else than whoever gave you the evidence. ML-DSA-44 signatures and the
signatures of timestamps are checked when the package `cryptography` is there, and else reported as not checked. `-S`
keeps installed packages out: leave it away for those two.

The report is JSON on standard output. Exit status: 0 proved, 1 disproved, 2 not decidable.

Formats: RFC 6962 (tree, proofs), c2sp.org signed-note, tlog-checkpoint, tlog-cosignature, tlog-tiles, tlog-proof and
tlog-policy, RFC 9901 (disclosures), RFC 3161 (timestamps). Every byte of an entry is hashed again; nothing that the
evidence says about itself is taken for true.
"""

# One file that stands alone: it raises where it stands, and says things in long lines.
# ruff: noqa: E501, TRY301

import argparse
import base64
import binascii
import hashlib
import http.client
import io
import itertools
import json
import re
import socket
import stat
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from functools import cached_property, partial
from pathlib import Path
from typing import Any

PROVED, DISPROVED, UNDECIDED, UNCHECKED = "proved", "disproved", "not_decidable", "not_checked"
EXIT = {PROVED: 0, DISPROVED: 1, UNDECIDED: 2}
BUNDLE_FORMAT = "lostphone.evidence/v1"
MAX_FILE_BYTES = 32 * 1024 * 1024
"""More than the largest bundle of entries can have: 256 of 64 KB."""
PATIENCE_SECONDS, SLOWEST_BYTES = 60.0, 8 * 1024
"""A log that is served may be so many seconds behind one that gives so many bytes a second."""
TOO_SLOW = f"it gives less than {SLOWEST_BYTES} bytes a second: make a copy of the log in files, and check that"
MAX_BUNDLE_BYTES = 1024 * 1024 * 1024
MAX_BUNDLE_FILES = 65_535
MAX_LOG_SIZE = 1 << 40
INDEX_SAYS = "so says the log's index, which a check of the whole log makes again"
"""Who holds the log's key can leave the end of a chain out of a bundle and of the index alike."""
NOT_ORDERED = "the entry before it is not the event that says so"
IN_CHAINS = ("event", "seal")
IN_PARTITIONS = ("event", "unparsed", "unverified", "duplicate", "gap")
OWN = ("index", "export", "erasure", "hold", "key", "anchor", "restore")
CLOSED = "lostphone.incident-closed.v1"
ERASED = "lostphone.personal-data-erased.v1"
Json = dict[str, Any]
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What reading something raises that has another shape, or nests without end."""


class BadError(Exception):
    """What was read is not what it must be: disproved."""


class UnreadableError(Exception):
    """What is needed cannot be had: not decidable."""


# --- report ---------------------------------------------------------------------------------------------------------


class Report:
    """Checks in order, each with its outcome, and every offence with the entry that it is about."""

    def __init__(self) -> None:
        self.checks: list[Json] = []
        self.offences: list[Json] = []
        self.findings: list[Json] = []
        self.facts: Json = {}
        self.order: list[str] = []
        """Checks of which an earlier one explains the later ones; without it the lowest entry comes first."""

    def offend(self, check: str, reason: str, entry: int | None = None) -> None:
        self.offences.append({"check": check, "reason": reason, "seq": entry})

    def conclude(self, name: str, detail: str, undecided: str | None = None, unchecked: str | None = None) -> None:
        own = [offence for offence in self.offences if offence["check"] == name]
        if own:
            more = f" (and {len(own) - 1} more)" if len(own) > 1 else ""
            self._add(name, DISPROVED, own[0]["reason"] + more)
        elif undecided is not None:
            self._add(name, UNDECIDED, undecided)
        elif unchecked is not None:
            self._add(name, UNCHECKED, unchecked)
        else:
            self._add(name, PROVED, detail)

    def _add(self, name: str, outcome: str, detail: str) -> None:
        self.checks.append({"name": name, "outcome": outcome, "detail": detail})

    @property
    def outcome(self) -> str:
        if self.offences:
            return DISPROVED
        outcomes = {check["outcome"] for check in self.checks}
        return UNDECIDED if UNDECIDED in outcomes or PROVED not in outcomes else PROVED

    def document(self) -> Json:
        named = [offence for offence in self.offences if offence["seq"] is not None]
        rank = {name: at for at, name in enumerate(self.order)}
        first = min(named, key=lambda offence: (rank.get(offence["check"], 0), int(offence["seq"]))) if named else None
        return {
            "outcome": self.outcome,
            **self.facts,
            "checks": self.checks,
            "first_offence": first or (self.offences[0] if self.offences else None),
            "offences": self.offences[:100],
            "findings": self.findings,
        }


# --- Ed25519 (RFC 8032, 5.1), verification only ------------------------------------------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
Point = tuple[int, int, int, int]


def _point_add(one: Point, other: Point) -> Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(number: int, point: Point) -> Point:
    product: Point = (0, 1, 1, 0)
    while number:
        if number & 1:
            product = _point_add(product, point)
        point = _point_add(point, point)
        number >>= 1
    return product


def _decompress(data: bytes) -> Point | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return (x, y, 1, x * y % _P)


_BASE = _decompress((4 * pow(5, _P - 2, _P) % _P).to_bytes(32, "little"))


def ed25519_verifies(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this key signed exactly this message."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, nonce = _decompress(public), _decompress(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or nonce is None or _BASE is None or scalar >= _L:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    left, right = _times(scalar, _BASE), _point_add(nonce, _times(challenge, key))
    return (left[0] * right[2] - right[0] * left[2]) % _P == 0 and (left[1] * right[2] - right[1] * left[2]) % _P == 0


def mldsa44_verifies(public: bytes, message: bytes, signature: bytes) -> bool | None:
    """None when the package that can tell is not here."""
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - optional
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey  # noqa: PLC0415
    except ImportError:
        return None
    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


# --- keys, notes, checkpoints, policies -----------------------------------------------------------------------------------

ED25519, COSIGNATURE, MLDSA44 = 1, 4, 6
_SIZES = {ED25519: 32, COSIGNATURE: 32, MLDSA44: 1312}
_LATEST = 2**63 - 1
"""No cosignature may state a later time. Any other says what a witness says, and its clock is its own affair."""
_MAX_SIGNATURES = 100
_MAX_LINES = 1_000
_KEY_NAME = re.compile(r"[^\s+]+")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


def unbase64(text: str) -> bytes:
    """Strict: what encodes to the same text again."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise BadError("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise BadError("not canonical base64")
    return data


class Key:
    """A public key by the text that a policy gives: name+id+base64(type, key)."""

    def __init__(self, name: str, kind: int, public: bytes) -> None:
        self.name, self.kind, self.public = name, kind, public

    @property
    def keyid(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> "Key":
        name, _, rest = text.strip().partition("+")
        keyid, _, material = rest.partition("+")
        data = unbase64(material)
        if not _KEY_NAME.fullmatch(name) or not data or len(data) - 1 != _SIZES.get(data[0]):
            raise BadError("not a verifier key of type Ed25519, cosignature or ML-DSA-44")
        key = cls(name, data[0], data[1:])
        if key.keyid.hex() != keyid:
            raise BadError(f"the verifier key of {name} does not match its own id")
        return key

    @classmethod
    def of_log(cls, text: str) -> "Key":
        """The key of a log: what a witness signs with says something else."""
        key = cls.parse(text)
        if key.kind == COSIGNATURE:
            raise BadError(f"the key of {key.name} is a witness's (type 04); a log's is of type Ed25519 or ML-DSA-44")
        return key

    def __str__(self) -> str:
        return f"{self.name} ({self.keyid.hex()})"

    def verifies(self, text: str, signature: bytes) -> bool | None:
        """Whether the key signed the text of a note; None when that cannot be told here."""
        if self.kind == ED25519:
            return ed25519_verifies(self.public, text.encode(), signature)
        if len(signature) < 8:
            return False
        (time,) = struct.unpack_from(">Q", signature)
        if time > _LATEST:
            return False
        if self.kind == COSIGNATURE:
            signed = f"cosignature/v1\ntime {time}\n{text}".encode()
            return ed25519_verifies(self.public, signed, signature[8:])
        try:
            statement = _cosigned(self.name, time, Checkpoint(text))
        except BadError:
            return False
        return mldsa44_verifies(self.public, statement, signature[8:])


def _cosigned(name: str, time: int, checkpoint: "Checkpoint") -> bytes:
    cosigner, origin = name.encode(), checkpoint.origin.encode()
    if max(len(cosigner), len(origin)) > 255:
        raise BadError("a name is longer than ML-DSA-44 can state")
    lengths = bytes([len(cosigner)]) + cosigner + struct.pack(">Q", time) + bytes([len(origin)]) + origin
    return b"subtree/v1\n\x00" + lengths + struct.pack(">QQ", 0, checkpoint.size) + checkpoint.root


class Checkpoint:
    """The text of a log's note: origin, size, root."""

    def __init__(self, text: str) -> None:
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines) or not _DECIMAL.fullmatch(lines[1]):
            raise BadError("not a checkpoint")
        self.origin, self.size, self.root = lines[0], int(lines[1]), unbase64(lines[2])
        if len(self.root) != 32:
            raise BadError("the root of the checkpoint is not a SHA-256 hash")


class Note:
    """A signed note. Nothing is believed yet."""

    def __init__(self, data: bytes) -> None:
        try:
            note = data.decode()
        except UnicodeDecodeError:
            raise BadError("a note is not UTF-8") from None
        if len(data) > 1_000_000 or any(character < " " and character != "\n" for character in note):
            raise BadError("a note is too long or holds control characters")
        text, separator, lines = note.rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise BadError("a note has no signatures")
        self.text = text + "\n"
        self.signatures: list[tuple[str, bytes, bytes]] = []
        for line in lines[:-1].split("\n"):
            dash, _, rest = line.partition(" ")
            name, _, value = rest.partition(" ")
            data = unbase64(value)
            if dash != "\u2014" or not _KEY_NAME.fullmatch(name) or len(data) < 5:
                raise BadError("a line under a note is not a signature")
            self.signatures.append((name, data[:4], data[4:]))
        if len(self.signatures) > _MAX_SIGNATURES:
            raise BadError("a note has too many signatures")

    def signed_by(self, key: Key) -> bool | None:
        """Whether the key signed; None when it did, for all that can be told here. Raises when it is claimed falsely."""
        said: bool | None = False
        for name, keyid, value in self.signatures:
            if (name, keyid) == (key.name, key.keyid):
                verdict = key.verifies(self.text, value)
                if verdict is False:
                    raise BadError(f"the signature of {key} is wrong")
                said = True if verdict or said else None
        return said


class Policy:
    """What the reader trusts."""

    def __init__(self, text: str) -> None:
        self.logs: list[Key] = []
        self.witnesses: dict[str, Key] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.quorum: str | None = None
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text):
            raise BadError("a policy holds no control characters but tab and newline")
        lines = text.split("\n")
        if len(lines) > _MAX_LINES:
            raise BadError(f"a policy has more than {_MAX_LINES} lines")
        for line in lines:
            words = re.findall(r"[^ \t]+", line)
            if words and not words[0].startswith("#"):
                self._line(words)
        for keys in (self.logs, list(self.witnesses.values())):
            if len({key.public for key in keys}) != len(keys):
                raise BadError("a policy names a key twice")
        if not self.logs or self.quorum is None:
            raise BadError("a policy names at least one key of the log, and one quorum")

    def _line(self, words: list[str]) -> None:
        known = {*self.witnesses, *self.groups, "none"}
        if words[0] == "log" and len(words) in (2, 3):
            self.logs.append(Key.of_log(words[1]))
        elif words[0] == "witness" and len(words) in (3, 4) and words[1] not in known:
            key = Key.parse(words[2])
            kind = COSIGNATURE if key.kind == ED25519 else key.kind
            self.witnesses[words[1]] = Key(key.name, kind, key.public)
        elif words[0] == "group" and len(words) > 3 and words[1] not in known and set(words[3:]) <= known:
            self.groups[words[1]] = self._group(words[1], words[2], words[3:])
        elif words[0] == "quorum" and len(words) == 2 and self.quorum is None and words[1] in known:
            self.quorum = words[1]
        else:
            raise BadError(f"not a line of a policy: {' '.join(words)[:80]}")

    def _group(self, name: str, threshold: str, members: list[str]) -> tuple[int, list[str]]:
        needed = {"any": "1", "all": str(len(members))}.get(threshold, threshold)
        taken = {"none", *(member for _, others in self.groups.values() for member in others)}
        if not (needed.isascii() and needed.isdecimal()) or not 0 < int(needed) <= len(members):
            raise BadError(f"a policy has a group {name} that cannot be fulfilled")
        if len(set(members)) != len(members) or taken & set(members):
            raise BadError(f"a policy has a member of {name} twice")
        return int(needed), members

    def fulfilled(self, signed: set[str]) -> bool:
        return self.quorum == "none" or self._has(str(self.quorum), signed)

    def _has(self, name: str, signed: set[str]) -> bool:
        if name not in self.groups:
            return name in signed
        needed, members = self.groups[name]
        return sum(self._has(member, signed) for member in members) >= needed


def policy_in(file: Path) -> Policy:
    """The policy in a file, whose names and comments may be in any encoding. Raises `BadError`, `OSError`."""
    return Policy(file.read_text(encoding="utf-8", errors="surrogateescape"))


def policy_of(vkeys: Sequence[str]) -> Policy:
    """The policy of a reader who gives keys of the log alone."""
    return Policy("".join(f"log {vkey}\n" for vkey in dict.fromkeys(vkeys)) + "quorum none\n")


# --- tree ---------------------------------------------------------------------------------------------------------------


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the perfect subtrees of a growing tree (compact range): all that is kept of a log."""

    def __init__(self) -> None:
        self.size = 0
        self.roots: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        size, self.size = self.size, self.size + 1
        while size & 1:
            leaf = node_hash(self.roots.pop(), leaf)
            size >>= 1
        self.roots.append(leaf)

    def root(self) -> bytes:
        if not self.roots:
            return hashlib.sha256(b"").digest()
        root = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            root = node_hash(left, root)
        return root


def is_included(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162, 2.1.3.2."""
    if not 0 <= index < size or any(len(item) != 32 for item in proof):
        return False
    node, last, computed = index, size - 1, leaf
    for item in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            computed = node_hash(item, computed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            computed = node_hash(computed, item)
        node, last = node >> 1, last >> 1
    return last == 0 and computed == root


def is_consistent(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162, 2.1.4.2. An empty old tree proves nothing and is refused."""
    if not 0 < old <= size or any(len(item) != 32 for item in proof):
        return False
    if old == size:
        return not proof and old_root == root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = path[0]
    for item in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            first, second = node_hash(item, first), node_hash(item, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, item)
        node, last = node >> 1, last >> 1
    return last == 0 and first == old_root and second == root


def hash_lines(text: str) -> list[bytes]:
    """Proof lines: base64, one hash each."""
    return [unbase64(line) for line in text.split("\n") if line]


def read_proof(data: bytes) -> tuple[int, list[bytes], bytes]:
    """A tlog-proof: index, proof, and the checkpoint as it stands in it."""
    head, separator, note = data.partition(b"\n\n")
    lines = head.decode(errors="replace").split("\n")
    if not separator or lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise BadError("not a tlog-proof")
    if lines and lines[0].startswith("extra "):
        lines.pop(0)
    words = lines.pop(0).split(" ") if lines else []
    if len(words) != 2 or words[0] != "index" or not _DECIMAL.fullmatch(words[1]):
        raise BadError("a tlog-proof has no index")
    return int(words[1]), [unbase64(line) for line in lines], note


# --- leaves ---------------------------------------------------------------------------------------------------------------


class Leaf:
    """One entry, taken apart as far as the checks need."""

    def __init__(self, seq: int, data: bytes, detached: bytes | None = None) -> None:
        self.seq, self.data, self.hash = seq, data, leaf_hash(data)
        self.detached = detached
        try:
            first, end, rest = data.partition(b"\n")
            self.header: Json = json.loads(first if end else b"")
            self.kind = str(self.header.get("of") or self.header["k"])
        except _MALFORMED:
            raise BadError("it is not a leaf") from None
        self.rest = rest

    def attributes(self) -> dict[str, str]:
        """`id`, `type`, `causationid` and the other attributes of the event, as far as they are at hand."""
        if self.kind not in ("event", "unparsed", "unverified", "duplicate"):
            return {}
        try:
            return self._attributes()
        except _MALFORMED:
            return {}

    def _attributes(self) -> dict[str, str]:
        line, value = self._body()
        if line is None:
            return {}
        said = json.loads(line)
        _header("key", said["key"]) if "key" in said else _header("key;base64", said["key;base64"])
        headers = [_header(name, text) for name, text in said["h"]]
        if not str(self.header.get("m")).startswith("application/cloudevents+json"):
            # Of two with one name the first counts, for every reader.
            told = {name[3:]: data for name, data in reversed(headers) if str(name).startswith("ce_")}
            return {name: data.decode(errors="replace") for name, data in told.items() if data is not None}
        document = json.loads(value or b"{}")
        named = document.items() if isinstance(document, dict) else ()
        return {name: str(text) for name, text in named if name != "data" and text is not None}

    def _body(self) -> tuple[bytes | None, bytes | None]:
        """The line of key and headers, and the value, as far as they are at hand."""
        rest = self.detached if self.header.get("d") == "body" else self.rest
        if rest is None:
            return None, None
        line, _, value = rest.partition(b"\n")
        found = self.detached if self.header.get("d") == "value" else value
        return line, None if self.header.get("nil") else found

    def closes(self) -> bool:
        """Whether it closes its incident. Raises when it may name the closing and cannot be read."""
        if self.kind != "event":
            return False
        # Most need not be taken apart: the name stands in a closing that is neither detached nor spelt otherwise.
        if self.detached is None and CLOSED.encode() not in self.data and b"\\u" not in self.data:
            return False
        return self._attributes().get("type") == CLOSED

    def orders(self) -> tuple[str, Json] | None:
        """Of an event that says that data was erased or held: kind and facts of the entry that is made of it."""
        named = self.attributes()
        if self.kind != "event" or named.get("type") != ERASED:
            return None
        try:
            said = json.loads(self._body()[1] or b"null")
            if str(self.header.get("m")).startswith("application/cloudevents+json"):
                said = said["data"]
            facts = {"event": named["id"], "organisation": named["organisation"], "by": named["actor"]}
            facts |= {name: said[name] for name in ("person", "ground", "fields")}
            kind = "hold" if said.get("on_hold") else "erasure"
        except _MALFORMED:
            return None
        return None if None in facts.values() else (kind, facts)

    def is_ordered_by(self, before: "Leaf | None") -> bool:
        """Of an erasure or a hold: whether the event before it says so."""
        ordered = before.orders() if before is not None and before.seq == self.seq - 1 else None
        return ordered is not None and ordered[0] == self.kind and ordered[1].items() <= self.header.items()

    @cached_property
    def values(self) -> set[str]:
        """Every text in what the event says: there a commitment stands."""
        if self.kind not in IN_CHAINS:
            return set()
        try:
            return set(_texts(json.loads(self._body()[1] or b"null")))
        except _MALFORMED:
            return set()


def _header(name: str, text: str | None) -> tuple[str, bytes | None]:
    """One header as it was received: what is not UTF-8 stands as base64 under a name that says so."""
    if text is None:
        return name, None
    if name.endswith(";base64"):
        return name.removesuffix(";base64"), base64.b64decode(text)
    return name, text.encode()


def _texts(value: Any) -> Iterator[str]:
    left = [value]  # it may nest deeper than one may call
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | list):
            left += item.values() if isinstance(item, dict) else item


class Walk:
    """Rules between the entries of a whole log: chains, seals, partitions, indexes."""

    def __init__(self, report: Report, fetch: Callable[[str], bytes], policy: Policy | None) -> None:
        self.report, self.fetch = report, fetch
        self.known = {key.keyid for key in policy.logs} if policy else set()
        self.changes: list[tuple[int, set[bytes]]] = []
        self.chains: dict[str, tuple[int, int, bytes, bool]] = {}
        self.offsets: dict[tuple[str, int], int] = {}
        self.kinds: dict[str, int] = {}
        self.indexes = 0
        self.before: Leaf | None = None
        self.rows: dict[str, bytes] = {}
        """Hashes of the rows of an index, of the chains that did not go on since the last one."""
        self.closed: Checkpoint | None = None

    def take(self, seq: int, data: bytes) -> None:
        before, self.before = self.before, None
        try:
            leaf = Leaf(seq, data)
            if "sha256" in leaf.header:
                self._detached(leaf)
            self.before = leaf
            self.kinds[leaf.kind] = self.kinds.get(leaf.kind, 0) + 1
            if leaf.kind in IN_CHAINS:
                self._chain(leaf)
            elif {"i", "n", "prev"} & set(leaf.header):
                self.report.offend("chains", f"an entry of kind {leaf.kind} claims a place in a chain", seq)
            if leaf.kind in IN_PARTITIONS:
                self._partition(leaf)
            elif leaf.kind in OWN:
                self._own(leaf, before)
            elif leaf.kind not in IN_CHAINS:
                raise BadError(f"its kind {leaf.kind} is not known")
        except BadError as error:
            self.report.offend("chains", str(error), seq)
        except _MALFORMED:
            self.report.offend("chains", "its header lacks what its kind needs", seq)

    def finish(self) -> None:
        _find_strangers(self.report, self.changes, self.known)
        for subject, (seq, _, _, closes) in self.chains.items():
            if closes:
                self.report.offend("seals", f"{subject} was closed by it, and no seal follows", seq)

    def _detached(self, leaf: Leaf) -> None:
        digest = str(leaf.header["sha256"])
        # It becomes a path: a log must not choose which.
        data = self.fetch(f"detached/{digest}") if re.fullmatch(r"[0-9a-f]{64}", digest) else b""
        if hashlib.sha256(data).hexdigest() != digest or len(data) != leaf.header["size"]:
            self.report.offend("detached", "its detached part is not the one that it names", leaf.seq)
        else:
            leaf.detached = data

    def _chain(self, leaf: Leaf) -> None:
        subject, n, prev = leaf.header["i"], leaf.header["n"], leaf.header["prev"]
        before = self.chains.get(subject)
        wanted = (before[1] + 1, before[2].hex()) if before else (0, None)
        if (n, prev) != wanted:
            self.report.offend("chains", f"{subject} needs n={wanted[0]} after {wanted[1]}, not n={n}", leaf.seq)
        if before and before[3] and leaf.kind != "seal":
            self.report.offend("seals", f"{subject} was closed by it, and no seal follows", before[0])
        if leaf.kind == "seal" and not (before and before[3]):
            self.report.offend("seals", f"it seals {subject}, which was not closed", leaf.seq)
        self.chains[subject] = (leaf.seq, n, leaf.hash, leaf.closes())
        self.rows.pop(subject, None)

    def _partition(self, leaf: Leaf) -> None:
        stream = _stream(leaf)
        expected, offset = self.offsets.get(stream, 0), leaf.header["o"]
        end = leaf.header["end"] if leaf.kind == "gap" else offset + 1
        if offset != expected or end <= offset:
            self.report.offend(
                "partitions", f"{stream[0]}-{stream[1]} goes on at offset {offset}, not {expected}", leaf.seq
            )
        self.offsets[stream] = end

    def _own(self, leaf: Leaf, before: Leaf | None) -> None:
        if leaf.kind == "index":
            self._index(leaf)
        elif leaf.kind == "restore":
            self._restore(leaf)
        elif leaf.kind == "key":
            self.changes.append(_judge_keys(self.report, leaf, str(self.report.facts["origin"])))
        elif leaf.kind in ("erasure", "hold") and not leaf.is_ordered_by(before):
            self.report.offend("erasures", NOT_ORDERED, leaf.seq)

    def _index(self, leaf: Leaf) -> None:
        self.indexes += 1
        for subject in self.chains.keys() - self.rows.keys():
            last, n, head, _ = self.chains[subject]
            self.rows[subject] = leaf_hash(index_line(subject, n + 1, head.hex(), last))
        tree = Frontier()
        for subject in sorted(self.rows, key=str.encode):
            tree.append(self.rows[subject])
        said = (leaf.header["size"], leaf.header["rows"], leaf.header["root"])
        if said != (leaf.seq, tree.size, tree.root().hex()):
            self.report.offend("index", "it is not the index of the entries before it", leaf.seq)

    def _restore(self, leaf: Leaf) -> None:
        closed = Checkpoint(Note(leaf.header["note"].encode()).text)
        said = (leaf.header["origin"], leaf.header["size"], leaf.header["root"])
        if said != (closed.origin, closed.size, closed.root.hex()):
            self.report.offend(
                "restore", "it is not at the checkpoint that it quotes that another log was closed", leaf.seq
            )
        if leaf.seq != 0 or closed.origin == self.report.facts.get("origin"):
            self.report.offend("restore", "a log says first, or never, that it goes on from another one", leaf.seq)
        self.closed = closed


def _stream(leaf: Leaf) -> tuple[str, int]:
    """The partition that it came from. Raises `TypeError`."""
    topic, partition = leaf.header["s"], leaf.header["p"]
    if not isinstance(topic, str) or type(partition) is not int:
        raise TypeError("a partition has a name and a number")
    return topic, partition


def canonical(document: Json) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def index_line(subject: str, n: int, head: str, last: int) -> bytes:
    return canonical({"head": head, "i": subject, "last": last, "n": n})


# --- a bundle -------------------------------------------------------------------------------------------------------------


def pack(files: dict[str, bytes]) -> bytes:
    """The one zip archive of these files: stored, in the order of their names, without dates. Raises `BadError`."""
    if len(files) > MAX_BUNDLE_FILES:
        raise BadError(f"the bundle has more than {MAX_BUNDLE_FILES} files")
    body: list[bytes] = []
    directory: list[bytes] = []
    at = 0
    for name in sorted(files):
        data, path = files[name], name.encode()
        facts = struct.pack("<HHHHIII", 0x0800, 0, 0, 0x21, binascii.crc32(data), len(data), len(data))
        facts += struct.pack("<HH", len(path), 0)
        directory.append(b"PK\x01\x02" + struct.pack("<HH", 20, 20) + facts)
        directory.append(struct.pack("<HHHII", 0, 0, 0, 0, at) + path)
        head = b"PK\x03\x04" + struct.pack("<H", 20) + facts + path
        body += (head, data)
        at += len(head) + len(data)
    names, count = b"".join(directory), len(files)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(names), at, 0)
    return b"".join((*body, names, end))


def unpack(place: Path) -> dict[str, bytes]:
    """The files of a bundle, from the archive or from a folder into which it was unpacked."""
    if place.is_dir():
        return _unpacked(place)
    data = read_file(place, MAX_BUNDLE_BYTES)
    files: dict[str, bytes] = {}
    at = 0
    try:
        while data.startswith(b"PK\x03\x04", at) and len(files) <= MAX_BUNDLE_FILES:
            size, length = struct.unpack_from("<IH", data, at + 22)
            start = at + 30 + length
            at = start + size
            name = data[start - length : start].decode()
            if name in files:
                raise BadError(f"the archive has {name} twice")
            files[name] = data[start:at]
    except (UnicodeDecodeError, struct.error):
        raise BadError("the archive is damaged") from None
    # What the rest of it says, and whatever else an archive could say in two ways, is judged by this alone.
    if pack(files) != data:
        raise BadError("the archive is not, byte for byte, one that was handed out: it is damaged, or was packed anew")
    return files


def _unpacked(folder: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = MAX_BUNDLE_BYTES
    for file in folder.rglob("*"):
        if file.is_symlink() or len(files) > MAX_BUNDLE_FILES:
            raise BadError("a bundle has no links" if file.is_symlink() else "the bundle has too many files")
        if not file.is_dir():
            data = read_file(file, left)
            files[file.relative_to(folder).as_posix()] = data
            left -= len(data)
    return files


def read_file(file: Path, most: int) -> bytes:
    """Raises `OSError`, and `UnreadableError` for what is not a file, or longer than it may be."""
    facts = file.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise UnreadableError(f"{file} is not a file")
    if facts.st_size > most:
        raise UnreadableError(f"{file} is longer than it may be")
    return file.read_bytes()


def _no_number(constant: str) -> None:
    """What Python reads in JSON and writes into a report, and no other reader does."""
    raise ValueError(f"{constant} is no JSON")


class Bundle:
    """The checks of one bundle, in their order."""

    def __init__(self, files: dict[str, bytes], options: "Options") -> None:
        self.files, self.options = files, options
        self.report = Report()
        self.leaves: dict[int, Leaf] = {}
        self.manifest: Json = {}
        self.checkpoint: Checkpoint | None = None
        self.policy: Policy | None = None
        self.earlier: dict[int, Checkpoint] = {}

    def check(self) -> Report:
        steps: list[tuple[str, Callable[[], str | None]]] = [
            ("manifest", self._manifest),
            ("policy", self._policy),
            ("signature", self._signature),
            ("quorum", self._quorum),
            ("leaves", self._leaves),
            ("inclusion", self._inclusion),
            ("chain", self._chain),
            ("index", self._index),
            ("seal", self._seal),
            ("export", self._export),
            ("consistency", self._consistency),
            ("partitions", self._partitions),
            ("disclosures", self._disclosures),
            ("erasures", self._erasures),
            ("timestamps", self._timestamps),
            ("keys", self._keys),
        ]
        self.report.order = [name for name, _ in steps]
        for name, step in steps:
            undecided = unchecked = None
            detail = ""
            try:
                detail = step() or ""
            except BadError as error:
                self.report.offend(name, str(error))
            except UnreadableError as error:
                undecided = str(error)
            except NotChecked as error:
                unchecked = str(error)
            except _MALFORMED as error:
                self.report.offend(name, f"what it needs is malformed ({type(error).__name__})")
            self.report.conclude(name, detail, undecided, unchecked)
        self._causes()
        self._tell()
        return self.report

    def told(self) -> list[tuple[int, bytes]]:
        """The incident's entries, place and hash. Raises `BrokenError` when they are not those that are listed."""
        try:
            self._manifest()
            self._leaves()
            entries = self._entries()
        except _MALFORMED as error:
            raise BadError(f"the bundle is malformed ({type(error).__name__})") from None
        for offence in self.report.offences:
            raise BrokenError(offence["seq"], offence["reason"])
        return [(leaf.seq, leaf.hash) for leaf in entries]

    def _file(self, name: str) -> bytes:
        if name not in self.files:
            raise BadError(f"{name} is missing")
        return self.files[name]

    def _manifest(self) -> str:
        data = self._file("MANIFEST.json")
        manifest = json.loads(data, parse_constant=_no_number)
        if canonical(manifest) != data or manifest.get("format") != BUNDLE_FORMAT:
            raise BadError(f"MANIFEST.json is not a manifest of {BUNDLE_FORMAT}")
        listed = manifest["files"]
        beside = {"MANIFEST.json", "MANIFEST.note"}
        for name in sorted({*listed, *self.files} - beside):
            if name not in listed or name not in self.files:
                self.report.offend("manifest", f"{name} is {'not listed' if name in self.files else 'missing'}")
                continue
            said = {"sha256": hashlib.sha256(self.files[name]).hexdigest(), "size": len(self.files[name])}
            if said != listed[name]:
                match = re.match(r"(?:entries|proofs)/([0-9]+)\.", name)
                self.report.offend("manifest", f"{name} was changed", int(match[1]) if match else None)
        self.manifest = manifest
        self.report.facts = {
            key: manifest.get(key) for key in ("incident", "organisation", "origin", "size", "entries", "as_of")
        }
        return f"{len(listed)} files, each with the hash that is listed"

    def _policy(self) -> str:
        given = self.options.policy
        if given is None:
            self.policy = Policy(self._file("policy.txt").decode(errors="surrogateescape"))
            raise UnreadableError(
                "no policy or key was given by the reader; the bundle's own was used, which proves nothing about who signed"
            )
        self.policy = given
        return f"the reader's: {len(given.logs)} keys of the log, {len(given.witnesses)} of witnesses"

    def _signature(self) -> str:
        policy = self._needed_policy()
        note = Note(self._file("checkpoint"))
        self.checkpoint = Checkpoint(note.text)
        signed = _log_signatures(policy, note, self.checkpoint)
        said = (self.manifest.get("origin"), self.manifest.get("size"))
        if said != (self.checkpoint.origin, self.checkpoint.size):
            raise BadError("the manifest speaks of another checkpoint")
        manifest = Note(self._file("MANIFEST.note"))
        if manifest.text != f"{BUNDLE_FORMAT}\n{hashlib.sha256(self._file('MANIFEST.json')).hexdigest()}\n":
            raise BadError("MANIFEST.note is not about this manifest")
        keys = [key for key in policy.logs if key.name == self.checkpoint.origin]
        if all(key.kind == MLDSA44 for key in keys):
            raise UnreadableError("the log signs a manifest with Ed25519 alone, and no such key of it was given")
        if len(manifest.signatures) != 1 or not any(manifest.signed_by(key) for key in keys):
            raise BadError("the manifest is not signed by a key of the log that the reader trusts")
        return signed

    def _quorum(self) -> str:
        return _quorum(self._needed_policy(), Note(self._file("checkpoint")))

    def _needed_policy(self) -> Policy:
        if self.policy is None:
            raise UnreadableError("there is no policy to check it by")
        return self.policy

    def _needed_checkpoint(self) -> Checkpoint:
        if self.checkpoint is None:
            raise UnreadableError("there is no checkpoint to check it by")
        return self.checkpoint

    def _leaves(self) -> str:
        for name in sorted(self.files):
            match = re.fullmatch(r"entries/(0|[1-9][0-9]*)\.leaf", name)
            if not match:
                continue
            seq = int(match[1])
            try:
                leaf = Leaf(seq, self.files[name], self.files.get(f"entries/{seq}.detached"))
                if "sha256" in leaf.header and leaf.detached is None:
                    raise BadError("its detached part is missing")
                if leaf.detached is not None and (
                    leaf.header.get("sha256") != hashlib.sha256(leaf.detached).hexdigest()
                    or leaf.header.get("size") != len(leaf.detached)
                ):
                    raise BadError("its detached part is not the one that it names")
            except BadError as error:
                self.report.offend("leaves", str(error), seq)
                continue
            self.leaves[seq] = leaf
        return f"{len(self.leaves)} entries, each hashed again"

    def _inclusion(self) -> str:
        checkpoint, note = self._needed_checkpoint(), self._file("checkpoint")
        for seq, leaf in sorted(self.leaves.items()):
            try:
                index, proof, own = read_proof(self._file(f"proofs/{seq}.tlog-proof"))
            except BadError as error:
                self.report.offend("inclusion", str(error), seq)
                continue
            if index != seq or own != note:
                self.report.offend("inclusion", "its proof is of another entry or another checkpoint", seq)
            elif not is_included(seq, checkpoint.size, leaf.hash, proof, checkpoint.root):
                self.report.offend("inclusion", "it is not in the log of the checkpoint", seq)
        return f"{len(self.leaves)} entries are in the signed log of {checkpoint.size}"

    def _own(self, kind: str) -> list[Leaf]:
        return [leaf for _, leaf in sorted(self.leaves.items()) if leaf.kind == kind]

    def _entries(self) -> list[Leaf]:
        incident = self.manifest["incident"]
        return [
            leaf
            for _, leaf in sorted(self.leaves.items())
            if leaf.kind in IN_CHAINS and leaf.header.get("i") == incident
        ]

    def _chain(self) -> str:
        previous: str | None = None
        entries = self._entries()
        for n, leaf in enumerate(entries):
            if leaf.header["n"] != n or leaf.header["prev"] != previous:
                self.report.offend("chain", f"entry n={n} of the incident does not follow the one before it", leaf.seq)
                break
            previous = leaf.hash.hex()
        own = {leaf.seq for leaf in entries}
        stray = [leaf for leaf in self.leaves.values() if leaf.kind in IN_CHAINS and leaf.seq not in own]
        for leaf in stray:
            if leaf.header.get("i") != f"org-{self.manifest['organisation']}":
                self.report.offend("chain", "it is of another incident", leaf.seq)
        if not entries:
            return f"no entry of {self.manifest['incident']} is in the evidence"
        return f"{len(entries)} entries, n from 0 to {len(entries) - 1}, each naming the one before"

    def _index(self) -> str:
        entries, said = self._entries(), self.manifest["index"]
        leaf = self.leaves.get(said["seq"])
        if leaf is None or leaf.kind != "index" or leaf.header["size"] != leaf.seq:
            raise BadError("the index leaf is not in the bundle")
        root, rows = bytes.fromhex(leaf.header["root"]), leaf.header["rows"]
        document = json.loads(self._file("index/rows.json"))
        found = []
        for row in document["rows"]:
            line = row["line"].encode()
            proof = [unbase64(item) for item in row["proof"]]
            if not is_included(row["at"], rows, leaf_hash(line), proof, root):
                raise BadError(f"row {row['at']} is not in the index")
            found.append((row["at"], json.loads(line), line))
        incident, size = self.manifest["incident"], leaf.header["size"]
        if self.manifest["as_of"] != size:
            raise BadError(f"the bundle says as of {self.manifest['as_of']}, and its index is of {size}")
        own = [(parsed, line) for _, parsed, line in found if parsed["i"] == incident]
        if own:
            parsed, line = own[0]
            if line != index_line(incident, parsed["n"], parsed["head"], parsed["last"]):
                raise BadError("the row of the index is not in its one form")
            covered = [entry for entry in entries if entry.seq < size]
            last = covered[-1] if covered else None
            got = (len(covered), last.hash.hex() if last else None, last.seq if last else None)
            if got != (parsed["n"], parsed["head"], parsed["last"]):
                raise BadError(
                    f"as of {size} the incident has {parsed['n']} entries, and the bundle has {len(covered)}"
                )
            exactly = f"exactly {parsed['n']} entries as of the log of {size}, the last of them entry {parsed['last']}"
            return f"{exactly}; {INDEX_SAYS}"
        self._absent(found, incident, rows, len(entries))
        return f"no entry of {incident} as of the log of {size}; {INDEX_SAYS}"

    @staticmethod
    def _absent(found: list[tuple[int, Json, bytes]], incident: str, rows: int, entries: int) -> None:
        below = [at for at, row, _ in found if row["i"].encode() < incident.encode()]
        above = [at for at, row, _ in found if row["i"].encode() > incident.encode()]
        left, right = max(below, default=-1), min(above, default=rows)
        if entries or right != left + 1 or (left == -1 and right == rows and rows):
            raise BadError("the index neither has the incident nor two neighbours that leave no place for it")

    def _seal(self) -> str:
        entries = self._entries()
        for before, leaf in zip([None, *entries], entries, strict=False):
            closes = before is not None and before.closes()
            if closes != (leaf.kind == "seal"):
                at = leaf if leaf.kind == "seal" else before
                what = (
                    "it seals what was not closed"
                    if leaf.kind == "seal"
                    else "it closed the incident, and no seal follows"
                )
                self.report.offend("seal", what, at.seq if at else None)
        if entries and entries[-1].closes():
            self.report.offend("seal", "it closed the incident, and no seal follows", entries[-1].seq)
        if entries and entries[-1].kind == "seal":
            return f"sealed by entry {entries[-1].seq}; nothing stands behind it"
        return "not sealed: more may be added to the incident"

    def _export(self) -> str:
        seq = self.manifest["export"]
        leaf = self.leaves.get(seq)
        if leaf is None or leaf.kind != "export":
            raise BadError("the log has no entry that says that this bundle was handed out")
        facts, entries = leaf.header, [entry for entry in self._entries() if entry.seq < self.manifest["as_of"]]
        said = (facts["incident"], facts["organisation"], facts["entries"], facts["head"], facts["index"])
        head = entries[-1].hash.hex() if entries else None
        own = (self.manifest["incident"], self.manifest["organisation"], len(entries), head)
        if said != (*own, self.manifest["index"]["seq"]) or own[2:] != (
            self.manifest["entries"],
            self.manifest["head"],
        ):
            raise BadError("the log's entry about this bundle says something else than the bundle")
        if facts["index"] != seq - 1:
            raise BadError("the index is not the one that was made for this bundle: it may lack what came since")
        return f"handed out by entry {seq}"

    def _consistency(self) -> str:
        checkpoint, policy = self._needed_checkpoint(), self._needed_policy()
        for name in sorted(self.files):
            if re.fullmatch(r"previous/[1-9][0-9]*", name):
                if not int(name[9:]) == Checkpoint(Note(self.files[name]).text).size <= checkpoint.size:
                    raise BadError(f"{name} is of another size")
                self.earlier[int(name[9:])] = self._continued(name[9:], self.files[name], policy, checkpoint)
        for number, data in enumerate(self.options.earlier):
            older = Checkpoint(Note(data).text)
            self._continued(f"of the reader, number {number + 1}", data, policy, checkpoint)
            self.earlier[older.size] = older
        return f"the log is one with {len(self.earlier)} other checkpoints of it"

    def _continued(self, name: str, data: bytes, policy: Policy, newest: Checkpoint) -> Checkpoint:
        note = Note(data)
        kept = Checkpoint(note.text)
        _log_signatures(policy, note, kept)
        if kept.origin != newest.origin:
            raise UnreadableError(f"the checkpoint {name} is of {kept.origin}: of that log this bundle says nothing")
        if kept.size in (newest.size, 0):
            if kept.size and kept.root != newest.root:
                raise BadError(f"two roots were signed for the size {kept.size}: the log was forked")
            return kept
        # What the reader kept may be newer than the bundle.
        older, newer = sorted((kept, newest), key=lambda checkpoint: checkpoint.size)
        proof = self.files.get(f"consistency/{older.size}-{newer.size}", self.options.proofs.get(older.size))
        if proof is None:
            raise UnreadableError(
                f"no proof leads from {older.size} to {newer.size}; ask the log for "
                f"/v1/consistency?from={older.size}&to={newer.size} and give it with --proof {older.size}=FILE"
            )
        if not is_consistent(older.size, newer.size, older.root, newer.root, hash_lines(proof.decode())):
            raise BadError(f"the log of {newer.size} entries does not continue that of {older.size}, which was signed")
        return kept

    def _partitions(self) -> str:
        document = json.loads(self._file("gaps.json"))
        places: dict[tuple[str, int], list[Leaf]] = {}
        for _, leaf in sorted(self.leaves.items()):
            if leaf.kind in IN_PARTITIONS:
                places.setdefault(_stream(leaf), []).append(leaf)
        for stream, leaves in places.items():
            for one, other in itertools.pairwise(leaves):
                end = one.header["end"] if one.kind == "gap" else one.header["o"] + 1
                if other.header["o"] < end:
                    self.report.offend("partitions", f"{stream[0]}-{stream[1]} steps back in the log", other.seq)
        said = {(part["topic"], part["partition"]): part for part in document["partitions"]}
        gaps = 0
        for (topic, partition), leaves in places.items():
            part = said.pop((topic, partition), None)
            own = [[leaf.header["o"], leaf.seq] for leaf in leaves if leaf.kind != "gap"]
            holes = [[leaf.header["o"], leaf.header["end"], leaf.seq] for leaf in leaves if leaf.kind == "gap"]
            gaps += len(holes)
            if part is None or part["entries"] != own or part["gaps"] != holes:
                raise BadError(f"gaps.json does not say what the entries of {topic}-{partition} say")
        if said:
            raise BadError("gaps.json speaks of a partition that no entry comes from")
        return f"{len(places)} partitions in the order of their offsets, {gaps} accounted gaps; the rest is other entries' (log check)"

    def _disclosures(self) -> str:
        shown = erased = 0
        export = self.leaves.get(self.manifest["export"])
        told: set[str] = set()
        for name in sorted(self.files):
            match = re.fullmatch(r"disclosures/([0-9]+)\.json", name)
            if not match:
                continue
            leaf = self.leaves.get(int(match[1]))
            if leaf is None:
                raise BadError(f"{name} is about an entry that is not here")
            for item in json.loads(self.files[name])["fields"]:
                told.add(item["digest"])
                if item["digest"] not in leaf.values:
                    self.report.offend("disclosures", f"{item['digest']} is not committed to by it", leaf.seq)
                if item.get("disclosure") is None:
                    erased += 1
                    continue
                shown += 1
                if read_disclosure(item["disclosure"])[0] != item["digest"]:
                    self.report.offend(
                        "disclosures", f"what is shown is not what {item['digest']} commits to", leaf.seq
                    )
        if export is not None and told != set(export.header["disclosed"]):
            raise BadError("the fields that are shown are not those that the log says were asked for")
        return f"{shown} fields shown are what their entries commit to, {erased} cannot be shown"

    def _erasures(self) -> str:
        erased: set[int] = set()
        for name in sorted(self.files):
            if not re.fullmatch(r"disclosures/[0-9]+\.json", name):
                continue
            seq = int(name.partition("/")[2][:-5])
            for item in json.loads(self.files[name])["fields"]:
                if item.get("disclosure") is not None:
                    continue
                by = item.get("erased_by") or []
                self._erased_by(by, seq)
                if not by:
                    self.report.findings.append(
                        {"finding": "not_shown_without_erasure", "seq": seq, "digest": item["digest"]}
                    )
                erased |= set(by)
        for leaf in self._own("erasure"):
            if leaf.header["organisation"] != self.manifest["organisation"]:
                raise BadError("an erasure is of another organisation")
        return "no field was erased" if not erased else f"erased by entries {', '.join(map(str, sorted(erased)))}"

    def _erased_by(self, places: Sequence[int], seq: int) -> None:
        for at in set(places):
            if at not in self.leaves or self.leaves[at].kind != "erasure":
                raise BadError("an erasure is named that the log does not have")
            if self.leaves[at].header["person"] not in self._named:
                self.report.offend("erasures", "it erased somebody whom the incident does not name", at)
            if at < seq:
                self.report.offend("erasures", f"entry {seq} stands behind it, and is said to be erased by it", at)
            if at - 1 not in self.leaves:
                # Bundles of earlier releases do not have it.
                found = {"finding": "erasure_without_its_event", "seq": at}
                self.report.findings += [found] if found not in self.report.findings else []
            elif not self.leaves[at].is_ordered_by(self.leaves[at - 1]):
                self.report.offend("erasures", NOT_ORDERED, at)

    @cached_property
    def _named(self) -> set[str]:
        """Every text that an entry of the incident says, and who acted."""
        entries = self._entries()
        actors = {leaf.attributes().get("actor", "").partition("/")[0] for leaf in entries}
        return actors.union(*(leaf.values for leaf in entries))

    def _timestamps(self) -> str:
        anchors = {leaf.header["size"]: leaf for leaf in self._own("anchor")}
        times: list[tuple[int, datetime]] = []
        unchecked = 0
        for name in sorted(self.files):
            match = re.fullmatch(r"timestamps/([0-9]+)\.tsr", name)
            if not match:
                continue
            size, response = int(match[1]), self.files[name]
            anchor, note = anchors.get(size), self._file(f"previous/{size}")
            if anchor is None or anchor.header["response"] != hashlib.sha256(response).hexdigest():
                raise BadError(f"the log has no anchor for the timestamp of {size}")
            if anchor.header["note"] != hashlib.sha256(note).hexdigest():
                raise BadError(f"the anchor of {size} is for another checkpoint")
            stamp = Stamp(response)
            if stamp.imprint != hashlib.sha256(note).digest():
                raise BadError(f"the timestamp of {size} is over something else")
            times.append((size, stamp.time))
            if stamp.verifies(self.options.tsa_roots) is None:
                unchecked += 1
        if any(later[1] < earlier[1] for earlier, later in zip(sorted(times), sorted(times)[1:], strict=False)):
            raise BadError("a later checkpoint bears an earlier timestamp")
        if not times:
            raise NotChecked("the bundle has no timestamp of a third party")
        said = "; ".join(f"size {size} existed at {time.isoformat()}" for size, time in sorted(times))
        if unchecked:
            raise NotChecked(f"{said}; signatures of the authority need the package cryptography and --tsa-root")
        return said

    def _keys(self) -> str:
        known, origin = {key.keyid for key in self._needed_policy().logs}, self._needed_checkpoint().origin
        changes = [_judge_keys(self.report, leaf, origin) for leaf in self._own("key")]
        _find_strangers(self.report, changes, known)
        return f"{len(changes)} changes of keys, each signed by the old one"

    def _causes(self) -> None:
        places: dict[str, int] = {}
        try:
            entries = self._entries()
        except (KeyError, TypeError):
            return
        for leaf in entries:
            places.setdefault(leaf.attributes().get("id", ""), leaf.seq)
        spoken: dict[str | None, int] = {}
        for leaf in entries:
            self._turn(leaf, spoken)
            cause = leaf.attributes().get("causationid")
            if cause and places.get(cause, -1) > leaf.seq:
                self.report.findings.append({"finding": "cause_later", "seq": leaf.seq, "cause": places[cause]})
            elif cause and cause not in places:
                self.report.findings.append({"finding": "cause_not_in_incident", "seq": leaf.seq, "cause": cause})

    def _tell(self) -> None:
        """What the entries say, in few words of their own: the page in the bundle may tell it otherwise."""
        try:
            entries = self._entries()
        except (KeyError, TypeError):
            return
        named = [(leaf, leaf.attributes()) for leaf in entries]
        self.report.facts["timeline"] = [
            {"seq": leaf.seq, "says": said.get("type", leaf.kind), "at": said.get("time"), "by": said.get("actor")}
            for leaf, said in named
        ]

    def _turn(self, leaf: Leaf, spoken: dict[str | None, int]) -> None:
        """Each source counts what it says about the incident from 1: what it said and is not here leaves a hole."""
        named = leaf.attributes()
        source, said = named.get("source"), named.get("sequence", "")
        if not re.fullmatch("[0-9]{10}", said, re.ASCII):
            return
        due = spoken.get(source, 0) + 1
        spoken[source] = max(int(said), due - 1)
        if int(said) != due:
            finding = "sequence_gap" if int(said) > due else "sequence_step_back"
            self.report.findings.append({"finding": finding, "seq": leaf.seq, "source": source, "due": due})


def _judge_keys(report: Report, leaf: Leaf, origin: str) -> tuple[int, set[bytes]]:
    """Whether the old key signed that the log goes on with others. Where that stands, and the ids of all of them."""
    keys = leaf.header["keys"]
    if not isinstance(keys, list):
        raise TypeError("a log goes on with a list of keys")
    old, new = Key.parse(leaf.header["signed"]), {Key.parse(vkey).keyid for vkey in keys}
    statement = b"lostphone.log-keys/v1\n" + canonical({"keys": keys, "origin": origin})
    signature = unbase64(leaf.header["signature"])
    if old.kind != ED25519 or not ed25519_verifies(old.public, statement, signature):
        report.offend("keys", "the old key did not sign the change of keys", leaf.seq)
    return leaf.seq, {old.keyid, *new}


def _find_strangers(report: Report, changes: Sequence[tuple[int, set[bytes]]], known: set[bytes]) -> None:
    """Changes that do not lead to a key of the reader's: who knows the newest one knows by it those before."""
    for seq, keys in reversed(changes):
        if known & keys:
            known = known | keys
        else:
            report.findings.append({"finding": "keys_changed_outside_the_policy", "seq": seq})


class NotChecked(Exception):  # noqa: N818 - not an error
    """Something is there and cannot be checked here; it takes nothing away from the rest."""


def read_disclosure(text: str) -> tuple[str, str, str]:
    """Digest, name and value of an RFC 9901 disclosure."""
    padded = text + "=" * (-len(text) % 4)
    array = json.loads(base64.urlsafe_b64decode(padded))
    if not (isinstance(array, list) and len(array) == 3 and all(isinstance(part, str) for part in array)):
        raise BadError("a disclosure is an array of salt, name and value")
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode("ascii")).digest()).rstrip(b"=").decode()
    return digest, array[1], array[2]


def _log_signatures(policy: Policy, note: Note, checkpoint: Checkpoint) -> str:
    # All are asked: a wrong signature of any key that is known refuses the note.
    verdicts = [(key, note.signed_by(key)) for key in policy.logs]
    verdicts = [(key, verdict) for key, verdict in verdicts if key.name == checkpoint.origin]
    good = [key for key, verdict in verdicts if verdict]
    unknown = [key for key, verdict in verdicts if verdict is None]
    if not good and unknown:
        raise UnreadableError("only ML-DSA-44 keys were given, and the package cryptography is not here")
    if not good:
        raise BadError("no key of the log that the reader trusts signed the checkpoint")
    more = f"; not checked here: {', '.join(map(str, unknown))}" if unknown else ""
    return f"signed by {', '.join(map(str, good))}{more}"


def _quorum(policy: Policy, note: Note) -> str:
    signed, unknown = set(), set()
    for name, key in policy.witnesses.items():
        verdict = note.signed_by(key)
        if verdict:
            signed.add(name)
        elif verdict is None:
            unknown.add(name)
    if policy.fulfilled(signed):
        return f"cosigned by {', '.join(sorted(signed)) or 'nobody'}; the policy asks for {policy.quorum}"
    if policy.fulfilled(signed | unknown):
        raise UnreadableError("the quorum rests on ML-DSA-44 signatures, and the package cryptography is not here")
    raise BadError(f"the witnesses that the policy asks for ({policy.quorum}) did not sign")


# --- RFC 3161 -------------------------------------------------------------------------------------------------------------


class Der:
    """One element of DER: its tag, its content, its whole bytes."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.tag, length, start = data[at], data[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7F
            length, start = int.from_bytes(data[start : start + count], "big"), start + count
        self.content, self.whole, self.end = data[start : start + length], data[at : start + length], start + length
        if len(self.content) != length:
            raise BadError("a timestamp ends inside an element")

    def parts(self) -> list["Der"]:
        parts, at = [], 0
        while at < len(self.content):
            parts.append(Der(self.content, at))
            at = parts[-1].end
        return parts


_SHA = {"60864801650304020" + digit: name for digit, name in (("1", "sha256"), ("2", "sha384"), ("3", "sha512"))}
_CONTENT_TYPE, _MESSAGE_DIGEST = "2a864886f70d010903", "2a864886f70d010904"
_TST_INFO = "2a864886f70d0109100104"


_STATUS = dict(enumerate(("rejection", "waiting", "revocation warning", "revocation notification"), 2))


def _refusal(status: Sequence[Der]) -> str:
    """What an authority answered in place of a timestamp, and what the reader can do."""
    number = int.from_bytes(status[0].content, "big")
    texts = [text.content.decode(errors="replace") for part in status[1:] if part.tag == 0x30 for text in part.parts()]
    named = f", {_STATUS[number]}" if number in _STATUS else ""
    words = f": {' '.join(texts)[:200]}" if any(texts) else ""
    return f"status {number}{named}{words}; it certifies nothing: ask whoever handed this out for a bundle with a timestamp that was granted"


class Stamp:
    """A timestamp response: what it is over, and when."""

    def __init__(self, response: bytes) -> None:
        status, *tokens = Der(response).parts()
        if status.parts()[0].content not in (b"\x00", b"\x01"):
            raise BadError(f"the authority did not grant the timestamp: {_refusal(status.parts())}")
        (token,) = tokens
        signed = token.parts()[1].parts()[0].parts()
        self._signers, self._certificates = signed[-1].parts(), [part for part in signed if part.tag == 0xA0]
        kind, wrapped = signed[2].parts()
        if kind.content.hex() != _TST_INFO:
            raise BadError("the response holds no timestamp")
        self._info = wrapped.parts()[0].content
        fields = Der(self._info).parts()
        algorithm, imprint = fields[2].parts()
        if _SHA.get(algorithm.parts()[0].content.hex()) != "sha256":
            raise BadError("the timestamp is not over a SHA-256 digest")
        self.imprint = imprint.content
        text = [field for field in fields if field.tag == 0x18][0].content.decode()  # noqa: RUF015 - the right error
        whole, _, fraction = text.rstrip("Z").partition(".")
        self.time = datetime.strptime(whole, "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)  # noqa: UP017 - Python 3.9
        self.time = self.time.replace(microsecond=int((fraction + "000000")[:6]))

    def verifies(self, roots: Sequence[bytes]) -> bool | None:
        """True when the authority's key signed, and leads to one of the roots (PEM); None when that cannot be told
        here. Raises `BadError` when it is wrong."""
        try:
            from cryptography import x509  # noqa: PLC0415 - optional
        except ImportError:
            return None
        if not roots:
            return None
        try:
            certificates = [
                x509.load_der_x509_certificate(part.whole) for part in self._certificates[0].parts() if part.tag == 0x30
            ]
            trusted = [one for pem in roots for one in x509.load_pem_x509_certificates(pem)]
            signer = self._signer([*certificates, *trusted])
            self._leads_to(signer, certificates, trusted)
        except BadError:
            raise
        except Exception as error:  # noqa: BLE001 - what it raises for a certificate that is none has no common name
            raise BadError(f"the signature of the timestamp is wrong ({type(error).__name__})") from None
        return True

    def _signer(self, certificates: Sequence[Any]) -> Any:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa  # noqa: PLC0415

        parts = self._signers[0].parts()
        serial = int.from_bytes(parts[1].parts()[-1].content, "big")
        algorithm = getattr(hashes, _SHA[parts[2].parts()[0].content.hex()].upper())()
        attributes = parts[3]
        said = {one.parts()[0].content.hex(): one.parts()[1].parts()[0] for one in attributes.parts()}
        digest = hashlib.new(algorithm.name, self._info).digest()
        if (
            attributes.tag != 0xA0
            or said[_MESSAGE_DIGEST].content != digest
            or said[_CONTENT_TYPE].content.hex() != _TST_INFO
        ):
            raise BadError("the timestamp's signature is over something else")
        signed, signature = b"\x31" + attributes.whole[1:], parts[5].content
        for certificate in certificates:
            if certificate.serial_number != serial:
                continue
            usage = certificate.extensions.get_extension_for_oid(_oid("2.5.29.37")).value
            if _oid("1.3.6.1.5.5.7.3.8") not in usage:
                raise BadError("the authority's certificate is not for timestamps")
            if not certificate.not_valid_before_utc <= self.time <= certificate.not_valid_after_utc:
                raise BadError("the authority's certificate was not valid at that time")
            key = certificate.public_key()
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, signed, padding.PKCS1v15(), algorithm)
            elif isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, signed, ec.ECDSA(algorithm))
            else:
                key.verify(signature, signed)
            return certificate
        raise InvalidSignature

    def _leads_to(self, signer: Any, certificates: Sequence[Any], trusted: Sequence[Any]) -> None:
        current = signer
        for depth in range(8):
            if any(current == root for root in trusted):
                return
            if depth:
                self._may_issue(current)
            issuers = [one for one in [*trusted, *certificates] if one.subject == current.issuer and one != current]
            if not issuers:
                break
            current.verify_directly_issued_by(issuers[0])
            current = issuers[0]
        raise BadError("the authority's certificate does not lead to one that the reader trusts")

    def _may_issue(self, certificate: Any) -> None:
        """Whoever holds any certificate of a public authority could else issue one for timestamps with it."""
        basic = certificate.extensions.get_extension_for_oid(_oid("2.5.29.19")).value
        usage = [one.value for one in certificate.extensions if one.oid == _oid("2.5.29.15")]
        if not basic.ca or not all(one.key_cert_sign for one in usage):
            raise BadError("the authority's certificate was issued by one that may issue none")
        if not certificate.not_valid_before_utc <= self.time <= certificate.not_valid_after_utc:
            raise BadError("a certificate above the authority's was not valid at that time")


def _oid(dotted: str) -> Any:
    from cryptography.x509 import ObjectIdentifier  # noqa: PLC0415

    return ObjectIdentifier(dotted)


# --- a whole log ----------------------------------------------------------------------------------------------------------


class Options:
    """What the reader gives."""

    def __init__(
        self,
        policy: Policy | None = None,
        earlier: Sequence[bytes] = (),
        proofs: dict[int, bytes] | None = None,
        tsa_roots: Sequence[bytes] = (),
        token: str | None = None,
    ) -> None:
        self.policy, self.earlier, self.proofs = policy, list(earlier), proofs or {}
        self.tsa_roots, self.token = list(tsa_roots), token


def reader_of(place: str, token: str | None) -> Callable[[str], bytes]:
    """Reads the files of a log from its address or from a folder."""
    if not place.startswith(("http://", "https://")):
        folder = Path(place)

        def read_path(path: str) -> bytes:
            try:
                return read_file(folder / path, MAX_FILE_BYTES)
            except OSError as error:
                raise UnreadableError(f"{path}: {error.strerror}") from None

        return read_path

    patience = Patience()
    opener = urllib.request.build_opener(_Http(patience), _Https(patience), _Stays)
    headers = {"Accept-Encoding": "gzip, identity", **({"Authorization": f"Bearer {token}"} if token else {})}

    def read_address(path: str) -> bytes:
        request = urllib.request.Request(f"{place.rstrip('/')}/{path}", headers=headers)  # noqa: S310 - http or https, see above
        try:
            with opener.open(request, timeout=30) as answer:
                data = _body(answer)
                return unpacked(answer.headers.get("Content-Encoding", ""), data)
        except urllib.error.HTTPError as error:
            raise UnreadableError(f"{path}: HTTP {error.code}{elsewhere(error.headers.get('Location'))}") from None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise UnreadableError(f"{path}: {error}") from None
        except UnreadableError as error:
            raise UnreadableError(f"{path}: {error}") from None

    return read_address


def elsewhere(location: str | None) -> str:
    """What to do where a log sends its readers on: whoever asks decides whom else to ask, and who is shown a token."""
    return f"; it is at {location[:200]}: give that address" if location else ""


def unpacked(encoding: str, data: bytes) -> bytes:
    """What a server compressed, which tlog-tiles lets it do unasked. Raises `UnreadableError`."""
    if encoding in ("", "identity"):
        return data
    if encoding != "gzip":
        raise UnreadableError(f"it is compressed in a way that is not known here: {encoding[:40]}")
    gzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        data = gzip.decompress(data, MAX_FILE_BYTES + 1)
    except zlib.error as error:
        raise UnreadableError(f"it is not compressed as its server says: {error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise UnreadableError("it is longer than it may be")
    if not gzip.eof or gzip.unused_data:
        raise UnreadableError("what its server compressed does not end where it should")
    return data


def _body(answer: http.client.HTTPResponse) -> bytes:
    data = bytearray()
    while part := answer.read(65_536):
        data += part
        if len(data) > MAX_FILE_BYTES:
            raise UnreadableError("it is longer than it may be")
    if answer.length:
        raise UnreadableError(f"{answer.length} bytes of it did not come")
    return bytes(data)


class Patience:
    """What is left of the reader's patience with one server: it grows with what comes."""

    def __init__(self) -> None:
        self.left = PATIENCE_SECONDS

    def spend(self, seconds: float, came: int) -> None:
        """Raises `UnreadableError` when none is left."""
        self.left = min(PATIENCE_SECONDS, self.left - seconds + came / SLOWEST_BYTES)
        if self.left <= 0:
            raise UnreadableError(TOO_SLOW)


class _Coming(io.RawIOBase):
    """All that comes of one answer, its head as well: no more than a file may have, and not too slowly."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, patience: Patience) -> None:
        self._raw, self._sock, self._patience = raw, sock, patience
        self._room = MAX_FILE_BYTES + 65_536

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._patience.left)
        since = time.monotonic()
        try:
            count = self._raw.readinto(buffer) or 0
        except TimeoutError:
            raise UnreadableError(TOO_SLOW) from None
        self._patience.spend(time.monotonic() - since, count)
        self._room -= count
        if self._room < 0:
            raise UnreadableError("it is longer than it may be")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, patience: Patience, sock: socket.socket, *more: Any, **named: Any) -> None:
        super().__init__(sock, *more, **named)
        self.fp = io.BufferedReader(_Coming(self.fp.detach(), sock, patience))


def _connection(kind: Callable[..., http.client.HTTPConnection], patience: Patience, host: str, **named: Any) -> Any:
    connection = kind(host, **named)
    connection.response_class = partial(_Answer, patience)  # type: ignore[assignment] # it makes one
    return connection


class _Http(urllib.request.HTTPHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._kind = partial(_connection, http.client.HTTPConnection, patience)

    def http_open(self, request: Any) -> Any:
        return self.do_open(self._kind, request)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._kind = partial(_connection, http.client.HTTPSConnection, patience)

    def https_open(self, request: Any) -> Any:
        return self.do_open(self._kind, request)


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Nowhere else is asked; what would be sent along, and how much of it, is not ours to say."""


def tile_path(kind: str, index: int, width: int) -> str:
    digits = f"{index % 1000:03d}"
    while index >= 1000:
        index //= 1000
        digits = f"x{index % 1000:03d}/{digits}"
    return f"tile/{kind}/{digits}" + ("" if width == 256 else f".p/{width}")


def entries_of(read: Callable[[str], bytes], size: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Each entry of a log with its place and the hash that its tile has for it."""
    for start in range(0, size, 256):
        width = min(256, size - start)
        tile = read(tile_path("0", start // 256, width))
        bundle, at = read(tile_path("entries", start // 256, width)), 0
        for number in range(width):
            if at + 2 > len(bundle) or at + 2 + int.from_bytes(bundle[at : at + 2], "big") > len(bundle):
                raise BrokenError(start + number, "the bundle of entries ends inside it")
            length = int.from_bytes(bundle[at : at + 2], "big")
            yield start + number, bundle[at + 2 : at + 2 + length], tile[number * 32 : number * 32 + 32]
            at += 2 + length
        if at != len(bundle) or len(tile) != width * 32:
            raise BrokenError(start, "its bundle or tile is longer than it may be")


class Tiles:
    """The tiles of the levels above the lowest, compared with what the entries give."""

    def __init__(self, report: Report, read: Callable[[str], bytes]) -> None:
        self.report, self.read = report, read
        self.levels: list[list[bytes]] = [[]]
        """The hashes of the last tile of each level."""
        self.counts: list[int] = [0]

    def append(self, leaf: bytes) -> None:
        level = 0
        while True:
            if level == len(self.levels):
                self.levels.append([])
                self.counts.append(0)
            hashes = self.levels[level]
            hashes.append(leaf)
            if len(hashes) < 256:
                return
            self._compare(level)
            tree = Frontier()
            for item in hashes:
                tree.append(item)
            leaf = tree.root()
            self.levels[level], self.counts[level] = [], self.counts[level] + 1
            level += 1

    def finish(self) -> None:
        for level, hashes in enumerate(self.levels):
            if hashes:
                self._compare(level)

    def _compare(self, level: int) -> None:
        hashes = self.levels[level]
        path = tile_path(str(level), self.counts[level], len(hashes))
        if level and self.read(path) != b"".join(hashes):
            self.report.offend("root", f"{path} is not what its entries give")


class BrokenError(Exception):
    """A log cannot be read on from this entry."""

    def __init__(self, seq: int | None, reason: str) -> None:
        super().__init__(reason)
        self.seq = seq


def check_log(place: str, options: Options) -> Report:
    """Derive a whole log again from its entries."""
    report, read = Report(), reader_of(place, options.token)
    checkpoint = _judged(report, read, options.policy)
    if checkpoint is None:
        return report
    earlier, before, untold = _earlier(report, options, options.policy, checkpoint)
    walk, tree, tiles, unread = Walk(report, read, options.policy), Frontier(), Tiles(report, read), None
    try:
        for seq, leaf, hashed in entries_of(read, checkpoint.size):
            _compare(report, earlier.get(tree.size), tree)
            own = leaf_hash(leaf)
            if own != hashed:
                report.offend("leaves", "its bytes do not have the hash in its tile", seq)
            walk.take(seq, leaf)
            tree.append(own)
            tiles.append(own)
        tiles.finish()
        _compare(report, earlier.get(tree.size), tree)
        walk.finish()
        _compare_closed(report, walk.closed, before)
        if tree.root() != checkpoint.root:
            report.offend("root", "the entries do not give the root that was signed")
    except BrokenError as error:
        report.offend("leaves", str(error), error.seq)
        unread = "not all of the log could be read"
    except UnreadableError as error:
        unread = f"not all of the log could be read: {error}"
    for name, detail in (
        ("leaves", f"{tree.size} entries have the hashes in the tiles"),
        ("root", "the entries give the root that was signed"),
        ("chains", f"{len(walk.chains)} chains, each from 0 without a break"),
        ("seals", f"{walk.kinds.get('seal', 0)} seals, each behind a closing"),
        ("partitions", f"{len(walk.offsets)} partitions without a hole"),
        ("detached", "each detached part is what its entry names"),
        ("index", f"{walk.indexes} indexes are those of the entries before them"),
        ("consistency", f"the log begins with {len(earlier)} earlier checkpoints"),
        ("restore", _gone_on_from(walk.closed, before)),
        ("keys", f"{walk.kinds.get('key', 0)} changes of keys, each signed by the old one"),
        ("erasures", f"{sum(map(walk.kinds.get, ('erasure', 'hold'), (0, 0)))} stand behind the events that say so"),
    ):
        report.conclude(name, detail, unread or (untold if name == "consistency" else None))
    report.facts["kinds"] = dict(sorted(walk.kinds.items()))
    return report


def _judged(report: Report, read: Callable[[str], bytes], policy: Policy | None) -> Checkpoint | None:
    """The newest checkpoint, unless it cannot be read, or is a stranger's: his log may be as long as he likes."""
    try:
        note = Note(read("checkpoint"))
        checkpoint = Checkpoint(note.text)
        report.facts = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}
        if checkpoint.size > MAX_LOG_SIZE:
            raise BadError("the log says that it is larger than any log")
    except (BadError, UnreadableError) as error:
        report.offend("signature", str(error)) if isinstance(error, BadError) else None
        report.conclude("signature", "", str(error))
        return None
    _judge(report, "signature", policy, lambda one: _log_signatures(one, note, checkpoint))
    if report.offences:
        return None
    _judge(report, "quorum", policy, lambda one: _quorum(one, note))
    return checkpoint


def _judge(report: Report, name: str, policy: Policy | None, step: Callable[[Policy], str]) -> None:
    detail, undecided = "", None
    try:
        if policy is None:
            raise UnreadableError("no policy or key was given by the reader")
        detail = step(policy)
    except BadError as error:
        report.offend(name, str(error))
    except UnreadableError as error:
        undecided = str(error)
    report.conclude(name, detail, undecided)


def _earlier(
    report: Report, options: Options, policy: Policy | None, newest: Checkpoint
) -> tuple[dict[int, Checkpoint], list[Checkpoint], str | None]:
    """Those of this log, by their size, and those of another one, which this log may go on from; and why it cannot be
    told who signed one."""
    untold: str | None = None
    found: dict[int, Checkpoint] = {}
    others: list[Checkpoint] = []
    for data in options.earlier:
        try:
            note = Note(data)
            older = Checkpoint(note.text)
            if policy is not None:
                _log_signatures(policy, note, older)
            if older.origin != newest.origin:
                others.append(older)
                continue
            if older.size > newest.size:
                shrunk = f"the log had {older.size} entries before, and has {newest.size} now"
                report.offend("consistency", shrunk, newest.size)
                continue
            if older.size in found and found[older.size].root != older.root:
                raise BadError(f"two roots were signed for the size {older.size}: the log was forked")
            found[older.size] = older
        except BadError as error:
            report.offend("consistency", f"an earlier checkpoint: {error}")
        except UnreadableError as error:
            untold = f"an earlier checkpoint: {error}"
    return found, others, untold


def _compare_closed(report: Report, closed: Checkpoint | None, others: list[Checkpoint]) -> None:
    for other in others:
        if closed is None or closed.origin != other.origin:
            report.offend("restore", f"an earlier checkpoint is of {other.origin}, and this log does not go on from it")
        elif other.size > closed.size or (other.size == closed.size and other.root != closed.root):
            report.offend(
                "restore",
                f"{other.origin} had signed {other.size} entries, and this log says that it was closed at {closed.size}",
                0,
            )


def _gone_on_from(closed: Checkpoint | None, others: list[Checkpoint]) -> str:
    if closed is None:
        return "the log goes on from no other one"
    said = f"the log goes on from {closed.origin}, closed at {closed.size} entries with root {closed.root.hex()}"
    smaller = sum(other.size < closed.size for other in others)
    return f"{said}; that it held {smaller} earlier ones is shown by that log" if smaller else said


def _compare(report: Report, older: Checkpoint | None, tree: Frontier) -> None:
    if older is not None and older.root != tree.root():
        report.offend("consistency", f"the first {older.size} entries are not those that were signed before")


# --- single proofs and comparisons ----------------------------------------------------------------------------------------


def check_consistency(old: bytes, new: bytes, proof: bytes, options: Options) -> Report:
    report = Report()
    notes = [Note(old), Note(new)]
    older, newer = (Checkpoint(note.text) for note in notes)
    for name, note, checkpoint in (("signature", notes[0], older), ("signature", notes[1], newer)):
        _judge(report, name, options.policy, lambda policy, n=note, c=checkpoint: _log_signatures(policy, n, c))  # type: ignore[misc]
    if older.origin != newer.origin:
        report.offend("consistency", "the checkpoints are of two logs")
    elif not is_consistent(older.size, newer.size, older.root, newer.root, hash_lines(proof.decode())):
        report.offend("consistency", f"the log of {newer.size} entries does not begin with that of {older.size}")
    report.conclude("consistency", f"the log of {newer.size} entries begins with that of {older.size}")
    return report


def check_proof(leaf: bytes, proof: bytes, options: Options) -> Report:
    report = Report()
    index, lines, data = read_proof(proof)
    note = Note(data)
    checkpoint = Checkpoint(note.text)
    _judge(report, "signature", options.policy, lambda policy: _log_signatures(policy, note, checkpoint))
    _judge(report, "quorum", options.policy, lambda policy: _quorum(policy, note))
    if not is_included(index, checkpoint.size, leaf_hash(leaf), lines, checkpoint.root):
        report.offend("inclusion", "the entry is not in the log of the checkpoint", index)
    report.conclude("inclusion", f"it is entry {index} of the log of {checkpoint.size}")
    return report


def check_diff(one: str, other: str, options: Options) -> Report:
    """Whether two bundles of one incident, or two copies of one log, tell the same as far as both go."""
    report = Report()
    report.facts = {"compared": [one, other]}
    same = 0
    missing = object()
    try:
        told = [_told(place, options) for place in (one, other)]
        streams = [iter(entries) for _, entries in told]
        while True:
            left, right = (next(stream, missing) for stream in streams)
            if left is missing or right is missing:
                for (until, _), own, more in ((told[0], left, right), (told[1], right, left)):
                    if own is missing and more is not missing and more[0] < until:  # type: ignore[index]
                        report.offend("diff", f"one says that it is complete as of {until}, and lacks it", more[0])  # type: ignore[index]
                break
            if left != right:
                seq = min(left[0], right[0])  # type: ignore[index]
                report.offend("diff", f"after {same} entries that are the same they tell different things", seq)
                break
            same += 1
    except BrokenError as error:
        report.offend("diff", str(error), error.seq)
    report.conclude("diff", f"the first {same} entries are the same; one of them may go on")
    return report


def _told(place: str, options: Options) -> tuple[int, Iterable[tuple[int, bytes]]]:
    """As of which size it says to be complete, and its entries, place and hash."""
    path = Path(place)
    if place.startswith("http") or (path / "tile").is_dir():
        read = reader_of(place, options.token)
        size = Checkpoint(Note(read("checkpoint")).text).size
        return size, ((seq, leaf_hash(leaf)) for seq, leaf, _ in entries_of(read, size))
    bundle = Bundle(unpack(path), options)
    entries = bundle.told()
    return int(bundle.manifest["as_of"]), entries


# --- command line ---------------------------------------------------------------------------------------------------------


def check_bundle(place: Path, options: Options) -> Report:
    """All checks of a bundle, an archive or a folder."""
    try:
        files = unpack(place)
    except BadError as error:
        report = Report()
        report.offend("manifest", str(error))
        report.conclude("manifest", "")
        return report
    return Bundle(files, options).check()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verify.py", description="Check evidence of a timeline without trusting its holder."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shapes = {
        "bundle": ("BUNDLE",),
        "log": ("LOG",),
        "consistency": ("OLD", "NEW", "PROOF"),
        "proof": ("LEAF", "PROOF"),
        "diff": ("ONE", "OTHER"),
    }
    for name, places in shapes.items():
        command = commands.add_parser(name)
        for place in places:
            command.add_argument(place)
        command.add_argument("--policy", help="your policy file (c2sp.org/tlog-policy)")
        command.add_argument("--vkey", action="append", default=[], help="a verifier key of the log that you trust")
        command.add_argument("--earlier", action="append", default=[], help="a checkpoint that you kept from before")
        command.add_argument(
            "--proof",
            dest="proof_files",
            action="append",
            default=[],
            help="SIZE=FILE: consistency proof from that size",
        )
        command.add_argument(
            "--tsa-root", action="append", default=[], help="PEM: an authority's certificate you trust"
        )
        command.add_argument("--token", help="bearer token for a log that is served")
    return parser


def _readers(given: argparse.Namespace) -> Options:
    """What the reader gives. That it is wrong says nothing about the evidence. Raises `UnreadableError`."""
    try:
        return _options(given)
    except (BadError, OSError, ValueError) as error:
        raise UnreadableError(str(error)) from None


def proofs_of(items: Sequence[str]) -> dict[int, bytes]:
    """From SIZE=FILE, each. Raises `ValueError` and `OSError`."""
    pairs = (item.partition("=") for item in items)
    return {int(size): Path(file).read_bytes() for size, _, file in pairs}


def _options(given: argparse.Namespace) -> Options:
    policy = None
    if given.policy:
        policy = policy_in(Path(given.policy))
        policy.logs += [Key.of_log(vkey) for vkey in given.vkey]
    elif given.vkey:
        policy = policy_of(given.vkey)
    return Options(
        policy,
        [Path(name).read_bytes() for name in given.earlier],
        proofs_of(given.proof_files),
        [Path(name).read_bytes() for name in given.tsa_root],
        given.token,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    given = _arguments().parse_args(arguments)
    try:
        options = _readers(given)
        if given.command == "bundle":
            report = check_bundle(Path(given.BUNDLE), options)
        elif given.command == "log":
            report = check_log(given.LOG, options)
        elif given.command == "consistency":
            old, new, proof = (Path(name).read_bytes() for name in (given.OLD, given.NEW, given.PROOF))
            report = check_consistency(old, new, proof, options)
        elif given.command == "proof":
            report = check_proof(Path(given.LEAF).read_bytes(), Path(given.PROOF).read_bytes(), options)
        else:
            report = check_diff(given.ONE, given.OTHER, options)
    except BadError as error:
        report = Report()
        report.offend("input", str(error))
        report.conclude("input", "")
    except (UnreadableError, OSError, ValueError) as error:
        report = Report()
        report.conclude("input", "", str(error))
    # Escaped to ASCII: what is judged chose some of these words, and a terminal obeys more than what is below a space.
    sys.stdout.write(json.dumps(report.document(), indent=2) + "\n")
    return EXIT[report.outcome]


if __name__ == "__main__":
    sys.exit(main())
