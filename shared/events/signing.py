"""Who signed an event: Ed25519 over the key, every `ce_*` header and the value.

What is signed, byte for byte: the tag `lostphone.event.v1\\n`, then the record key, then the number of headers
as 4 bytes big-endian, then each `ce_*` header but `ce_signature`, sorted by name, as name and value, then the
record value. Key, names, values and value are each preceded by their length as 4 bytes big-endian.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

DOMAIN_TAG = b"lostphone.event.v1\n"
SIGNATURE_HEADER = "ce_signature"

_SIGNATURE_BYTES = 64

type Headers = Iterable[tuple[str, bytes]]


def signing_input(key: bytes, headers: Headers, value: bytes) -> bytes:
    """The bytes that the writer signs."""
    signed = sorted([header for header in headers if header[0][:3] == "ce_" and header[0] != SIGNATURE_HEADER])
    parts = [DOMAIN_TAG, _length(key), key, len(signed).to_bytes(4)]
    for name, data in signed:
        parts += (framed(name), _length(data), data)
    parts += (_length(value), value)
    return b"".join(parts)


def _length(part: bytes) -> bytes:
    return len(part).to_bytes(4)


@lru_cache(256)
def framed(name: str) -> bytes:
    """A header's name as it is signed; they are the same few in every event."""
    return _length(name.encode()) + name.encode()


def key_id(service: str, public_key: Ed25519PublicKey) -> str:
    """The name of a key: its service and the start of its fingerprint."""
    return f"{service}-{hashlib.sha256(public_key.public_bytes_raw()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Signer:
    """A service's signing key."""

    service: str
    key: Ed25519PrivateKey

    @classmethod
    def from_pem(cls, service: str, path: Path) -> "Signer":
        """Raises `ValueError` when the file holds no Ed25519 private key."""
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path} does not hold an Ed25519 private key")  # noqa: TRY004 - the file is wrong, not a type
        return cls(service, key)

    @cached_property
    def keyid(self) -> str:
        return key_id(self.service, self.key.public_key())

    def sign(self, key: bytes, headers: Headers, value: bytes) -> str:
        """The content of `ce_signature`: standard base64 of 64 bytes."""
        return base64.b64encode(self.key.sign(signing_input(key, headers, value))).decode()


@dataclass(frozen=True)
class EventKey:
    """A public key and the only service whose events it may sign."""

    service: str
    public_key: Ed25519PublicKey

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Whether the signature is this key's over exactly these bytes (RFC 8032).

        libsodium checks in half the time, and lets other threads go on meanwhile. It takes nothing that OpenSSL
        refuses, and refuses a little more (an `R` of small order): what it refuses is asked again, so that everybody
        who reads the log comes to the same answer, whatever they check with.
        """
        if len(signature) == _SIGNATURE_BYTES:
            with suppress(BadSignatureError):
                crypto_sign_open(signature + signed, self._raw)
                return True
        try:
            self.public_key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True

    @cached_property
    def _raw(self) -> bytes:
        return self.public_key.public_bytes_raw()


class KeyRing:
    """The public keys of all services. A key that is not known is looked for in the file again, so that a
    rotated key needs no restart: publish the new public key first, then give the service its private key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._keys: Mapping[str, EventKey] = {}
        self._reload()

    def find(self, keyid: str) -> EventKey | None:
        """The key of this id, or None."""
        if keyid not in self._keys:
            self._reload()
        return self._keys.get(keyid)

    def _reload(self) -> None:
        stat = self._path.stat()
        if self._read_at == (stat.st_mtime_ns, stat.st_size):
            return
        self._keys = {
            keyid: EventKey(entry["service"], Ed25519PublicKey.from_public_bytes(base64.b64decode(entry["public_key"])))
            for keyid, entry in json.loads(self._path.read_text()).items()
        }
        self._read_at = (stat.st_mtime_ns, stat.st_size)
