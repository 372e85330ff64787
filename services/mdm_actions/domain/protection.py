"""What the inventory shows about a phone's protection from before the loss.

The snapshot is taken once, when the report arrives, and never changed: an assessment that excuses a leak rests on it.
"""

import hashlib
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from shared.events.payload import Answer, EncryptionLevel


class Posture(BaseModel):
    """The protection of one phone as last reported to the inventory or the MDM server."""

    model_config = ConfigDict(frozen=True)

    device: str
    observed_at: datetime
    last_check_in: datetime | None = None
    encrypted: Answer = Answer.UNKNOWN
    passcode_set: Answer = Answer.UNKNOWN
    supervised: Answer = Answer.UNKNOWN
    mdm_enrolled: Answer = Answer.UNKNOWN
    remote_erase_ready: Answer = Answer.UNKNOWN
    attempts_limited: Answer = Answer.UNKNOWN
    os_version: str | None = None

    @property
    def level(self) -> EncryptionLevel:
        """E1 needs encryption, a passcode and the version of the system on record; E2 a limit on attempts as well."""
        if self.encrypted is not Answer.YES or self.passcode_set is not Answer.YES or not self.os_version:
            return EncryptionLevel.E0
        return EncryptionLevel.E2 if self.attempts_limited is Answer.YES else EncryptionLevel.E1

    def document(self) -> bytes:
        """The snapshot as kept, whose hash goes into the event."""
        return self.model_dump_json().encode()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.document()).hexdigest()
