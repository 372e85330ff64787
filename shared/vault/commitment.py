"""Commitments in the shape of an SD-JWT disclosure (RFC 9901, 4.2.1 and 4.2.3).

The text is base64url of the JSON array [salt, name, value]; the digest is base64url SHA-256 of that text. Who holds
the text can check the digest with standard code; who holds only the digest learns nothing: the salt has 256 bits.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass

import orjson

_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One value with its name, and what commits to it."""

    name: str
    value: str
    text: str
    digest: str

    @classmethod
    def of(cls, name: str, value: str) -> "Disclosure":
        """A fresh commitment; the same value gets another digest each time."""
        salt = _base64url(secrets.token_bytes(_SALT_BYTES))
        text = _base64url(orjson.dumps([salt, name, value]))
        return cls(name, value, text, digest_of(text))

    @classmethod
    def read(cls, text: str) -> "Disclosure":
        """Decode a disclosure. Raises `ValueError` when it is none."""
        array = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not (isinstance(array, list) and len(array) == 3 and all(isinstance(part, str) for part in array)):
            raise ValueError("a disclosure is an array of salt, name and value")
        return cls(array[1], array[2], text, digest_of(text))


def digest_of(text: str) -> str:
    """The commitment that events carry, for a disclosure text: 43 characters of base64url without padding."""
    return _base64url(hashlib.sha256(text.encode("ascii")).digest())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
