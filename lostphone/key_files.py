"""Files of private keys and secrets, made where they are missing; only whoever runs the installation reads them."""

import base64
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from lostphone.private_file import replace_private


def private_key(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key in this file, made when the file is missing."""
    if path.exists():
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path} does not hold an Ed25519 private key")
        return key
    key = Ed25519PrivateKey.generate()
    _write(path, key)
    return key


def mldsa_key(path: Path) -> None:
    """A second key beside an Ed25519 one, whose signatures outlive quantum computers; made when the file is missing."""
    if not path.exists():
        _write(path, MLDSA44PrivateKey.generate())


def secret(path: Path) -> None:
    """32 random bytes in standard base64, made when the file is missing."""
    if not path.exists():
        private_folder(path.parent)
        replace_private(path, base64.b64encode(secrets.token_bytes(32)) + b"\n")


def private_folder(path: Path) -> None:
    """A folder that nobody else may enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def _write(path: Path, key: Ed25519PrivateKey | MLDSA44PrivateKey) -> None:
    private_folder(path.parent)
    replace_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
