"""Settings of the audit service, beyond those of every service."""

import base64
import binascii
from pathlib import Path

from pydantic import Field

from services.audit.tlog import LogKey
from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """Prefix `LOSTPHONE_`."""

    log_origin: str = Field(description="The name of the log, as in its checkpoints: an address without its scheme.")
    log_key_file: Path = Field(description="Ed25519, PEM.")
    log_mldsa44_key_file: Path | None = Field(None, description="ML-DSA-44, PEM: a signature that outlives Ed25519.")
    blinding_key_file: Path = Field(description="32 bytes in base64. It never changes: leaves are built with it.")
    operator_organisation: str | None = Field(
        None, description="Whose auditors may read the whole log; others read what is their organisation's."
    )

    def log_keys(self) -> list[LogKey]:
        """Raises `OSError` or `ValueError` when a key cannot be read."""
        files = [self.log_key_file, *([self.log_mldsa44_key_file] if self.log_mldsa44_key_file else [])]
        return [LogKey.from_pem(file, self.log_origin) for file in files]

    def blinding_key(self) -> bytes:
        """Raises `OSError` or `ValueError` when the key cannot be read."""
        try:
            return base64.b64decode(self.blinding_key_file.read_bytes().strip(), validate=True)
        except binascii.Error:
            raise ValueError(f"{self.blinding_key_file} is not base64") from None
