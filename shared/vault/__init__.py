"""The vault: personal data under one key per person, opened one value at a time and on the record.

Events and rows carry digests; the values lie here, in a schema that every service may use only through the three
functions `vault.put`, `vault.open` and `vault.destroy`.
"""

from shared.vault.commitment import Disclosure
from shared.vault.keys import VaultKeys
from shared.vault.people import People
from shared.vault.rotation import rewrap
from shared.vault.vault import MAX_PEOPLE, MIGRATIONS, DataClass, Vault, VaultDeniedError

__all__ = [
    "MAX_PEOPLE",
    "MIGRATIONS",
    "DataClass",
    "Disclosure",
    "People",
    "Vault",
    "VaultDeniedError",
    "VaultKeys",
    "rewrap",
]
