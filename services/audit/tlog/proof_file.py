"""A proof that can be carried away (c2sp.org/tlog-proof): index, inclusion proof and checkpoint in one text."""

import base64
from dataclasses import dataclass

from services.audit.tlog.note import SignedNote

_HEAD = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class ProofFile:
    """One entry's place in the log."""

    index: int
    hashes: tuple[bytes, ...]
    note: SignedNote

    def __bytes__(self) -> bytes:
        lines = [_HEAD, f"index {self.index}", *(base64.b64encode(item).decode() for item in self.hashes), "", ""]
        return "\n".join(lines).encode() + bytes(self.note)
