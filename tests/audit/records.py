"""Records of Kafka as tests need them: signed by a service, or by nobody."""

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.events import Envelope, EventType, KeyRing, Received, Signer, event_types
from shared.events.payload import Payload

BY_NAME = {entry.name: entry for entry in event_types()}
START_MS = 1_795_418_694_123


def example(name: str) -> tuple[EventType, Payload]:
    entry = BY_NAME[name]
    return entry, entry.model.model_validate(entry.example)


@dataclass
class Writers:
    """The services that write to the log, with their keys; counts their sequences."""

    folder: Path
    topic: str = "lostphone.log.v1"

    def __post_init__(self) -> None:
        self._signers = {
            service: Signer(service, Ed25519PrivateKey.from_private_bytes(bytes([at]) * 32))
            for at, service in enumerate(("reporter", "mdm_actions", "notifier", "audit"), 1)
        }
        self._sequences: dict[tuple[str, str], int] = {}
        self._ids = 0
        self.keys_file = self.folder / "event-keys.json"
        self.keys_file.write_text(json.dumps(self.public_keys()))

    def public_keys(self) -> dict[str, dict[str, str]]:
        return {
            signer.keyid: {
                "service": service,
                "public_key": base64.b64encode(signer.key.public_key().public_bytes_raw()).decode(),
            }
            for service, signer in self._signers.items()
        }

    def keyring(self) -> KeyRing:
        return KeyRing(self.keys_file)

    def signer(self, service: str) -> Signer:
        return self._signers[service]

    def envelope(self, name: str, subject: str, **changes: Any) -> Envelope:
        """The next envelope of this event about this subject."""
        entry = BY_NAME[name]
        pair = (entry.source, subject)
        self._sequences[pair] = self._sequences.get(pair, 0) + 1
        self._ids += 1
        usual = Envelope(
            id=f"0192f0c1-0000-7000-8000-{self._ids:012x}",
            source=entry.source,
            type=entry.type,
            subject=subject,
            time=datetime(2026, 11, 24, 14, 40, self._ids % 60, tzinfo=UTC),
            sequence=self._sequences[pair],
            organisation="acme-kk",
            actor=f"service/{entry.writer}",
            dataschema=entry.dataschema,
        )
        return replace(usual, **changes)

    def sign(self, name: str, envelope: Envelope, payload: Payload | None = None) -> Received:
        """The record of this envelope; partition and offset are 0 until `at` says otherwise."""
        entry, usual = example(name)
        headers, value = envelope.sign(self._signers[entry.writer], payload or usual)
        return Received(self.topic, 0, 0, START_MS, envelope.subject.encode(), tuple(headers), value)

    def record(self, name: str, subject: str, **changes: Any) -> Received:
        return self.sign(name, self.envelope(name, subject, **changes))


def at(received: Received, partition: int, offset: int) -> Received:
    """The same record at another place."""
    return replace(received, partition=partition, offset=offset, timestamp_ms=START_MS + offset)
