"""Checkpoints (c2sp.org/tlog-checkpoint): the text of a note that states a log's size and root."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from services.audit.tlog.note import Key, SignedNote
from services.audit.tlog.tiles import HASH_BYTES

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class CheckpointError(ValueError):
    """The text is not a checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says about itself. Lines after the third are kept out: they are not auditable."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Raises `CheckpointError`. Extension lines are allowed and ignored."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise CheckpointError("a checkpoint has at least three lines, none of them empty")
        origin, size, root = lines[:3]
        if not _SIZE.fullmatch(size):
            raise CheckpointError("the size is not a number")
        try:
            digest = base64.b64decode(root, validate=True)
        except binascii.Error:
            raise CheckpointError("the root is not base64") from None
        if len(digest) != HASH_BYTES or base64.b64encode(digest).decode() != root:
            raise CheckpointError("the root is not a SHA-256 hash")
        return cls(origin, int(size), digest)

    @classmethod
    def signed[K: Key](cls, note: SignedNote, keys: Sequence[K]) -> "tuple[Checkpoint, list[K]]":
        """What a log signed, and with which of these keys: those of its name. The others may have signed as well.
        Raises `CheckpointError`, and `NoteError` as `SignedNote.verified_by`."""
        signed = note.verified_by(keys)
        checkpoint = cls.parse(note.text)
        own = [key for key in keys if key in signed and key.name == checkpoint.origin]
        if not own:
            raise CheckpointError(f"the checkpoint is of {checkpoint.origin}, and no key of that log signed it")
        return checkpoint, own
