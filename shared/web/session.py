"""Sealed cookies: what is in them can be neither read nor changed by the browser (AES-256-GCM)."""

import base64
import binascii
import time
from typing import Any

import orjson

from shared.vault.keys import seal, unseal

SESSION_COOKIE = "lostphone_session"
SIGN_IN_COOKIE = "lostphone_signin"
SESSION_SECONDS = 8 * 3600
SIGN_IN_SECONDS = 600


class Seal:
    """Seals the cookies of one installation. The name of a cookie is bound in: none can stand in for another."""

    def __init__(self, key: bytes) -> None:
        self._key = key

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
