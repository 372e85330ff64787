"""Signed notes (c2sp.org/signed-note): a text, and lines of signatures under it.

note = SignedNote.parse(data)
note.verified_by([VerifierKey.parse(vkey)])
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_NOTE_BYTES = 1_000_000
_MAX_SIGNATURES = 100
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<base64>[A-Za-z0-9+/]+={0,2})")


class NoteError(ValueError):
    """The note is malformed, or nobody who is trusted signed it; the message says which."""


class Key(Protocol):
    """A public key that a reader trusts."""

    @property
    def name(self) -> str: ...
    @property
    def keyid(self) -> bytes: ...
    def verifies(self, text: str, signature: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class Signature:
    """One line under a note; `value` is what follows the 4 bytes of the key id."""

    name: str
    keyid: bytes
    value: bytes

    def line(self) -> str:
        return f"— {self.name} {base64.b64encode(self.keyid + self.value).decode()}\n"


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text that ends in a newline, and its signatures."""

    text: str
    signatures: tuple[Signature, ...]

    def __bytes__(self) -> bytes:
        return (self.text + "\n" + "".join(signature.line() for signature in self.signatures)).encode()

    @classmethod
    def parse(cls, data: bytes) -> "SignedNote":
        """Raises `NoteError`. Nothing is believed yet: call `verified_by`."""
        if len(data) > MAX_NOTE_BYTES:
            raise NoteError("the note is too long")
        try:
            note = data.decode()
        except UnicodeDecodeError:
            raise NoteError("the note is not UTF-8") from None
        if any(character < " " and character != "\n" for character in note):
            raise NoteError("the note holds control characters")
        text, separator, lines = note.rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise NoteError("the note has no signatures")
        signatures = tuple(_signature(line) for line in lines[:-1].split("\n"))
        if len(signatures) > _MAX_SIGNATURES:
            raise NoteError("the note has too many signatures")
        return cls(text + "\n", signatures)

    def verified_by[K: Key](self, keys: Sequence[K]) -> list[K]:
        """Which of these keys signed the note. Signatures of other keys are ignored.

        Raises `NoteError` when a line claims to be of one of the keys and is not, and when none signed.
        """
        signed: list[K] = []
        for signature in self.signatures:
            for key in keys:
                if (key.name, key.keyid) != (signature.name, signature.keyid):
                    continue
                if not key.verifies(self.text, signature.value):
                    raise NoteError(f"the signature of {key.name} ({key.keyid.hex()}) is wrong")
                signed.append(key)
        if not signed:
            raise NoteError("no key that is trusted signed the note")
        return signed


def _signature(line: str) -> Signature:
    match = _SIGNATURE.fullmatch(line)
    if match is None:
        raise NoteError("a line under the note is not a signature")
    try:
        data = base64.b64decode(match["base64"], validate=True)
    except binascii.Error:
        raise NoteError("a signature is not base64") from None
    if len(data) < 5 or base64.b64encode(data).decode() != match["base64"]:
        raise NoteError("a signature is too short, or not in the one form of its base64")
    return Signature(match["name"], data[:4], data[4:])
