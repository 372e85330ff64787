"""Sealed cookies: what is in them can be neither read nor changed by the browser (AES-256-GCM)."""

import base64
import binascii
import time
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.vault.keys import KEY_BYTES, seal, unseal

SESSION_SECONDS = 8 * 3600
SIGN_IN_SECONDS = 600


def session_key(path: Path) -> bytes:
    """The installation's key for cookies: a file of at least 32 random bytes. Raises `ValueError` for a shorter one."""
    content = path.read_bytes()
    if len(content) < KEY_BYTES:
        raise ValueError(f"{path} needs at least {KEY_BYTES} random bytes")
    return content


def derive(key: bytes, purpose: str) -> bytes:
    """A 256-bit key for one purpose (HKDF-SHA256)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"lostphone/web/" + purpose.encode()).derive(key)


class Seal:
    """Seals the cookies of a service. The name of a cookie is bound in: none can stand in for another.

    Browsers keep cookies by host, not by port. So the names tell the key: services with keys of their own do not
    overwrite each other's sessions, and services that share a key share the sign-in.
    """

    def __init__(self, key: bytes) -> None:
        self._key = derive(key, "session")
        suffix = derive(key, "cookie-name")[:4].hex()
        self.session_cookie = f"lostphone_session_{suffix}"
        self.sign_in_cookie = f"lostphone_signin_{suffix}"

    def close(self, name: str, content: dict[str, Any], *, seconds: int) -> str:
        """The cookie's value, good for so long."""
        document = orjson.dumps({**content, "until": int(time.time()) + seconds})
        return base64.urlsafe_b64encode(seal(self._key, document, name.encode())).decode("ascii")

    def open(self, name: str, value: str | None) -> dict[str, Any] | None:
        """What was sealed, or None when it is missing, foreign or too old."""
        if not value:
            return None
        try:
            content: dict[str, Any] = orjson.loads(unseal(self._key, base64.urlsafe_b64decode(value), name.encode()))
        except (ValueError, binascii.Error):
            return None
        return content if content.get("until", 0) > time.time() else None
