"""Records as the log has them: signed events of about a kilobyte, about many incidents, over twelve partitions."""

import json
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import uuid_utils.compat as uuids
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.events import LOG_TOPIC, Envelope, KeyRing, Received, Signer, event_types

PARTITIONS = 12
EVENT = "DeviceLost"
_ACTOR = "person-5f1c7d0a9be34c21a6d8f0e2b47c93aa/employee"


class Records:
    """Makes the records of one log, one after the other."""

    def __init__(self, incidents: int = 500, *, size: int = 1024) -> None:
        """`size`: bytes of value and `ce_*` headers together, about."""
        self._entry = next(entry for entry in event_types() if entry.name == EVENT)
        self._signer = Signer(self._entry.writer, Ed25519PrivateKey.generate())
        self._payload = self._entry.model.model_validate(self._entry.example)
        self._subjects = [str(uuids.uuid7()) for _ in range(incidents)]
        self._sequences = dict.fromkeys(self._subjects, 0)
        self._offsets = [0] * PARTITIONS
        self._numbers = count()
        self._size = size

    def keyring(self) -> KeyRing:
        """The keys that these records verify with."""
        public = b64encode(self._signer.key.public_key().public_bytes_raw()).decode()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "event-keys.json"
            file.write_text(json.dumps({self._signer.keyid: {"service": self._signer.service, "public_key": public}}))
            return KeyRing(file)

    def private_key(self) -> Ed25519PrivateKey:
        """What they are signed with."""
        return self._signer.key

    def take(self, number: int) -> list[Received]:
        """The next records, in the order of the log."""
        return list(self._some(number))

    def _some(self, number: int) -> Iterator[Received]:
        for _ in range(number):
            place = next(self._numbers) % len(self._subjects)
            subject, partition = self._subjects[place], place % PARTITIONS
            self._sequences[subject] += 1
            offset = self._offsets[partition]
            self._offsets[partition] += 1
            headers, value = self._signed(subject, self._sequences[subject])
            key = subject.encode()
            yield Received(LOG_TOPIC, partition, offset, 1_795_418_694_123 + offset, key, tuple(headers), value)

    def _signed(self, subject: str, sequence: int) -> tuple[list[tuple[str, bytes]], bytes]:
        envelope = Envelope(
            id=str(uuids.uuid7()),
            source=self._entry.source,
            type=self._entry.type,
            subject=subject,
            time=datetime.now(UTC),
            sequence=sequence,
            organisation="bench-kk",
            actor=_ACTOR,
            traceparent=f"00-{subject.replace('-', '')}-b7ad6b7169203331-00",
            dataschema=self._entry.dataschema,
        )
        headers = replace(envelope, keyid=self._signer.keyid).headers()
        value = self._payload.write()
        wanted = self._size - len(value) - sum(len(name) + len(data) for name, data in headers)
        if wanted > 0:
            value = value[:-1] + b',"padding":"' + b"x" * max(0, wanted - 13) + b'"}'
        signature = self._signer.sign(subject.encode(), headers, value)
        return [*headers, ("ce_signature", signature.encode())], value
