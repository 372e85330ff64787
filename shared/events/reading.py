"""What a record of the log says: an event of one of ours, or why it is none.

reading = read(received, keyring)                         # Event or Rejection
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from shared.events.envelope import Envelope, NotAnEventError, Received, attributes_of, unwrap
from shared.events.registry import EventType, find
from shared.events.signing import EventKey, KeyRing, signing_input
from shared.events.usual_headers import usual


@dataclass(slots=True)
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


@dataclass(slots=True)
class Claim:
    """What is an event, should the signature be its writer's."""

    event: Event
    key: EventKey
    signature: bytes
    signed: bytes

    def settled(self) -> Reading:
        """Check the signature, which takes most of the time that a record takes."""
        if not self.key.verifies(self.signature, self.signed):
            return Rejection("unverified", "signature_invalid", self.event.received)
        known, service = self.event.entry, self.key.service
        if self.event.envelope.source != f"/lostphone/{service}" or (known is not None and known.writer != service):
            return Rejection("unverified", "writer_not_registered", self.event.received)
        return self.event


def read(received: Received, keyring: KeyRing) -> Reading:
    """Decode and verify one record. Never raises for what a record holds."""
    claimed = claim(received, keyring)
    return claimed.settled() if isinstance(claimed, Claim) else claimed


def statement(received: Received) -> bytes:
    """What the writer of an event signed, hashed: the same however the record is wrapped. Raises `ValueError` for what
    is no event."""
    headers, value = unwrap(received)
    return hashlib.sha256(signing_input(received.key or b"", headers, value)).digest()


def claim(received: Received, keyring: KeyRing) -> Claim | Rejection:
    """Decode one record, its signature unchecked. Never raises for what a record holds."""
    try:
        value, attributes, signed = _decoded(received)
        envelope = Envelope.of(attributes)
    except NotAnEventError as error:
        return Rejection("unparsed", str(error), received)
    key = received.key or b""
    if key != envelope.subject.encode() or attributes["partitionkey"] != envelope.subject:
        return Rejection("unverified", "key_is_not_subject", received)
    signature = attributes.get("signature")
    if signature is None or envelope.keyid is None:
        return Rejection("unverified", "signature_missing", received)
    entry = keyring.find(envelope.keyid)
    if entry is None:
        return Rejection("unverified", "key_unknown", received)
    try:
        decoded = base64.b64decode(signature, validate=True)
    except ValueError:
        return Rejection("unverified", "signature_invalid", received)
    return Claim(Event(envelope, value, received), entry, decoded, signed)


def _decoded(received: Received) -> tuple[bytes, Mapping[str, str], bytes]:
    """Value, attributes, and what the writer signed. Raises `NotAnEventError`."""
    if (found := usual(received)) is not None:
        return received.value or b"", found.attributes, found.signed
    headers, value = unwrap(received)
    return value, attributes_of(headers), signing_input(received.key or b"", headers, value)
