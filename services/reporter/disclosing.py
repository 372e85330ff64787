"""Opens single fields for evidence: the texts by which an outsider checks them against the commitments in the log."""

from shared.messaging import Units
from shared.vault import Vault
from shared.web import Acting


class Disclosing:
    """Carries out what the privacy officer orders. Each opening is on the vault's record with who and why."""

    def __init__(self, units: Units, vault: Vault) -> None:
        self._units = units
        self._vault = vault

    async def open(self, digests: list[str], acting: Acting, reason: str) -> dict[str, str | None]:
        """By digest: the disclosure (RFC 9901), or None for what the vault does not have for this organisation.

        Raises `VaultDeniedError` for customers' data, which this service may not open.
        """
        async with self._units.begin() as unit:
            found = await self._vault.disclose(
                unit.connection,
                digests,
                organisation=acting.person.organisation,
                actor=acting.actor,
                reason=reason,
            )
        return {digest: found[digest].text if digest in found else None for digest in digests}
