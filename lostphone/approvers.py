"""Keys of the people who may sign a wipe: made on their own machines, their public halves in the approvers' file.

The approvers' file is JSON, key id → {"person", "organisation", "public_key", "may"}; only `mdm_actions` reads it.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from lostphone.installation import Installation
from lostphone.key_files import private_key
from lostphone.private_file import replace_private
from lostphone.screen import CouldNotError
from sandbox.companies import companies
from shared.vault.keys import VaultKeys
from shared.vault.people import People

_MAY = {
    "security_desk": ["propose"],
    "incident_lead": ["propose"],
    "approver": ["propose", "approve"],
}


class PassphraseError(Exception):
    """The key file is encrypted, and the passphrase is missing or another one."""


def key_id(key: Ed25519PublicKey) -> str:
    """The name of an approver's key. It is the start of its fingerprint, because it stands in events."""
    return f"approver-{hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]}"


def entry(key: Ed25519PublicKey, *, person: str, organisation: str, may: list[str]) -> dict[str, Any]:
    """The line of the approvers' file for one key."""
    public = base64.b64encode(key.public_bytes_raw()).decode()
    return {key_id(key): {"person": person, "organisation": organisation, "public_key": public, "may": may}}


def make_key(path: Path, passphrase: str | None) -> Ed25519PrivateKey:
    """A new key in a new file that only its owner can read. Raises `CouldNotError` when the file exists."""
    if path.exists():
        raise CouldNotError(
            f"{path} はすでにあります。鍵は上書きしません。", f"{path} exists already; a key is never overwritten."
        )
    key = Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    try:
        replace_private(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    except OSError as error:
        raise CouldNotError(
            f"{path} に書けません: {error.strerror}", f"Cannot write {path}: {error.strerror}"
        ) from error
    return key


def read_key(path: Path, passphrase: str | None = None) -> Ed25519PrivateKey:
    """The key in a PEM file. Raises `PassphraseError` or `CouldNotError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CouldNotError(
            f"{path} を読めません: {error.strerror}", f"Cannot read {path}: {error.strerror}"
        ) from error
    try:
        key = load_pem_private_key(content, passphrase.encode() if passphrase else None)
    except TypeError as error:
        raise PassphraseError from error
    except ValueError as error:
        if passphrase:
            raise PassphraseError from error
        raise _not_a_key(path) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_a_key(path)
    return key


def _not_a_key(path: Path) -> CouldNotError:
    return CouldNotError(
        f"{path} は Ed25519 の秘密鍵(PEM)ではありません。lostphone keygen で作れます。",
        f"{path} does not hold an Ed25519 private key in PEM. lostphone keygen makes one.",
    )


def person_ref(installation_vault_keys: Path, organisation: str, sub: str) -> str:
    """The reference of an employee. Only who holds the installation's vault keys can tell it."""
    return People(VaultKeys.read(installation_vault_keys)).ref(organisation, sub)


def make_sandbox_approvers(installation: Installation) -> None:
    """Keys for the people of the sandbox whose role signs wipes, and the approvers' file that names them. What others
    added to the file stays."""
    file = installation.approvers_file
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    people = People(VaultKeys.read(installation.vault_key_file))
    for organisation, person in companies().everyone():
        may = sorted({step for role in person.roles for step in _MAY.get(role, [])}, reverse=True)
        if may:
            key = private_key(sandbox_key_file(installation.data_dir, person.sub)).public_key()
            ref = people.ref(organisation, person.sub)
            known |= entry(key, person=ref, organisation=organisation, may=may)
    replace_private(file, json.dumps(known, indent=2).encode() + b"\n")


def sandbox_key_file(data_dir: Path, sub: str) -> Path:
    """Where the key of a person of the sandbox lies. A real approver's key never leaves that person's machine."""
    return data_dir / "keys" / "people" / f"{sub}.pem"
