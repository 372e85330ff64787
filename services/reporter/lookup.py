"""Finds a phone by what people type. The index holds keyed hashes only; numbers stay in the vault."""

import hmac
from collections.abc import Mapping
from pathlib import Path

from services.reporter.devices import Device, devices_by_terms, devices_of_holder, save_device
from services.reporter.domain.report import is_number, search_terms
from services.reporter.store import Connection
from shared.events.mdm_actions import DeviceFacts
from shared.messaging import Unit
from shared.vault import Vault
from shared.vault.keys import VaultKeys

_SEARCHED = ("serial", "imei", "phone_number")
SERVICE = "service/reporter"


class Lookup:
    """The index of phones, keyed by a secret that only this installation has."""

    def __init__(self, key: bytes, vault: Vault) -> None:
        self._key = key
        self._vault = vault

    @classmethod
    def from_file(cls, vault_key_file: Path, vault: Vault) -> "Lookup":
        """The key is derived from the installation's vault key file."""
        return cls(VaultKeys.read(vault_key_file).derive("reporter.lookup.v1"), vault)

    def terms(self, organisation: str, text: str) -> list[str]:
        """Keyed hashes of the forms under which this text may stand in the index."""
        return [self._hash(organisation, term) for term in search_terms(text)]

    async def index(self, unit: Unit, device: str, organisation: str, facts: DeviceFacts) -> None:
        """Take a phone into the index; its numbers are opened once, on the record."""
        digests = [facts.identifiers[name] for name in _SEARCHED if name in facts.identifiers]
        opened: Mapping[str, str] = {}
        if digests:
            opened = await self._vault.open_many(
                unit.connection, digests, organisation=organisation, actor=SERVICE, reason="inventory lookup index"
            )
        texts = [facts.asset_tag, *opened.values()]
        terms = sorted({term for text in texts for term in self.terms(organisation, text)})
        await save_device(unit, Device(device, organisation, facts), terms)

    async def find(
        self, connection: Connection, organisation: str, typed: str | None, *, holder: str | None
    ) -> Device | None:
        """The one phone that was meant, or None when none or several could be.

        Words that name nothing, such as "my iPhone", mean the only phone of the holder who speaks.
        """
        if typed is not None:
            found = await devices_by_terms(connection, organisation, self.terms(organisation, typed))
            if found:
                return found[0] if len(found) == 1 else None
            if is_number(typed):
                return None
        held = await devices_of_holder(connection, organisation, holder) if holder is not None else []
        return held[0] if len(held) == 1 else None

    async def names(self, connection: Connection, device: Device, typed: str) -> bool:
        """Whether a typed number is a number of this phone."""
        found = await devices_by_terms(connection, device.organisation, self.terms(device.organisation, typed))
        return any(other.device == device.device for other in found)

    def _hash(self, organisation: str, term: str) -> str:
        return hmac.digest(self._key, f"{organisation}\n{term}".encode(), "sha256").hex()
