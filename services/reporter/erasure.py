"""Erasure of one person's data: the key and the boxes in the vault go, every proof in the log stays whole."""

from typing import Any

from services.reporter import store
from services.reporter.devices import left_inventory
from shared.events.reporter import PersonalDataErased
from shared.messaging import Scope, Unit, Units
from shared.vault import People, Vault
from shared.web import Acting


class Erasure:
    """Carries out what the privacy officer orders."""

    def __init__(self, units: Units, vault: Vault, people: People) -> None:
        self._units = units
        self._vault = vault
        self._people = people

    def reference(self, acting: Acting, employee_id: str) -> str:
        """How rows and events name an employee of the organisation, known here or not."""
        return self._people.ref(acting.person.organisation, employee_id)

    async def erase(self, person: str, acting: Acting, ground: str) -> dict[str, Any]:
        """Destroy what the vault has of a person, and of phones that the person was the last to hold and that left the
        inventory. An open case that the person reported or is the holder of holds it: then nothing is erased, and the
        event says so."""
        organisation = acting.person.organisation
        async with self._units.begin() as unit:
            held = await store.in_open_case(unit.connection, organisation, person)
            devices = [] if held else await left_inventory(unit.connection, organisation, person)
            erased = PersonalDataErased(person=person, ground=ground, fields=0, on_hold=held, devices=devices)
            if not held:
                erased = await destroy(unit, self._vault, erased, organisation=organisation, actor=acting.actor)
            await unit.emit(erased, Scope(f"org-{organisation}", organisation), actor=acting.actor)
        return erased.model_dump()


async def destroy(
    unit: Unit, vault: Vault, erased: PersonalDataErased, *, organisation: str, actor: str
) -> PersonalDataErased:
    """Carry out what the event says, counting the fields that there were."""
    fields = 0
    for owner in (erased.person, *(f"device-{device}" for device in erased.devices)):
        fields += await vault.destroy(
            unit.connection, organisation=organisation, person=owner, actor=actor, reason=erased.ground
        )
    return erased.model_copy(update={"fields": fields})
