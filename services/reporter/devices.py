"""The reporter's tables of phones, as the inventory last told of them, and of what each can be found by."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import orjson

from services.reporter.domain.incident import Incident
from services.reporter.store import Connection
from shared.events.mdm_actions import DeviceFacts
from shared.messaging import Unit


@dataclass(frozen=True)
class Device:
    """A phone as the inventory last told."""

    device: str
    organisation: str
    facts: DeviceFacts
    retired: bool = False


async def save_device(unit: Unit, device: Device, terms: Sequence[str]) -> None:
    """A phone with everything it can be found by."""
    await unit.connection.execute(
        "INSERT INTO device (device, organisation, holder, retired, facts) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (device) DO UPDATE SET holder = $3, retired = $4, facts = $5 WHERE device.organisation = $2",
        device.device,
        device.organisation,
        device.facts.holder,
        device.retired,
        orjson.loads(device.facts.write()),
    )
    await unit.connection.execute(
        "DELETE FROM device_term WHERE device = $1 AND organisation = $2", device.device, device.organisation
    )
    await unit.connection.execute(
        "INSERT INTO device_term (organisation, term, device) SELECT $1, term, $2 FROM unnest($3::text[]) AS term "
        "ON CONFLICT DO NOTHING",
        device.organisation,
        device.device,
        list(terms),
    )


async def retire_device(unit: Unit, device: str, organisation: str) -> None:
    """The phone left the inventory: it is found no more, and stays readable for its cases."""
    await unit.connection.execute(
        "UPDATE device SET retired = true WHERE device = $1 AND organisation = $2", device, organisation
    )
    await unit.connection.execute(
        "DELETE FROM device_term WHERE device = $1 AND organisation = $2", device, organisation
    )


async def find_device(connection: Connection, device: str | None, organisation: str) -> Device | None:
    """A phone of this organisation by its id."""
    if device is None:
        return None
    row = await connection.fetchrow(
        "SELECT device, organisation, facts, retired FROM device WHERE device = $1 AND organisation = $2",
        device,
        organisation,
    )
    return _device(row) if row is not None else None


async def devices_of(connection: Connection, incidents: Sequence[Incident]) -> dict[str, Device]:
    """The phones that these cases are about, by id."""
    rows = await connection.fetch(
        "SELECT device, organisation, facts, retired FROM device WHERE device = ANY ($1::text[])",
        [incident.facts.device for incident in incidents if incident.facts.device is not None],
    )
    organisations_of = {incident.facts.device: incident.organisation for incident in incidents}
    return {row["device"]: _device(row) for row in rows if row["organisation"] == organisations_of.get(row["device"])}


async def devices_by_terms(connection: Connection, organisation: str, terms: Sequence[str]) -> list[Device]:
    """Phones that any of these terms names; more than one means that the terms do not decide."""
    rows = await connection.fetch(
        "SELECT DISTINCT device.device, device.organisation, device.facts, device.retired FROM device_term "
        "JOIN device USING (device) WHERE device_term.organisation = $1 AND device.organisation = $1 "
        "AND term = ANY ($2::text[]) LIMIT 5",
        organisation,
        list(terms),
    )
    return [_device(row) for row in rows]


async def devices_of_holder(connection: Connection, organisation: str, holder: str) -> list[Device]:
    """The phones that this person holds."""
    rows = await connection.fetch(
        "SELECT device, organisation, facts, retired FROM device "
        "WHERE organisation = $1 AND holder = $2 AND NOT retired ORDER BY device LIMIT 20",
        organisation,
        holder,
    )
    return [_device(row) for row in rows]


async def left_inventory(connection: Connection, organisation: str, holder: str) -> list[str]:
    """Phones that this person was the last to hold, that left the inventory, and that no open case is about."""
    rows = await connection.fetch(
        "SELECT device FROM device WHERE organisation = $1 AND holder = $2 AND retired AND NOT EXISTS "
        "(SELECT FROM incident WHERE incident.device = device.device AND NOT ended) ORDER BY device",
        organisation,
        holder,
    )
    return [row["device"] for row in rows]


async def organisations(connection: Connection) -> set[str]:
    """The organisations whose phones are known here."""
    return {row["organisation"] for row in await connection.fetch("SELECT DISTINCT organisation FROM device")}


def _device(row: asyncpg.Record) -> Device:
    return Device(row["device"], row["organisation"], DeviceFacts.read(row["facts"]), row["retired"])
