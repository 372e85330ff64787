"""References to people: what events and rows say instead of a name."""

import hmac
import secrets
from pathlib import Path

from shared.vault.keys import VaultKeys


class People:
    """Makes references. Only who holds the vault key file can tell whose reference it is."""

    def __init__(self, keys: VaultKeys) -> None:
        self._key = keys.derive("people.v1")

    @classmethod
    def from_file(cls, path: Path) -> "People":
        """Raises `ValueError` when the file holds no vault keys."""
        return cls(VaultKeys.read(path))

    def ref(self, organisation: str, subject: str) -> str:
        """The reference of an employee, from the `sub` that the identity provider knows: the same in every service."""
        names = organisation.encode(), subject.encode()
        framed = b"".join(len(name).to_bytes(4) + name for name in names)
        return f"person-{hmac.digest(self._key, framed, 'sha256')[:16].hex()}"

    def new_ref(self) -> str:
        """A random reference, for a customer or another person who does not sign in."""
        return f"person-{secrets.token_hex(16)}"
