"""A proof that can be carried away (c2sp.org/tlog-proof): index, inclusion proof and checkpoint in one text."""

import base64
import binascii
import re
from dataclasses import dataclass

from services.audit.tlog.checkpoint import Checkpoint
from services.audit.tlog.note import SignedNote
from services.audit.tlog.proof import verify_inclusion

_HEAD = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class ProofFile:
    """One entry's place in the log."""

    index: int
    hashes: tuple[bytes, ...]
    note: SignedNote

    def __bytes__(self) -> bytes:
        lines = [_HEAD, f"index {self.index}", *(base64.b64encode(item).decode() for item in self.hashes), "", ""]
        return "\n".join(lines).encode() + bytes(self.note)

    @classmethod
    def parse(cls, data: bytes) -> "ProofFile":
        """Raises `ValueError`. An `extra` line is skipped: it is not authenticated."""
        head, separator, note = data.partition(b"\n\n")
        lines = head.decode(errors="replace").split("\n")
        if not separator or lines.pop(0) != _HEAD:
            raise ValueError("not a tlog-proof")
        if lines and lines[0].startswith("extra "):
            lines.pop(0)
        match = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if match is None:
            raise ValueError("the proof has no index")
        return cls(int(match[1]), tuple(map(_hash, lines)), SignedNote.parse(note))

    def proves(self, leaf: bytes) -> bool:
        """Whether it leads from the leaf with this hash to the checkpoint's root. Signatures are another matter."""
        checkpoint = Checkpoint.parse(self.note.text)
        return verify_inclusion(self.index, checkpoint.size, leaf, self.hashes, checkpoint.root)


def _hash(line: str) -> bytes:
    try:
        data = base64.b64decode(line, validate=True)
    except binascii.Error:
        raise ValueError("a line of the proof is not base64") from None
    if base64.b64encode(data).decode() != line:
        raise ValueError("a line of the proof is not in the one form of its base64")
    return data
