"""Receipt codes: 100 bits in twenty letters that can be read aloud; only a hash of them is kept."""

import base64
import hashlib
import hmac
import re
import secrets
import unicodedata

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FROM_BASE32 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", _ALPHABET)
_READ_WRONG = str.maketrans("OILU", "011V")
_CODE = re.compile(rf"^[{_ALPHABET}]{{20}}$")


def new_code() -> str:
    """A fresh code."""
    return _write(secrets.token_bytes(13))


def code_for(secret: bytes, door: str, who: str, key: str) -> str:
    """The code that belongs to an idempotency key: a repeated request gets it again, though it is stored nowhere."""
    return _write(hmac.digest(secret, "\n".join(("receipt", door, who, key)).encode(), "sha256"))


def read(code: str) -> str | None:
    """A code as typed, in its one written form, or None when it cannot be one."""
    written = unicodedata.normalize("NFKC", code).upper()
    tidy = re.sub(r"[\s\-‐‑‒–—―−ーｰ]", "", written).translate(_READ_WRONG)
    return _group(tidy) if _CODE.match(tidy) else None


def code_hash(code: str) -> str:
    """What is stored of a code."""
    return hashlib.sha256(f"lostphone.receipt\n{code}".encode()).hexdigest()


def _write(material: bytes) -> str:
    return _group(base64.b32encode(material)[:20].decode().translate(_FROM_BASE32))


def _group(letters: str) -> str:
    return "-".join(letters[start : start + 5] for start in range(0, 20, 5))
