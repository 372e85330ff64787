"""The CloudEvents 1.0 envelope on Kafka: `ce_*` headers in binary mode, structured mode on input.

headers, value = Envelope(...).sign(signer, payload)      # a writer
reading = read(received, keyring)                         # a reader: Event or Rejection
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from shared.events.payload import Payload
from shared.events.registry import EventType, find
from shared.events.signing import KeyRing, Signer, signing_input

CONTENT_TYPE = "content-type"
MAX_VALUE_BYTES = 900_000
"""A larger value could not be relayed, nor parked: the outbox refuses it, and so does every reader."""
MAX_CONTENT_TYPE_BYTES = 200
"""As many an entry of the timeline keeps of a content type, if they are text."""
_MAX_HEADER_BYTES = 1024
"""Ids and names are keys of indexes, which take no more than about two of these."""
_MAX_HEADERS = 64
_MAX_HEADERS_BYTES = 50_000
"""Of all together, those that nobody signed among them: with more, a long value could not be parked either."""

_REQUIRED = dict.fromkeys(
    ("id", "source", "specversion", "type", "subject", "time", "partitionkey", "sequence", "organisation", "actor")
).keys()
_SEQUENCE = re.compile(r"[0-9]{10}")
_SUBJECT = re.compile(r"[A-Za-z0-9-]{1,80}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What no attribute may hold (CloudEvents 1.0, type String), nor a text of PostgreSQL in the case of NUL."""


class Unopened(bytes):
    """A batch of records as it lies in Kafka, in the place of what it holds: unpacked it is longer than a batch may be,
    or damaged."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Received:
    """One Kafka record, as it lay in its partition."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """The attributes of one event."""

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    sequence: int
    organisation: str
    actor: str
    drill: bool = False
    causationid: str | None = None
    traceparent: str | None = None
    dataschema: str | None = None
    keyid: str | None = None

    def headers(self) -> list[tuple[str, bytes]]:
        """All headers but the signature, in the order of their names."""
        attributes = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "partitionkey": self.subject,
            "time": self.time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "sequence": f"{self.sequence:010d}",
            "organisation": self.organisation,
            "actor": self.actor,
            "drill": "true" if self.drill else "false",
            "causationid": self.causationid,
            "traceparent": self.traceparent,
            "dataschema": self.dataschema,
            "keyid": self.keyid,
        }
        present = ((f"ce_{name}", value.encode()) for name, value in attributes.items() if value is not None)
        return [*sorted(present), (CONTENT_TYPE, b"application/json")]

    def sign(self, signer: Signer, payload: Payload) -> tuple[list[tuple[str, bytes]], bytes]:
        """Headers and value of the record, signed. The record key is the subject."""
        value = payload.write()
        if len(value) > MAX_VALUE_BYTES:
            raise ValueError(f"event {self.type} of {self.subject} has {len(value)} bytes; at most {MAX_VALUE_BYTES}")
        headers = replace(self, keyid=signer.keyid).headers()
        signature = signer.sign(self.subject.encode(), headers, value)
        return [*headers, ("ce_signature", signature.encode())], value


@dataclass(frozen=True, slots=True)
class Event:
    """A record whose envelope is right and whose signature verifies."""

    envelope: Envelope
    value: bytes
    received: Received

    @property
    def entry(self) -> EventType | None:
        """Its type in the registry; None for a type that this version does not know."""
        return find(self.envelope.type)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that acts nowhere, and why. `unparsed`: not an event; `unverified`: nobody of ours vouches for it."""

    kind: Literal["unparsed", "unverified"]
    reason: str
    received: Received


type Reading = Event | Rejection


class _NotAnEventError(ValueError):
    pass


def read(received: Received, keyring: KeyRing) -> Reading:
    """Decode and verify one record. Never raises for what a record holds."""
    try:
        headers, value = _unwrap(received)
        attributes = _attributes(headers)
        envelope = _envelope(attributes)
    except _NotAnEventError as error:
        return Rejection("unparsed", str(error), received)
    key = received.key or b""
    if key != envelope.subject.encode() or attributes["partitionkey"] != envelope.subject:
        return Rejection("unverified", "key_is_not_subject", received)
    reason = _unverified(envelope, keyring, attributes.get("signature"), key=key, headers=headers, value=value)
    if reason:
        return Rejection("unverified", reason, received)
    return Event(envelope, value, received)


def statement(received: Received) -> bytes:
    """What the writer of an event signed, hashed: the same however the record is wrapped. Raises `ValueError` for what
    is no event."""
    headers, value = _unwrap(received)
    return hashlib.sha256(signing_input(received.key or b"", headers, value)).digest()


def _unverified(
    envelope: Envelope,
    keyring: KeyRing,
    signature: str | None,
    *,
    key: bytes,
    headers: Iterable[tuple[str, bytes]],
    value: bytes,
) -> str | None:
    if signature is None or envelope.keyid is None:
        return "signature_missing"
    entry = keyring.find(envelope.keyid)
    if entry is None:
        return "key_unknown"
    if not keyring.verifies(envelope.keyid, signature, key, headers, value):
        return "signature_invalid"
    known = find(envelope.type)
    if envelope.source != f"/lostphone/{entry.service}" or (known is not None and known.writer != entry.service):
        return "writer_not_registered"
    return None


def _unwrap(received: Received) -> tuple[Sequence[tuple[str, bytes]], bytes]:
    """Headers and value in binary mode; a structured record is turned into one."""
    if received.value is None:
        raise _NotAnEventError("value_null")
    if isinstance(received.value, Unopened):
        raise _NotAnEventError("batch_not_unpacked")
    if len(received.value) > MAX_VALUE_BYTES:
        raise _NotAnEventError("value_too_large")
    if len(received.headers) > _MAX_HEADERS:
        raise _NotAnEventError("too_many_headers")
    # Of a name it is known how many letters it has, each of up to four bytes.
    if sum([4 * len(name) + len(data or b"") for name, data in received.headers]) > _MAX_HEADERS_BYTES:
        raise _NotAnEventError("headers_too_long")
    headers = [(name, data) for name, data in received.headers if data is not None]
    if len(headers) != len(received.headers):
        raise _NotAnEventError("header_null")
    for name, data in headers:
        if len(name) == len(CONTENT_TYPE) and name.lower() == CONTENT_TYPE:
            if data.startswith(b"application/cloudevents+json"):
                return _structured(received.value, data)
            break
    return headers, received.value


def _structured(value: bytes, content_type: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    try:
        content_type[:MAX_CONTENT_TYPE_BYTES].decode()
    except UnicodeDecodeError:
        # Its entry in the timeline would not say that it is structured.
        raise _NotAnEventError("content_type_not_utf8") from None
    document = _json_object(value)
    data = document.pop("data", None)
    headers = [
        (CONTENT_TYPE, b"application/json"),
        # Null stands for an attribute that is not there (CloudEvents JSON format, 3.1).
        *(
            (f"ce_{name}", _attribute(item))
            for name, item in document.items()
            if name != "datacontenttype" and item is not None
        ),
    ]
    try:
        return headers, orjson.dumps(data)
    except orjson.JSONEncodeError:
        # It reads four times as deep as it writes.
        raise _NotAnEventError("nested_too_deeply") from None


def _attribute(item: Any) -> bytes:
    """An attribute as binary mode writes it (CloudEvents 1.0, 3.1: canonical string representation)."""
    return (str(item).lower() if isinstance(item, bool) else str(item)).encode()


def _json_object(value: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise _NotAnEventError("not_json") from None
    if not isinstance(document, dict):
        raise _NotAnEventError("not_an_object")
    return document


def _attributes(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, data in headers:
        if name[:3] != "ce_":
            continue
        if len(data) > _MAX_HEADER_BYTES:
            raise _NotAnEventError("header_too_long")
        if name[3:] in attributes:
            raise _NotAnEventError("header_duplicate")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise _NotAnEventError("header_not_utf8") from None
        if not text.isprintable() and _CONTROL.search(text):
            raise _NotAnEventError("header_has_control_character")
        attributes[name[3:]] = text
    if not attributes.keys() >= _REQUIRED:
        raise _NotAnEventError(f"header_missing:{next(name for name in _REQUIRED if name not in attributes)}")
    return attributes


def _envelope(attributes: dict[str, str]) -> Envelope:
    if attributes["specversion"] != "1.0":
        raise _NotAnEventError("specversion_unknown")
    if not _SEQUENCE.fullmatch(attributes["sequence"]):
        raise _NotAnEventError("sequence_malformed")
    if not _SUBJECT.fullmatch(attributes["subject"]):
        raise _NotAnEventError("subject_malformed")
    try:
        time = datetime.fromisoformat(attributes["time"])
    except ValueError:
        raise _NotAnEventError("time_malformed") from None
    if time.tzinfo is None:
        raise _NotAnEventError("time_malformed")
    return Envelope(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        subject=attributes["subject"],
        time=time,
        sequence=int(attributes["sequence"]),
        organisation=attributes["organisation"],
        actor=attributes["actor"],
        drill=attributes.get("drill") == "true",
        causationid=attributes.get("causationid"),
        traceparent=attributes.get("traceparent"),
        dataschema=attributes.get("dataschema"),
        keyid=attributes.get("keyid"),
    )
