"""Erasure of one person's data: the key and the boxes in the vault go, every proof in the log stays whole."""

from typing import Any

from services.reporter import store
from shared.events.reporter import PersonalDataErased
from shared.messaging import Scope, Units
from shared.vault import Vault
from shared.web import Acting


class Erasure:
    """Carries out what the privacy officer orders."""

    def __init__(self, units: Units, vault: Vault) -> None:
        self._units = units
        self._vault = vault

    async def erase(self, person: str, acting: Acting, ground: str) -> dict[str, Any]:
        """Destroy what the vault has of a person. An open case that the person reported or is the holder of holds it:
        then nothing is erased, and the event says so."""
        organisation = acting.person.organisation
        async with self._units.begin() as unit:
            held = await store.in_open_case(unit.connection, organisation, person)
            fields = 0
            if not held:
                fields = await self._vault.destroy(
                    unit.connection, organisation=organisation, person=person, actor=acting.actor, reason=ground
                )
            erased = PersonalDataErased(person=person, ground=ground, fields=fields, on_hold=held)
            await unit.emit(erased, Scope(f"org-{organisation}", organisation), actor=acting.actor)
        return erased.model_dump()
