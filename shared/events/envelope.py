"""The CloudEvents 1.0 envelope on Kafka: `ce_*` headers in binary mode, structured mode on input.

headers, value = Envelope(...).sign(signer, payload)      # a writer
headers, value = unwrap(received)                         # a reader: however the record is wrapped
Envelope.of(attributes_of(headers))
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from shared.events.payload import Payload
from shared.events.signing import Signer

CONTENT_TYPE = "content-type"
MAX_VALUE_BYTES = 900_000
"""A larger value could not be relayed, nor parked: the outbox refuses it, and so does every reader."""
MAX_CONTENT_TYPE_BYTES = 200
"""As many an entry of the timeline keeps of a content type, if they are text."""
MAX_HEADER_BYTES = 1024
"""Ids and names are keys of indexes, which take no more than about two of these."""
MAX_HEADERS = 64
MAX_HEADERS_BYTES = 50_000
"""Of all together, those that nobody signed among them: with more, a long value could not be parked either."""

REQUIRED = dict.fromkeys(
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


# What is made for every record, here and in `reading`, is not frozen: that would take three times as long.
@dataclass(slots=True)
class Received:
    """One Kafka record, as it lay in its partition."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    value: bytes | None


@dataclass(slots=True)
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

    @classmethod
    def of(cls, attributes: Mapping[str, str]) -> "Envelope":
        """The envelope of these attributes, whose required ones are all there. Raises `NotAnEventError`."""
        if attributes["specversion"] != "1.0":
            raise NotAnEventError("specversion_unknown")
        if not _SEQUENCE.fullmatch(attributes["sequence"]):
            raise NotAnEventError("sequence_malformed")
        if not _SUBJECT.fullmatch(attributes["subject"]):
            raise NotAnEventError("subject_malformed")
        try:
            time = datetime.fromisoformat(attributes["time"])
        except ValueError:
            raise NotAnEventError("time_malformed") from None
        if time.tzinfo is None:
            raise NotAnEventError("time_malformed")
        return cls(
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


class NotAnEventError(ValueError):
    """A record is no event; the message is the reason, as it stands in the timeline."""


def unwrap(received: Received) -> tuple[Sequence[tuple[str, bytes]], bytes]:
    """Headers and value in binary mode; a structured record is turned into one."""
    if received.value is None:
        raise NotAnEventError("value_null")
    if isinstance(received.value, Unopened):
        raise NotAnEventError("batch_not_unpacked")
    if len(received.value) > MAX_VALUE_BYTES:
        raise NotAnEventError("value_too_large")
    if len(received.headers) > MAX_HEADERS:
        raise NotAnEventError("too_many_headers")
    # Of a name it is known how many letters it has, each of up to four bytes.
    if sum([4 * len(name) + len(data or b"") for name, data in received.headers]) > MAX_HEADERS_BYTES:
        raise NotAnEventError("headers_too_long")
    headers = [(name, data) for name, data in received.headers if data is not None]
    if len(headers) != len(received.headers):
        raise NotAnEventError("header_null")
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
        raise NotAnEventError("content_type_not_utf8") from None
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
        raise NotAnEventError("nested_too_deeply") from None


def _attribute(item: Any) -> bytes:
    """An attribute as binary mode writes it (CloudEvents 1.0, 3.1: canonical string representation)."""
    return (str(item).lower() if isinstance(item, bool) else str(item)).encode()


def _json_object(value: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise NotAnEventError("not_json") from None
    if not isinstance(document, dict):
        raise NotAnEventError("not_an_object")
    return document


def attributes_of(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, data in headers:
        if name[:3] != "ce_":
            continue
        if len(data) > MAX_HEADER_BYTES:
            raise NotAnEventError("header_too_long")
        if name[3:] in attributes:
            raise NotAnEventError("header_duplicate")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise NotAnEventError("header_not_utf8") from None
        if not text.isprintable() and _CONTROL.search(text):
            raise NotAnEventError("header_has_control_character")
        attributes[name[3:]] = text
    if not attributes.keys() >= REQUIRED:
        raise NotAnEventError(f"header_missing:{next(name for name in REQUIRED if name not in attributes)}")
    return attributes
