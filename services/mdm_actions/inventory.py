"""Importing the company's list of phones: what a file would change, and the change itself.

Identifiers go into the vault; rows keep a keyed mark of each, so that a later file can be compared without opening
anything.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any
from uuid import UUID, uuid5

import orjson

from services.mdm_actions import fleet, store
from services.mdm_actions.domain.command import Kind
from services.mdm_actions.domain.inventory import BadRow, Changes, Row, compare, read
from services.mdm_actions.domain.protection import Posture
from services.mdm_actions.fleet import Device, Line
from shared.events.mdm_actions import DeviceChanged, DeviceFacts, DeviceRegistered, DeviceRetired
from shared.events.payload import Answer, Ownership
from shared.messaging import Scope, Unit, Units
from shared.vault import DataClass, People, Vault

_NAMESPACE = UUID("2f0d9a6e-5c1b-5b7a-9d3e-7a1c4f8b6e20")
_ROWS_PER_UNIT = 200
_POSTURE_COLUMNS = frozenset(
    {"storage_encrypted", "passcode_set", "supervised", "attempts_limited", "os_version", "mdm", "udid", "ownership"}
)


@dataclass(frozen=True)
class Import:
    """A file laid over the inventory. Nothing is taken from a file with a bad row."""

    rows: Sequence[Row]
    changes: Changes
    bad: list[BadRow]


class Inventory:
    """The phones of all organisations, each seen by its own."""

    def __init__(self, units: Units, vault: Vault, people: People) -> None:
        self._units = units
        self._vault = vault
        self._people = people

    async def check(self, organisation: str, text: str) -> Import:
        """What importing this CSV file would do.

        A file of a large fleet takes seconds to read: in a thread, because phones are locked meanwhile.
        """
        sheet = await asyncio.to_thread(read, text)
        async with self._units.begin() as unit:
            known = await fleet.records(unit, organisation)
            taken = await fleet.taken_elsewhere(
                unit,
                organisation,
                [row.udid for row in sheet.rows if row.udid],
                [row.sim_id for row in sheet.rows if row.sim_id],
            )
        elsewhere = [
            BadRow(0, f"{row.asset_tag}: its udid or sim_id cannot be registered here; ask who runs this installation")
            for row in sheet.rows
            if {row.udid, row.sim_id} & taken
        ]
        changes = await asyncio.to_thread(self._compare, organisation, sheet.rows, known)
        return Import(sheet.rows, changes, sheet.bad + elsewhere)

    def _compare(self, organisation: str, rows: Sequence[Row], known: Mapping[str, str]) -> Changes:
        told = {tag: orjson.loads(record) for tag, record in known.items()}
        return compare({row.asset_tag: self._record(organisation, row) for row in rows}, told)

    async def apply(self, organisation: str, found: Import, actor: str) -> None:
        """Take what is new or changed. Each phone is compared once more, so that repeating an import is safe.

        Raises `ValueError` when the file has bad rows.
        """
        if found.bad:
            raise ValueError("a file with bad rows is not imported")
        moved = {*found.changes.added, *(change.asset_tag for change in found.changes.changed)}
        for rows in batched((row for row in found.rows if row.asset_tag in moved), _ROWS_PER_UNIT):
            async with self._units.begin() as unit:
                await self._take(unit, organisation, rows, actor)

    async def retire(self, organisation: str, device: str, reason: str, actor: str) -> bool:
        """Take a phone out of the inventory; False when the organisation has none of this id in use."""
        async with self._units.begin() as unit:
            await unit.lock(f"device-{device}")
            known = await fleet.device(unit, device, organisation)
            if known is None or not await fleet.retire(unit, known):
                return False
            scope = Scope(f"device-{device}", organisation)
            await unit.emit(DeviceRetired(reason=reason), scope, actor=actor)
        return True

    async def _take(self, unit: Unit, organisation: str, rows: Sequence[Row], actor: str) -> None:
        for row in sorted(rows, key=lambda row: device_id(organisation, row.asset_tag)):
            await unit.lock(f"device-{device_id(organisation, row.asset_tag)}")
        known = await fleet.devices_tagged(unit, organisation, [row.asset_tag for row in rows])
        for row in rows:
            await self._take_row(unit, organisation, row, known.get(row.asset_tag), actor=actor)

    async def _take_row(self, unit: Unit, organisation: str, row: Row, before: Device | None, *, actor: str) -> None:
        record = self._record(organisation, row)
        back = before is None or before.retired_at is not None
        changed = _changed(record, before.record if before else {})
        if not (back or changed):
            return
        device = await self._device(unit, organisation, row, record, before)
        await fleet.save_device(unit, device)
        if device.ownership is not Ownership.COMPANY:
            await _disarm_wipes(unit, device.device)
        if device.holder and row.holder_account:
            await fleet.save_account(unit, organisation, device.holder, row.holder_account)
        if back or _POSTURE_COLUMNS & set(changed):
            await fleet.save_posture(unit, _posture(unit, device, row))
        facts = {name: getattr(device.facts, name) for name in DeviceFacts.model_fields}
        told = DeviceRegistered(**facts) if back else DeviceChanged(**facts, changed=changed)
        await unit.emit(told, Scope(f"device-{device.device}", organisation), actor=actor)

    async def _device(
        self, unit: Unit, organisation: str, row: Row, record: dict[str, Any], before: Device | None
    ) -> Device:
        name = device_id(organisation, row.asset_tag)
        line = _line(organisation, row)
        holder = record.get("holder")
        return Device(
            device=name,
            organisation=organisation,
            asset_tag=row.asset_tag,
            ownership=row.owner(),
            supervised=row.answer("supervised"),
            mdm=row.mdm,
            udid=row.udid,
            holder=holder,
            line=line,
            last_seen_at=before.last_seen_at if before else None,
            enrolled_at=before.enrolled_at if before else None,
            retired_at=None,
            facts=DeviceFacts.read(
                {
                    "asset_tag": row.asset_tag,
                    "platform": row.platform,
                    "model": row.model,
                    "colour": row.colour,
                    "ownership": row.ownership,
                    "supervised": row.supervised,
                    "holder": holder,
                    "line": {"line": line.line, "carrier": line.carrier} if line else None,
                    "mdm": row.mdm,
                    "storage_encrypted": row.storage_encrypted,
                    "passcode_set": row.passcode_set,
                    "identifiers": await self._identifiers(unit, organisation, row, record, before),
                }
            ),
            record=record,
        )

    async def _identifiers(
        self, unit: Unit, organisation: str, row: Row, record: Mapping[str, Any], before: Device | None
    ) -> dict[str, str]:
        """Digests of what names the phone; what has not changed keeps its digest."""
        kept = {
            name: before.facts.identifiers[name]
            for name in row.identifiers()
            if before and before.record.get(name) == record[name] and name in before.facts.identifiers
        }
        new = {name: value for name, value in row.identifiers().items() if name not in kept}
        if not new:
            return kept
        return kept | await self._vault.put_many(
            unit.connection,
            organisation=organisation,
            person=f"device-{device_id(organisation, row.asset_tag)}",
            data_class=DataClass.CONTACT,
            values=new,
        )

    def _record(self, organisation: str, row: Row) -> dict[str, Any]:
        """The row as it is kept: no identifier and no employee id in the clear."""
        marks = {name: self._people.ref(organisation, f"{name}/{value}") for name, value in row.identifiers().items()}
        holder = {"holder": self._people.ref(organisation, row.holder)} if row.holder else {}
        return {name: value for name, value in row.model_dump().items() if value is not None} | marks | holder


async def _disarm_wipes(unit: Unit, device: str) -> None:
    """A phone that is a person's own by now is not wiped by what was signed while it was the company's."""
    for command in await store.unanswered(unit, device):
        if command.kind is Kind.WIPE:
            await unit.arm(command.incident, command.timer("disarm"), unit.now)


def device_id(organisation: str, asset_tag: str) -> str:
    """A phone keeps its id however often it is imported."""
    return str(uuid5(_NAMESPACE, f"{organisation}/device/{asset_tag}"))


def _line(organisation: str, row: Row) -> Line | None:
    if row.carrier is None:
        return None
    named = f"{row.carrier}/{row.sim_id}" if row.sim_id else row.asset_tag
    return Line(str(uuid5(_NAMESPACE, f"{organisation}/line/{named}")), row.carrier, row.sim_id)


def _changed(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    return [column for column in Row.model_fields if new.get(column) != old.get(column)]


def _posture(unit: Unit, device: Device, row: Row) -> Posture:
    managed = Answer.YES if device.mdm else Answer.NO
    company = device.ownership is Ownership.COMPANY
    return Posture(
        device=device.device,
        observed_at=unit.now,
        encrypted=row.answer("storage_encrypted"),
        passcode_set=row.answer("passcode_set"),
        supervised=row.answer("supervised"),
        mdm_enrolled=managed,
        # A personal phone is never fully wiped, so nothing stands ready to erase it.
        remote_erase_ready=managed if company else Answer.NO,
        attempts_limited=row.answer("attempts_limited"),
        os_version=row.os_version,
    )
