"""The phones, lines and accounts that the inventory names: rows in and out."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from services.mdm_actions.domain.protection import Posture
from shared.events.mdm_actions import DeviceFacts
from shared.events.payload import Answer, Ownership
from shared.messaging import Unit


@dataclass(frozen=True)
class Line:
    """A line as its carrier knows it."""

    line: str
    carrier: str
    sim_id: str | None


@dataclass(frozen=True)
class Device:
    """A phone as it is managed."""

    device: str
    organisation: str
    asset_tag: str
    ownership: Ownership
    supervised: Answer
    mdm: str | None
    udid: str | None
    holder: str | None
    line: Line | None
    last_seen_at: datetime | None
    enrolled_at: datetime | None
    retired_at: datetime | None
    facts: DeviceFacts
    record: dict[str, Any]


_OF_DEVICE = (
    "device", "organisation", "asset_tag", "ownership", "supervised", "mdm", "udid", "holder", "last_seen_at",
    "enrolled_at", "retired_at", "facts", "record",
)  # fmt: skip
_OF_LINE = ("line", "carrier", "sim_id")
DEVICE_COLUMNS = _OF_DEVICE + _OF_LINE
DEVICE = f"""
SELECT {", ".join(f"d.{name}" for name in _OF_DEVICE)}, {", ".join(f"l.{name}" for name in _OF_LINE)}
FROM device d LEFT JOIN line l ON l.line = d.line
"""  # noqa: S608 - our own names


def read_device(row: Any) -> Device:
    """A device by the names of its columns."""
    values = dict(row)
    line = Line(values.pop("line"), values.pop("carrier"), values.pop("sim_id"))
    return Device(
        **values
        | {
            "ownership": Ownership(values["ownership"]),
            "supervised": Answer(values["supervised"]),
            "facts": DeviceFacts.read(values["facts"]),
            "line": line if line.line else None,
        }
    )


async def device(unit: Unit, name: str, organisation: str) -> Device | None:
    """The organisation's device of this id, retired or not."""
    row = await unit.connection.fetchrow(f"{DEVICE} WHERE d.device = $1 AND d.organisation = $2", name, organisation)
    return read_device(row) if row else None


async def devices(unit: Unit, organisation: str, after: str, limit: int) -> list[Device]:
    """A page of the organisation's devices in use, by asset tag: those that follow `after`."""
    rows = await unit.connection.fetch(
        f"{DEVICE} WHERE d.organisation = $1 AND d.asset_tag > $2 AND d.retired_at IS NULL "
        "ORDER BY d.asset_tag LIMIT $3",
        organisation,
        after,
        limit,
    )
    return [read_device(row) for row in rows]


async def records(unit: Unit, organisation: str) -> dict[str, str]:
    """What the inventory was told of each of the organisation's devices in use, by asset tag. As JSON: of a large fleet
    it is much to decode, and whoever wants it does that in a thread."""
    rows = await unit.connection.fetch(
        "SELECT asset_tag, record::text FROM device WHERE organisation = $1 AND retired_at IS NULL ORDER BY asset_tag",
        organisation,
    )
    return {row["asset_tag"]: row["record"] for row in rows}


async def devices_tagged(unit: Unit, organisation: str, tags: Collection[str]) -> dict[str, Device]:
    """The organisation's devices of these asset tags, retired or not."""
    rows = await unit.connection.fetch(
        f"{DEVICE} WHERE d.organisation = $1 AND d.asset_tag = ANY ($2)", organisation, list(tags)
    )
    return {row["asset_tag"]: read_device(row) for row in rows}


async def fleet_size(unit: Unit, organisation: str) -> int:
    """How many phones the organisation has in use."""
    size: int = await unit.connection.fetchval(
        "SELECT count(*) FROM device WHERE organisation = $1 AND retired_at IS NULL", organisation
    )
    return size


async def save_device(unit: Unit, device: Device) -> None:
    """Register a device, or store what changed. Coming back from retirement, it is in use again."""
    if device.line:
        await unit.connection.execute(
            "INSERT INTO line (line, organisation, carrier, sim_id) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (line) DO UPDATE SET sim_id = $4",
            device.line.line,
            device.organisation,
            device.line.carrier,
            device.line.sim_id,
        )
    # A phone that is known under another asset tag now has moved to this one.
    await unit.connection.execute(
        "UPDATE device SET mdm = NULL, udid = NULL WHERE organisation = $1 AND mdm = $2 AND udid = $3 AND device <> $4",
        device.organisation,
        device.mdm,
        device.udid,
        device.device,
    )
    await unit.connection.execute(
        "INSERT INTO device (device, organisation, asset_tag, ownership, supervised, mdm, udid, line, holder, facts, "
        "record, registered_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) "
        "ON CONFLICT (device) DO UPDATE SET ownership = $4, supervised = $5, mdm = $6, udid = $7, line = $8, "
        "holder = $9, facts = $10, record = $11, retired_at = NULL",
        device.device,
        device.organisation,
        device.asset_tag,
        device.ownership.value,
        device.supervised.value,
        device.mdm,
        device.udid,
        device.line.line if device.line else None,
        device.holder,
        device.facts.model_dump(mode="json", exclude_none=True),
        device.record,
        unit.now,
    )


async def retire(unit: Unit, device: Device) -> bool:
    """Take a device out of use; False when it is already."""
    done: str = await unit.connection.execute(
        "UPDATE device SET retired_at = $2 WHERE device = $1 AND retired_at IS NULL", device.device, unit.now
    )
    return done == "UPDATE 1"


async def taken_elsewhere(unit: Unit, organisation: str, udids: Collection[str], sims: Collection[str]) -> set[str]:
    """Which of these MDM and SIM ids belong to a phone or line of another organisation."""
    rows = await unit.connection.fetch(
        "SELECT udid AS id FROM device WHERE organisation <> $1 AND udid = ANY ($2) "
        "UNION SELECT sim_id FROM line WHERE organisation <> $1 AND sim_id = ANY ($3)",
        organisation,
        list(udids),
        list(sims),
    )
    return {row["id"] for row in rows}


async def seen(unit: Unit, mdm: str, udid: str, at: datetime, *, enrols: bool) -> str | None:
    """A sign of life, and of which device. Signs come out of order: the newest counts."""
    device: str | None = await unit.connection.fetchval(
        "UPDATE device SET last_seen_at = greatest(last_seen_at, $3), "
        "enrolled_at = CASE WHEN $4 THEN greatest(enrolled_at, $3) ELSE enrolled_at END "
        "WHERE mdm = $1 AND udid = $2 RETURNING device",
        mdm,
        udid,
        at,
        enrols,
    )
    return device


async def seen_idle(pool: asyncpg.Pool, mdm: str, udid: str, at: datetime) -> None:
    """A sign of life that says nothing else; kept to the minute."""
    await pool.execute(
        "UPDATE device SET last_seen_at = $3::timestamptz WHERE mdm = $1 AND udid = $2 "
        "AND (last_seen_at IS NULL OR last_seen_at < $3::timestamptz - interval '1 minute')",
        mdm,
        udid,
        at,
    )


async def save_account(unit: Unit, organisation: str, holder: str, account: str) -> None:
    """Where the holder signs in."""
    await unit.connection.execute(
        "INSERT INTO account (organisation, holder, account) VALUES ($1, $2, $3) "
        "ON CONFLICT (organisation, holder) DO UPDATE SET account = $3",
        organisation,
        holder,
        account,
    )


async def forget(unit: Unit, organisation: str, person: str, devices: Collection[str]) -> None:
    """What is kept here of an erased person: where they sign in, unless they hold a phone in use, and of phones that
    left the inventory what names them. Such a phone is imported as a new one, should it come back."""
    await unit.connection.execute(
        "UPDATE device SET mdm = NULL, udid = NULL, record = '{}' "
        "WHERE organisation = $1 AND device = ANY ($2) AND retired_at IS NOT NULL",
        organisation,
        list(devices),
    )
    forgotten = await unit.connection.fetchval(
        "DELETE FROM account WHERE organisation = $1 AND holder = $2 AND NOT EXISTS "
        "(SELECT FROM device WHERE organisation = $1 AND holder = $2 AND retired_at IS NULL) RETURNING account",
        organisation,
        person,
    )
    if forgotten is not None:
        await unit.connection.execute(
            "UPDATE command SET target = '' WHERE organisation = $1 AND holder = $2 AND target = $3 "
            "AND ended_at IS NOT NULL",
            organisation,
            person,
            forgotten,
        )


async def save_posture(unit: Unit, posture: Posture) -> None:
    """Add one observation to the history."""
    await unit.connection.execute(
        "INSERT INTO posture (device, observed_at, facts) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        posture.device,
        posture.observed_at,
        posture.model_dump(mode="json"),
    )
