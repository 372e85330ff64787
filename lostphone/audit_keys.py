"""The secrets with which the timeline is written, where a command does it in place of the audit service."""

import base64
from dataclasses import dataclass
from pathlib import Path

from lostphone.installation import Installation
from services.audit.domain.leaf import LeafBuilder
from shared.events import Signer


@dataclass(frozen=True)
class AuditKeys:
    """What the timeline needs to build the same leaves."""

    signing_key: Path
    blinding_key: Path
    event_keys: Path

    @classmethod
    def of(cls, installation: Installation) -> "AuditKeys":
        return cls(
            installation.key_file("audit", "event-signing.pem"),
            installation.key_file("audit", "blinding.key"),
            installation.event_keys_file,
        )

    def signer(self) -> Signer:
        """Raises `OSError` and `ValueError`."""
        return Signer.from_pem("audit", self.signing_key)

    def builder(self) -> LeafBuilder:
        """Raises `OSError` and `ValueError`."""
        return LeafBuilder(base64.b64decode(self.blinding_key.read_bytes().strip(), validate=True))
