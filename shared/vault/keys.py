"""The installation's vault keys, which wrap the key of each person, and the root that other keys are derived from.

The file is JSON:

    {"active": "vk-1a2b3c4d", "keys": {"vk-1a2b3c4d": "<32 bytes, base64>"}, "root": "<32 bytes, base64>"}

`active` wraps new keys; the others still unwrap. `root` never changes: references to people must stay the same for
the life of the installation, while vault keys come and go so that old backups die with them.
"""

import base64
import binascii
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_NONCE_BYTES = 12


class VaultKeys:
    """The keys of one installation. They stay in memory; nothing of them is ever shown."""

    def __init__(self, active: str, keys: Mapping[str, bytes], root: bytes) -> None:
        if active not in keys:
            raise ValueError(f"the active vault key {active} is not among the keys")
        if any(len(key) != KEY_BYTES for key in (*keys.values(), root)):
            raise ValueError(f"a vault key has {KEY_BYTES} bytes")
        self.active = active
        self._keys = dict(keys)
        self._root = root

    def __repr__(self) -> str:
        return f"VaultKeys(active={self.active!r})"

    @classmethod
    def generate(cls) -> "VaultKeys":
        """Fresh keys for a new installation."""
        name = _new_name()
        return cls(name, {name: secrets.token_bytes(KEY_BYTES)}, secrets.token_bytes(KEY_BYTES))

    @classmethod
    def read(cls, path: Path) -> "VaultKeys":
        """Raises `ValueError` when the file does not hold vault keys; its content is never part of the message."""
        try:
            document = json.loads(path.read_text())
            keys = {name: base64.b64decode(key, validate=True) for name, key in document["keys"].items()}
            return cls(document["active"], keys, base64.b64decode(document["root"], validate=True))
        except (KeyError, TypeError, AttributeError, binascii.Error, json.JSONDecodeError):
            raise ValueError(f"{path} does not hold vault keys (active, keys, root)") from None

    def write(self, path: Path) -> None:
        """Write the file so that only its owner can read it. It replaces the old one in one step."""
        document = {
            "active": self.active,
            "keys": {name: base64.b64encode(key).decode() for name, key in self._keys.items()},
            "root": base64.b64encode(self._root).decode(),
        }
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(document, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    def rotated(self) -> "VaultKeys":
        """The same keys and a fresh active one. After `rewrap`, keep `only_active`."""
        name = _new_name()
        return VaultKeys(name, {**self._keys, name: secrets.token_bytes(KEY_BYTES)}, self._root)

    def only_active(self) -> "VaultKeys":
        """Without the keys that nothing is wrapped by any more."""
        return VaultKeys(self.active, {self.active: self._keys[self.active]}, self._root)

    def derive(self, purpose: str) -> bytes:
        """A 256-bit key for one purpose (HKDF-SHA256 of the root); it survives rotation."""
        info = b"lostphone/" + purpose.encode()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self._root)

    def wrap(self, key: bytes, owner: bytes) -> bytes:
        """Encrypt a person's key under the active vault key, bound to its owner."""
        return seal(self._keys[self.active], key, owner)

    def unwrap(self, name: str, wrapped: bytes, owner: bytes) -> bytes:
        """Raises `ValueError` when the vault key is not in the file, or the wrapped key is not this owner's."""
        key = self._keys.get(name)
        if key is None:
            raise ValueError(f"vault key {name} is not in the key file; it is needed until everything is wrapped anew")
        return unseal(key, wrapped, owner)


def owner_of(organisation: str, person: str) -> bytes:
    """What a wrapped key is bound to, so that it cannot be moved to another person."""
    return f"{organisation}\n{person}".encode()


def seal(key: bytes, plain: bytes, bound_to: bytes) -> bytes:
    """AES-256-GCM: a random nonce of 12 bytes, then ciphertext and tag."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to)


def unseal(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    """Raises `ValueError` when key, content or binding is another one."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        raise ValueError("a sealed value does not open with this key") from None


def _new_name() -> str:
    return f"vk-{secrets.token_hex(4)}"
