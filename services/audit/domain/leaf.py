"""The leaf: what stands in the log for one record of Kafka, byte for byte, for ever.

    {"i":…,"k":"event","m":…,"n":17,"o":48211,"p":3,"prev":…,"r":…,"s":…,"ts":…,"v":1}\\n      the header
    {"h":[["ce_id","…"],…],"key":"…"}\\n                                                       key and `ce_*` headers
    <value bytes>                                                                              exactly as received

A leaf is a pure function of the record, the blinding key and the chain of its subject, so that a log that is built
again from Kafka has the same bytes. No clock of ours goes in. Both JSON lines are canonical: keys sorted, no spaces,
only strings, integers below 2^53, booleans and null, where this is the same bytes as RFC 8785.

| key | meaning | in |
|---|---|---|
| `v` | version of this format, 1 | all |
| `k` | kind | all |
| `s` `p` `o` `ts` | topic, partition, offset, Kafka's timestamp in ms | all that are records of Kafka |
| `r` | blinding: HMAC-SHA-256(key, topic, partition, offset), 16 bytes in hex | all |
| `m` | the content type that came with the record, or null | all that are records of Kafka |
| `i` `n` `prev` | subject, place in its chain from 0, hash of the leaf before (null at 0) | what stands in a chain |
| `reason` | why it acts nowhere; why the offsets are missing | unparsed, unverified; gap |
| `nil` | true: the record had no value at all | such records |
| `of` `d` `sha256` `size` | the kind it would be, what is apart (`value` or `body`), its hash, its length | detached |
| `end` | the first offset behind the hole; `o` is the first in it | gap |

What the log says about itself (`OWN`) is a header alone, with facts of its own; `domain/own.py` lists them.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from shared.events import MAX_CONTENT_TYPE_BYTES, Received

MAX_INLINE_BYTES = 60 * 1024
"""A longer leaf has its value detached. The format allows 65,535 bytes."""
_VERSION = 1
_BASE64 = ";base64"
_MAX_NAMES = 2_000
"""Letters in the names of headers that are remembered."""

_PLAIN = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')
"""What stands in a JSON string as it is."""

type Json = dict[str, Any]


class Kind(StrEnum):
    """What a leaf stands for."""

    EVENT = "event"
    """A verified event, in the chain of its subject."""
    UNPARSED = "unparsed"
    """A record that is no event."""
    UNVERIFIED = "unverified"
    """An event that nobody of ours vouches for. Outside every chain, so that a forger cannot extend one."""
    DUPLICATE = "duplicate"
    """A verified event that stands in the log already, sent once more. Outside every chain."""
    GAP = "gap"
    """Offsets that the partition does not give."""
    SEAL = "seal"
    """The incident was closed; in its chain."""
    DETACHED = "detached"
    """A record too long for a leaf: its hash and size."""
    INDEX = "index"
    """The root of the index of all chains, as of the size that the log had before this entry."""
    EXPORT = "export"
    """A bundle of evidence was handed out, and what it claims."""
    ERASURE = "erasure"
    """The personal data of one person was destroyed; behind the event that says so."""
    HOLD = "hold"
    """Erasure was asked for and a legal hold kept the data; behind the event that says so."""
    KEY = "key"
    """The log goes on with other keys; the old one signs them."""
    ANCHOR = "anchor"
    """The digest of a timestamp that a third party gave to a checkpoint."""
    RESTORE = "restore"
    """The first entry of a log that goes on where another one had to be closed."""


OWN = frozenset((Kind.INDEX, Kind.EXPORT, Kind.ERASURE, Kind.HOLD, Kind.KEY, Kind.ANCHOR, Kind.RESTORE))
"""What the log says about itself: outside every chain and every partition."""


# The three that are made for every entry, here and in `chain`, are not frozen: that would take three times as long.
@dataclass(slots=True)
class Link:
    """A place in the chain of one subject: the next leaf gets `n` and names `prev`."""

    subject: str
    n: int = 0
    prev: bytes | None = None

    def after(self, leaf_hash: bytes) -> "Link":
        return Link(self.subject, self.n + 1, leaf_hash)

    def header(self) -> Json:
        return {"i": self.subject, "n": self.n, "prev": self.prev.hex() if self.prev else None}


@dataclass(slots=True)
class Leaf:
    """The bytes, and what was detached from them."""

    kind: Kind
    data: bytes
    detached: bytes | None = None
    """What `sha256` in the header is the hash of."""
    hash: bytes = field(init=False)
    """Its hash in the tree (RFC 6962, 2.1)."""

    def __post_init__(self) -> None:
        self.hash = hashlib.sha256(b"\x00" + self.data).digest()

    @property
    def detached_sha256(self) -> bytes | None:
        return None if self.detached is None else hashlib.sha256(self.detached).digest()


class LeafBuilder:
    """Builds leaves with one blinding key."""

    def __init__(self, blinding_key: bytes) -> None:
        """Raises `ValueError` when the key is not 32 bytes."""
        if len(blinding_key) != 32:
            raise ValueError(f"the blinding key has {len(blinding_key)} bytes, not 32")
        # HMAC (RFC 2104) with the key's two blocks taken in once: a leaf needs one, and setting it up is most of it.
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in blinding_key.ljust(64, b"\x00")))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in blinding_key.ljust(64, b"\x00")))

    def record(self, kind: Kind, received: Received, *, link: Link | None = None, reason: str | None = None) -> Leaf:
        """The leaf of one record. Give `link` for what stands in a chain, `reason` for what was rejected."""
        if kind is Kind.EVENT and link is not None and reason is None:
            whole = self.event(received, link)
            if whole is not None:
                return Leaf(kind, whole)
        blinding = self._blinding(received.topic, received.partition, received.offset)
        attributes, content_type = _attributes(received)
        header: Json = {
            "k": kind.value,
            "m": _text(content_type),
            "o": received.offset,
            "p": received.partition,
            "r": blinding,
            "s": received.topic,
            "ts": received.timestamp_ms,
            "v": _VERSION,
        }
        if link is not None:
            header |= link.header()
        if reason is not None:
            header["reason"] = reason
        if received.value is None:
            header["nil"] = True
        return _whole_or_detached(kind, header, attributes, received.value or b"")

    def event(self, received: Received, link: Link) -> bytes | None:
        """The bytes of `record` for an event at this place of a chain; None when they are too long for a leaf."""
        if received.value is None:
            return None
        blinding = self._blinding(received.topic, received.partition, received.offset)
        attributes, content_type = _attributes(received)
        prev = f'"{link.prev.hex()}"' if link.prev else "null"
        header = (
            f'{{"i":{_string(link.subject)},"k":"event","m":{_media_type(content_type)},"n":{link.n},'
            f'"o":{received.offset},"p":{received.partition},"prev":{prev},"r":"{blinding}",'
            f'"s":{_string(received.topic)},"ts":{received.timestamp_ms},"v":1}}\n'
        )
        whole = header.encode() + attributes + received.value
        return whole if len(whole) <= MAX_INLINE_BYTES else None

    def gap(self, topic: str, partition: int, first: int, end: int, reason: str) -> Leaf:
        """The leaf of the offsets `[first, end)`, which the partition does not give."""
        header = {
            "end": end,
            "k": Kind.GAP.value,
            "o": first,
            "p": partition,
            "r": self._blinding(topic, partition, first),
            "reason": reason,
            "s": topic,
            "v": _VERSION,
        }
        return Leaf(Kind.GAP, canonical(header))

    def seal(self, link: Link) -> Leaf:
        """The leaf after `IncidentClosed`: `n` says how many entries the incident has, `prev` which was the last."""
        header = {"k": Kind.SEAL.value, "r": self._blinding(f"seal/{link.subject}", 0, link.n), "v": _VERSION}
        return Leaf(Kind.SEAL, canonical(header | link.header()))

    def own(self, kind: Kind, place: str, number: int, facts: Json) -> Leaf:
        """A leaf of what the log says about itself. `place` and `number` name it among those of its kind."""
        header = {"k": kind.value, "r": self._blinding(f"{kind.value}/{place}", 0, number), "v": _VERSION}
        data = canonical(facts | header)
        if len(data) > MAX_INLINE_BYTES:
            raise ValueError(f"a leaf of kind {kind.value} with {len(data)} bytes is too long")
        return Leaf(kind, data)

    def _blinding(self, topic: str, partition: int, offset: int) -> str:
        # The name of a topic has no slash, so that the blinding of a seal is never that of a record.
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(_stream(topic, partition) + offset.to_bytes(8))
        outer.update(inner.digest())
        return outer.hexdigest()[:32]


def canonical(document: Json) -> bytes:
    """One line of canonical JSON."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


@lru_cache(1024)
def _stream(topic: str, partition: int) -> bytes:
    return topic.encode() + partition.to_bytes(4)


@lru_cache(1024)
def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@lru_cache(64)
def _media_type(content_type: bytes | None) -> str:
    return json.dumps(_text(content_type), ensure_ascii=False)


def attributes_line(received: Received) -> bytes:
    """The second line: key and `ce_*` headers, in the order in which they came. What is not UTF-8 is written as
    base64 under a name that ends in `;base64`; so is what has such a name already."""
    return _attributes(received)[0]


def _attributes(received: Received) -> tuple[bytes, bytes | None]:
    """The second line, and the content type."""
    flat: tuple[Any, ...] = (*chain.from_iterable(received.headers), received.key)
    names = flat[:-1:2]
    # Only shapes of short names are kept: whoever may write to the log could fill the memory with long ones.
    shape = (_shape if len("".join(names)) <= _MAX_NAMES else _shape.__wrapped__)(names)
    content_type = None if shape.content_type is None else flat[shape.content_type]
    if shape.line is not None:
        said = shape.pick(flat)
        # Where every value stands in the line as it came, as in every event of ours.
        if _are_plain(said):
            return shape.line % said, content_type
    return _any_attributes(received), content_type


def _are_plain(values: tuple[Any, ...]) -> bool:
    try:
        return not b"".join(values).translate(None, _PLAIN)
    except TypeError:  # one of them is None
        return False


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the names of a record's headers, which few writers vary, say about its second line. The names and values
    are one tuple here, in turn, with the key behind them: to take that apart is much of making a leaf."""

    content_type: int | None
    """Where the content type stands."""
    line: bytes | None
    """The line, with a place for each value that `pick` gives. None where a name has to be changed."""
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]


@lru_cache(1024)
def _shape(names: tuple[str, ...]) -> _Shape:
    content_type = next((2 * at + 1 for at, name in enumerate(names) if name.lower() == "content-type"), None)
    told = [at for at, name in enumerate(names) if name.startswith("ce_")]
    if not told or any(names[at].endswith(_BASE64) for at in told):
        return _Shape(content_type, None, tuple)
    written = [json.dumps(names[at], ensure_ascii=False).replace("%", "%%") for at in told]
    headers = ",".join([f'[{name},"%b"]' for name in written])
    pick = itemgetter(*(2 * at + 1 for at in told), -1)
    return _Shape(content_type, f'{{"h":[{headers}],"key":"%b"}}\n'.encode(), pick)


def _any_attributes(received: Received) -> bytes:
    headers = [_named(name, data) for name, data in received.headers if name.startswith("ce_")]
    name, key = _named("key", received.key)
    return canonical({"h": headers, name: key})


def _whole_or_detached(kind: Kind, header: Json, attributes: bytes, value: bytes) -> Leaf:
    whole = canonical(header) + attributes + value
    if len(whole) <= MAX_INLINE_BYTES:
        return Leaf(kind, whole)
    header = header | {"d": "value", "k": Kind.DETACHED.value, "of": kind.value}
    for part, kept, detached in (("value", attributes, value), ("body", b"", attributes + value)):
        digest = hashlib.sha256(detached).hexdigest()
        short = canonical(header | {"d": part, "sha256": digest, "size": len(detached)}) + kept
        if len(short) <= MAX_INLINE_BYTES:
            break
    return Leaf(kind, short, detached)


def _text(data: bytes | None) -> str | None:
    try:
        return data[:MAX_CONTENT_TYPE_BYTES].decode() if data is not None else None
    except UnicodeDecodeError:
        return None


def _named(name: str, data: bytes | None) -> tuple[str, str | None]:
    if data is None:
        return name, None
    if not name.endswith(_BASE64):
        try:
            return name, data.decode()
        except UnicodeDecodeError:
            pass
    return name + _BASE64, base64.b64encode(data).decode()


@dataclass(frozen=True, slots=True)
class Opened:
    """A leaf taken apart again."""

    header: Json
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None

    @property
    def kind(self) -> Kind:
        """The kind; for what is detached, the kind it would be."""
        return Kind(self.header.get("of") or self.header["k"])

    @property
    def is_structured(self) -> bool:
        """Whether the record is a whole CloudEvent in JSON."""
        return str(self.header.get("m")).startswith("application/cloudevents+json")

    def attribute(self, name: str) -> str | None:
        """One CloudEvents attribute."""
        if self.is_structured:
            found = self._document().get(name)
            return None if found is None else str(found)
        data = next((data for header, data in self.headers if header == f"ce_{name}"), None)
        return None if data is None else data.decode(errors="replace")

    def received(self) -> Received:
        """The record, as a consumer gets it."""
        header = self.header
        content_type = [("content-type", str(header["m"]).encode())] if header["m"] is not None else []
        headers = (*self.headers, *content_type)
        return Received(header["s"], header["p"], header["o"], header["ts"], self.key, headers, self.value)

    def payload(self) -> bytes | None:
        """The JSON that the event says; None when it is not at hand."""
        if self.value is not None and self.is_structured:
            return json.dumps(self._document().get("data")).encode()
        return self.value

    def _document(self) -> Json:
        document = json.loads(self.value or b"{}")
        return document if isinstance(document, dict) else {}


def open_header(data: bytes) -> Json:
    """The header alone. Raises `ValueError` when the bytes do not begin with one."""
    header: Json = json.loads(data[: data.index(b"\n")])
    return header


def open_leaf(data: bytes, detached: bytes | None = None) -> Opened:
    """The record that a leaf stands for. What is detached and not given is None.

    Raises `ValueError` when the bytes are not a leaf.
    """
    first, _, rest = data.partition(b"\n")
    header = json.loads(first)
    if header["k"] in (Kind.GAP, Kind.SEAL) or header["k"] in OWN:
        return Opened(header, None, (), None)
    if header.get("d") == "body":
        if detached is None:
            return Opened(header, None, (), None)
        rest = detached
    second, _, value = rest.partition(b"\n")
    attributes = json.loads(second)
    headers = [_unnamed(name, text) for name, text in attributes["h"]]
    _, key = (
        _unnamed("key", attributes["key"]) if "key" in attributes else _unnamed("key;base64", attributes["key;base64"])
    )
    found: bytes | None = detached if header.get("d") == "value" else value
    return Opened(header, key, tuple(headers), None if header.get("nil") else found)


def _unnamed(name: str, text: str | None) -> tuple[str, bytes | None]:
    if text is None:
        return name, None
    if name.endswith(_BASE64):
        return name.removesuffix(_BASE64), base64.b64decode(text)
    return name, text.encode()
