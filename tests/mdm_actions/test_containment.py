"""A signed-in report starts containment at once, in order; an emergency report waits for the desk."""

from datetime import UTC, datetime

from services.mdm_actions.domain.command import Kind
from shared.events.mdm_actions import (
    CarrierSuspended,
    ContainmentPlanned,
    DeviceLocated,
    DeviceLocked,
    DeviceRegistered,
    LockFailed,
    ProtectionSnapshotTaken,
    SessionsRevoked,
    SuspensionTrigger,
    WipeConfirmed,
    WipeSent,
)
from shared.events.payload import Assurance, EncryptionLevel, ProofLevel
from shared.events.reporter import ReportVerified
from shared.vault import DataClass
from tests.mdm_actions.bench import Company, Service, lost, new_incident


async def test_a_signed_in_report_revokes_locks_and_locates(service: Service, company: Company) -> None:
    row = company.row("A-1")
    await service.import_(company, [row])
    phone = await service.world.phone(row["udid"])
    incident, device = new_incident(), company.device(row)
    await service.say(lost(device), incident, company.name)

    revoked = await service.told(incident, SessionsRevoked)
    locked = await service.told(incident, DeviceLocked)
    located = await service.told(incident, DeviceLocated)
    registered = await service.told(f"device-{device}", DeviceRegistered)
    assert (revoked.provider, revoked.holder) == ("entra", registered.holder)
    assert (locked.mode, locked.proof, locked.device) == ("lost_mode", ProofLevel.P3, device)
    assert (located.accuracy_m, located.source) == (18, "mdm")
    assert await phone.obeyed() == ["EnableLostMode", "DeviceLocation"]
    assert "警察" in (await phone.state())["message"] or "交番" in (await phone.state())["message"]
    planned = await service.told(incident, ContainmentPlanned)
    assert [(step.step, step.state) for step in planned.steps] == [
        ("revoke_sessions", "now"),
        ("lock", "now"),
        ("locate", "now"),
        ("wipe", "waiting"),
        ("suspend_line", "waiting"),
    ]
    assert (await service.names(incident)).index("DeviceLocked") < (await service.names(incident)).index(
        "DeviceLocated"
    )


async def test_the_position_lies_in_the_vault_and_nowhere_else(service: Service, company: Company) -> None:
    row = company.row("A-1")
    await service.import_(company, [row])
    await service.world.phone(row["udid"])
    incident = new_incident()
    await service.say(lost(company.device(row)), incident, company.name)
    located = await service.told(incident, DeviceLocated)
    async with service.kit.units.begin() as unit:
        where = await service.kit.vault.open(
            unit.connection, located.position, organisation=company.name, actor="test", reason="test"
        )
    assert where is not None
    assert "139.7005" in where
    for table in ("outbox", "attempt", "command", "webhook", "device"):
        rows = await service.kit.pool.fetch(f"SELECT row_to_json(t)::text AS row FROM {table} t")
        assert not any("139.7005" in row["row"] or b"139.7005".hex() in row["row"] for row in rows)
    assert DataClass.POSITION.value == "position"


async def test_the_protection_from_before_the_loss_is_frozen_once(service: Service, company: Company) -> None:
    row = company.row("A-1")
    await service.import_(company, [row])
    incident, device = new_incident(), company.device(row)
    await service.say(lost(device, door="emergency"), incident, company.name)
    taken = await service.told(incident, ProtectionSnapshotTaken)
    assert taken.encryption_level is EncryptionLevel.E2
    await service.say(ReportVerified(method="call_back", verified_at=datetime.now(UTC)), incident, company.name)
    await service.told(incident, ContainmentPlanned, count=2)
    assert (await service.names(incident)).count("ProtectionSnapshotTaken") == 1
    kept = await service.kit.pool.fetchrow("SELECT document, sha256 FROM snapshot WHERE incident = $1", incident)
    assert kept["sha256"] == taken.snapshot


async def test_the_emergency_door_starts_nothing_before_the_desk_verified(service: Service, company: Company) -> None:
    row = company.row("A-1")
    await service.import_(company, [row])
    phone = await service.world.phone(row["udid"])
    incident = new_incident()
    await service.say(lost(company.device(row), door="emergency"), incident, company.name)
    planned = await service.told(incident, ContainmentPlanned)
    assert planned.waits_for_verification
    assert await service.commands(incident) == []
    assert await service.waiting(incident) == []

    await service.say(ReportVerified(method="call_back", verified_at=datetime.now(UTC)), incident, company.name)
    await service.told(incident, DeviceLocated)
    assert await phone.obeyed() == ["EnableLostMode", "DeviceLocation"]


async def test_the_line_stops_only_after_the_phone_confirmed_its_wipe(service: Service, company: Company) -> None:
    incident, device, phone = await service.lost_phone(company)
    await phone.tell("offline")
    order = company.order(incident, device)
    await service.say(order, incident, company.name)
    sent = await service.told(incident, WipeSent)
    assert (sent.proof, sent.nonce) == (ProofLevel.P2, order.statement.nonce)
    assert "CarrierSuspended" not in await service.names(incident)
    assert "WipeConfirmed" not in await service.names(incident)

    await phone.tell("online")
    confirmed = await service.told(incident, WipeConfirmed)
    suspended = await service.told(incident, CarrierSuspended)
    assert (confirmed.proof, confirmed.nonce) == (ProofLevel.P3, order.statement.nonce)
    assert suspended.trigger is SuspensionTrigger.WIPE_CONFIRMED
    assert (suspended.assurance, suspended.read_back) == (Assurance.API_READBACK, "suspended")
    assert (await phone.state())["erased"]
    names = await service.names(incident)
    assert names.index("WipeSent") < names.index("WipeConfirmed") < names.index("CarrierSuspended")
    kept = await service.kit.pool.fetchval(
        "SELECT encode(sha256(evidence), 'hex') FROM attempt a JOIN command c USING (command) "
        "WHERE c.incident = $1 AND kind = $2 AND a.state = 'succeeded'",
        incident,
        Kind.WIPE.value,
    )
    assert kept == confirmed.evidence


async def test_a_phone_without_a_passcode_is_not_called_locked(service: Service, company: Company) -> None:
    row = company.row("A-1", supervised="no")
    await service.import_(company, [row])
    phone = await service.world.phone(row["udid"], supervised=False)
    await phone.behave(no_passcode=True)
    incident = new_incident()
    await service.say(lost(company.device(row)), incident, company.name)
    failed = await service.told(incident, LockFailed)
    assert failed.reason == "no_passcode_set"
    assert "DeviceLocked" not in await service.names(incident)
