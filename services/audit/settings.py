"""Settings of the audit service, beyond those of every service."""

import base64
import binascii
from pathlib import Path

import httpx2
from pydantic import Field

from services.audit.feeds.ocsf_versions import OcsfVersion
from services.audit.timestamps import Timestamps
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

    log_policy_file: Path | None = Field(
        None,
        description="tlog-policy: the log's keys, its witnesses with their addresses, the quorum. None: no witnesses.",
    )
    log_state_dir: Path | None = Field(
        None,
        description="Outside the database: the newest published checkpoint, which a restored database must continue; "
        "timestamps.",
    )
    tsa_url: str | None = Field(None, description="An RFC 3161 authority that certifies when checkpoints existed.")
    tsa_roots_file: Path | None = Field(None, description="PEM: what the authority's certificate must lead to.")

    ocsf_version: OcsfVersion = Field(OcsfVersion.V1_8, description="Of the SIEM feed: 1.8.0 or 1.9.0.")

    def timestamps(self, http: httpx2.AsyncClient) -> Timestamps | None:
        """The authority that is asked for timestamps, if one is. Raises `OSError` or `ValueError`."""
        if self.tsa_url is None:
            return None
        if self.tsa_roots_file is None:
            raise ValueError("LOSTPHONE_TSA_ROOTS_FILE must say whom the timestamping authority is trusted by")
        return Timestamps(self.tsa_url, self.tsa_roots_file.read_bytes(), http)

    def log_policy(self) -> str:
        """The policy's text: the file's, or one that asks for no witness. Raises `OSError`."""
        if self.log_policy_file is not None:
            return self.log_policy_file.read_text(encoding="utf-8")
        return "".join(f"log {key.verifier}\n" for key in self.log_keys()) + "quorum none\n"

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
