"""The keys of a log: Ed25519 over the note's text, and ML-DSA-44 over the statement of c2sp.org/tlog-cosignature; and
the keys of witnesses, which sign both with the time.

log_vkey(Path("keys/log-ed25519.pem"), "log.example/acme")     # what a verifier is given
"""

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.audit.tlog.checkpoint import Checkpoint, CheckpointError
from services.audit.tlog.note import Signature

ED25519 = 0x01
COSIGNATURE = 0x04
"""A witness's timestamped Ed25519 signature (`cosignature/v1`)."""
MLDSA44 = 0x06
"""A timestamped ML-DSA-44 signature over the checkpoint that the note's text states."""
_PUBLIC_BYTES = {ED25519: 32, COSIGNATURE: 32, MLDSA44: 1312}
_NAME = re.compile(r"[^\s+]+")
_MAX_NAME_BYTES = 255
"""What ML-DSA-44 can state of a name."""
_LATEST = 2**63 - 1
"""No cosignature may state a later time. Any other says what a witness says, and its clock is its own affair."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name and type, as a reader's policy names it."""

    name: str
    type: int
    public: bytes

    @property
    def keyid(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    def __str__(self) -> str:
        material = base64.b64encode(bytes([self.type]) + self.public).decode()
        return f"{self.name}+{self.keyid.hex()}+{material}"

    @classmethod
    def parse(cls, vkey: str) -> "VerifierKey":
        """Raises `ValueError` for a text that is not a verifier key of a known type."""
        name, _, rest = vkey.strip().partition("+")
        keyid, _, material = rest.partition("+")
        try:
            data = base64.b64decode(material, validate=True)
        except binascii.Error:
            raise ValueError("the verifier key is not base64") from None
        if not _NAME.fullmatch(name) or not data or len(data) - 1 != _PUBLIC_BYTES.get(data[0]):
            raise ValueError("not a verifier key of type Ed25519, cosignature or ML-DSA-44")
        key = cls(name, data[0], data[1:])
        if base64.b64encode(data).decode() != material:
            raise ValueError("the verifier key is not in the one form of its base64")
        if key.keyid.hex() != keyid:
            raise ValueError(f"the verifier key of {name} does not match its own id")
        return key

    @classmethod
    def of_log(cls, vkey: str) -> "VerifierKey":
        """The key of a log. Raises `ValueError` for the key of a witness, too: type 04 signs no checkpoint as a log."""
        key = cls.parse(vkey)
        if key.type == COSIGNATURE:
            raise ValueError(f"the key of {key.name} is a witness's (type 04); a log's is of type Ed25519 or ML-DSA-44")
        return key

    def verifies(self, text: str, signature: bytes) -> bool:
        """Whether this key signed the note's text."""
        try:
            if self.type == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
                return True
            (time,) = struct.unpack_from(">Q", signature)
            if time > _LATEST:
                return False
            if self.type == COSIGNATURE:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature[8:], _cosigned_text(time, text))
            else:
                statement = _cosigned_message(self.name, time, Checkpoint.parse(text))
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature[8:], statement)
        except (InvalidSignature, CheckpointError, ValueError, struct.error):
            return False
        return True


@dataclass(frozen=True, slots=True)
class LogKey:
    """A private key of the log. Its name is the log's origin."""

    origin: str
    key: Ed25519PrivateKey | MLDSA44PrivateKey

    @classmethod
    def from_pem(cls, path: Path, origin: str) -> "LogKey":
        """Raises `ValueError` when the file holds no key of the two kinds or the origin cannot be a key's name."""
        if not _NAME.fullmatch(origin) or len(origin.encode()) > _MAX_NAME_BYTES:
            raise ValueError(f"the log's origin {origin!r} must be short, and have no spaces and no plus sign")
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey | MLDSA44PrivateKey):
            raise ValueError(  # noqa: TRY004 - what the file holds is at fault
                f"{path} holds neither an Ed25519 nor an ML-DSA-44 private key"
            )
        return cls(origin, key)

    @property
    def verifier(self) -> VerifierKey:
        kind = ED25519 if isinstance(self.key, Ed25519PrivateKey) else MLDSA44
        return VerifierKey(self.origin, kind, self.key.public_key().public_bytes_raw())

    def sign(self, checkpoint: Checkpoint, time: int) -> Signature:
        """The line that goes under the checkpoint. `time` is in seconds since 1970; Ed25519 does not state it."""
        if isinstance(self.key, Ed25519PrivateKey):
            value = self.key.sign(checkpoint.text().encode())
        else:
            statement = _cosigned_message(self.origin, time, checkpoint)
            value = struct.pack(">Q", time) + self.key.sign(statement)
        return Signature(self.origin, self.verifier.keyid, value)


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A private key of a witness, under the witness's name."""

    name: str
    key: Ed25519PrivateKey | MLDSA44PrivateKey

    @property
    def verifier(self) -> VerifierKey:
        kind = COSIGNATURE if isinstance(self.key, Ed25519PrivateKey) else MLDSA44
        return VerifierKey(self.name, kind, self.key.public_key().public_bytes_raw())

    def cosign(self, text: str, time: int) -> Signature:
        """The line that goes under the checkpoint: at `time`, in seconds since 1970, this was the newest one seen."""
        if isinstance(self.key, Ed25519PrivateKey):
            value = self.key.sign(_cosigned_text(time, text))
        else:
            value = self.key.sign(_cosigned_message(self.name, time, Checkpoint.parse(text)))
        return Signature(self.name, self.verifier.keyid, struct.pack(">Q", time) + value)


def _cosigned_text(time: int, text: str) -> bytes:
    """What an Ed25519 cosignature signs."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _cosigned_message(name: str, time: int, checkpoint: Checkpoint) -> bytes:
    """`cosigned_message` of c2sp.org/tlog-cosignature, for the whole tree."""
    cosigner, origin = name.encode(), checkpoint.origin.encode()
    if not 0 < len(cosigner) <= _MAX_NAME_BYTES or not 0 < len(origin) <= _MAX_NAME_BYTES:
        raise ValueError(f"the names of log and signer have 1 to {_MAX_NAME_BYTES} bytes")
    return b"".join(
        (
            b"subtree/v1\n\x00",
            bytes([len(cosigner)]),
            cosigner,
            struct.pack(">Q", time),
            bytes([len(origin)]),
            origin,
            struct.pack(">QQ", 0, checkpoint.size),
            checkpoint.root,
        )
    )


def log_vkey(path: Path, origin: str) -> str:
    """The verifier key for the private key in a PEM file, Ed25519 or ML-DSA-44: what `lostphone verify` is given."""
    return str(LogKey.from_pem(path, origin).verifier)
