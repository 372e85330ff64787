"""Events that mdm_actions writes: what was done to devices, lines and sessions, and how it is known."""

from pydantic import Field

from shared.events.payload import (
    Answer,
    Assurance,
    Code,
    Count,
    DeviceId,
    Digest,
    EncryptionLevel,
    Id,
    Instant,
    OpenEnum,
    Ownership,
    Part,
    Payload,
    PersonRef,
    ProofLevel,
    Reference,
    Sha256,
)
from shared.events.registry import event

_DEVICE = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f"
_LINE = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e60"
_COMMAND = "5e0a3c44-6f1b-5d7e-8c2a-1b9f0d3e4a55"
_PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"
_DIGEST = "Hq0yqvY3mXkz1h2Z3b4C5d6E7f8G9h0I1j2K3l4M5n6"
_HASH = "5cfdbd10dfab15c1cc5ee84f10b3f1db459218da4dff4957fdde3108ef405b34"
_NONCE = "00112233445566778899aabbccddeeff"
_AT = "2026-11-24T23:41:07.000+09:00"


class Line(Part):
    """A line in the inventory; its number lies in the vault."""

    line: Id
    carrier: Code


class DeviceFacts(Payload):
    """A phone as the inventory knows it. Serial, IMEI and phone number are commitments."""

    asset_tag: str = Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")
    platform: Code
    model: str = Field(max_length=80)
    colour: str | None = Field(None, max_length=40)
    ownership: Ownership
    supervised: Answer = Answer.UNKNOWN
    holder: PersonRef | None = None
    line: Line | None = None
    mdm: Code | None = Field(None, description="Which MDM server manages it.")
    storage_encrypted: Answer = Answer.UNKNOWN
    passcode_set: Answer = Answer.UNKNOWN
    identifiers: dict[Code, Digest] = Field({}, description="Commitments by name: serial, imei, phone_number, marks.")


_DEVICE_EXAMPLE = {
    "asset_tag": "ACME-IP-00042",
    "platform": "ios",
    "model": "iPhone 16",
    "colour": "black",
    "ownership": "company",
    "supervised": "yes",
    "holder": _PERSON,
    "line": {"line": _LINE, "carrier": "soracom"},
    "mdm": "nanomdm",
    "storage_encrypted": "yes",
    "passcode_set": "yes",
    "identifiers": {"imei": _DIGEST},
}


@event("mdm_actions", _DEVICE_EXAMPLE, data_class="pseudonymous")
class DeviceRegistered(DeviceFacts):
    """A phone came into the inventory. The subject is `device-<id>`."""


@event("mdm_actions", _DEVICE_EXAMPLE | {"changed": ["holder"]}, data_class="pseudonymous")
class DeviceChanged(DeviceFacts):
    """A phone's facts changed; all of them are given, as they are now."""

    changed: list[Code]


@event("mdm_actions", {"reason": "contract_ended"})
class DeviceRetired(Payload):
    """A phone left the inventory."""

    reason: Code


@event(
    "mdm_actions",
    {
        "device": _DEVICE,
        "taken_at": _AT,
        "last_check_in": "2026-11-24T23:15:00.000+09:00",
        "encrypted": "yes",
        "passcode_set": "yes",
        "supervised": "yes",
        "mdm_enrolled": "yes",
        "remote_erase_ready": "yes",
        "attempts_limited": "yes",
        "os_version": "26.1",
        "encryption_level": "E2",
        "snapshot": _HASH,
    },
)
class ProtectionSnapshotTaken(Payload):
    """What is known about the phone's protection from before the loss. Never changed later."""

    device: DeviceId
    taken_at: Instant
    last_check_in: Instant | None = None
    encrypted: Answer
    passcode_set: Answer
    supervised: Answer
    mdm_enrolled: Answer
    remote_erase_ready: Answer
    attempts_limited: Answer = Answer.UNKNOWN
    os_version: str | None = Field(None, max_length=40)
    encryption_level: EncryptionLevel
    snapshot: Sha256 = Field(description="SHA-256 of the full snapshot that mdm_actions keeps.")


class PlannedStep(Part):
    """One step of the plan and why it stands as it does."""

    step: Code
    state: Code = Field(description="now, waiting, not_supported or manual.")
    reason: Code | None = None


@event(
    "mdm_actions",
    {
        "device": _DEVICE,
        "line": _LINE,
        "playbook": "default",
        "playbook_version": 1,
        "steps": [
            {"step": "revoke_sessions", "state": "now"},
            {"step": "suspend_line", "state": "waiting", "reason": "after_wipe"},
        ],
        "waits_for_verification": False,
    },
)
class ContainmentPlanned(Payload):
    """What will be done to this phone and its line, in this order."""

    device: DeviceId | None = None
    line: Id | None = None
    playbook: Code
    playbook_version: int
    steps: list[PlannedStep]
    waits_for_verification: bool


@event(
    "mdm_actions",
    {"provider": "entra", "command": _COMMAND, "holder": _PERSON, "effective_at": _AT},
    data_class="pseudonymous",
)
class SessionsRevoked(Payload):
    """The holder's sign-in sessions end; read back from the provider."""

    provider: Code
    command: Id
    holder: PersonRef | None = Field(None, description="Whose they were; earlier releases did not say.")
    effective_at: Instant


@event(
    "mdm_actions",
    {"provider": "entra", "command": _COMMAND, "holder": _PERSON, "reason": "user_not_found"},
    data_class="pseudonymous",
)
class SessionRevocationFailed(Payload):
    """The provider refused, or could not be reached long enough."""

    provider: Code
    command: Id
    holder: PersonRef | None = Field(None, description="Whose they are; earlier releases did not say.")
    reason: Code


@event(
    "mdm_actions", {"device": _DEVICE, "command": _COMMAND, "mode": "lost_mode", "proof": "P3", "acknowledged_at": _AT}
)
class DeviceLocked(Payload):
    """The phone itself acknowledged the lock or lost mode."""

    device: DeviceId
    command: Id
    mode: Code
    proof: ProofLevel
    acknowledged_at: Instant


@event("mdm_actions", {"device": _DEVICE, "command": _COMMAND, "reason": "not_supervised"})
class LockFailed(Payload):
    """The phone was not locked, and why."""

    device: DeviceId
    command: Id | None = None
    reason: Code


@event(
    "mdm_actions",
    {"device": _DEVICE, "command": _COMMAND, "located_at": _AT, "accuracy_m": 18, "source": "mdm", "position": _DIGEST},
)
class DeviceLocated(Payload):
    """A position was obtained. Where it is lies in the vault."""

    device: DeviceId
    command: Id
    located_at: Instant
    accuracy_m: Count | None = None
    source: Code
    position: Digest


@event("mdm_actions", {"device": _DEVICE, "command": _COMMAND, "reason": "not_in_lost_mode"})
class LocateFailed(Payload):
    """No position, and why."""

    device: DeviceId
    command: Id | None = None
    reason: Code


@event("mdm_actions", {"device": _DEVICE, "command": _COMMAND, "nonce": _NONCE, "proof": "P2", "sent_at": _AT})
class WipeSent(Payload):
    """The MDM server took the erase command. The phone is not wiped by this."""

    device: DeviceId
    command: Id
    nonce: str
    proof: ProofLevel
    sent_at: Instant


@event(
    "mdm_actions",
    {"device": _DEVICE, "command": _COMMAND, "nonce": _NONCE, "proof": "P3", "confirmed_at": _AT, "evidence": _HASH},
)
class WipeConfirmed(Payload):
    """The phone acknowledged the erase."""

    device: DeviceId
    command: Id
    nonce: str
    proof: ProofLevel
    confirmed_at: Instant
    evidence: Sha256


@event("mdm_actions", {"device": _DEVICE, "command": _COMMAND, "nonce": _NONCE, "reason": "device_refused"})
class WipeFailed(Payload):
    """The phone or its server refused the erase, or dropped it."""

    device: DeviceId
    command: Id | None = None
    nonce: str
    reason: Code


@event("mdm_actions", {"device": _DEVICE, "command": _COMMAND, "nonce": _NONCE, "expired_at": _AT})
class WipeExpired(Payload):
    """`valid_until` passed without the phone's word."""

    device: DeviceId
    command: Id | None = None
    nonce: str
    expired_at: Instant


@event("mdm_actions", {"device": _DEVICE, "command": _COMMAND, "nonce": _NONCE, "method": "queue_row_deactivated"})
class WipeDisarmed(Payload):
    """An armed wipe will not be handed out again."""

    device: DeviceId
    command: Id
    nonce: str
    method: Code


@event("mdm_actions", {"device": _DEVICE, "command": _COMMAND, "nonce": _NONCE, "reason": "already_answered"})
class WipeNotCancellable(Payload):
    """It was too late, or the provider cannot take it back."""

    device: DeviceId
    command: Id
    nonce: str
    reason: Code


class SuspensionTrigger(OpenEnum):
    """Why the line may be stopped now: it goes last."""

    WIPE_CONFIRMED = "wipe_confirmed"
    WIPE_FAILED = "wipe_failed"
    WIPE_EXPIRED = "wipe_expired"
    TIMER = "timer"
    NAMED_OVERRIDE = "named_override"
    MISUSE = "misuse"
    OTHER = "other"


@event(
    "mdm_actions",
    {
        "line": _LINE,
        "device": _DEVICE,
        "carrier": "soracom",
        "command": _COMMAND,
        "action": "suspend",
        "trigger": "wipe_confirmed",
        "assurance": "api_readback",
        "effective_at": _AT,
        "read_back": "suspended",
    },
)
class CarrierSuspended(Payload):
    """The line is stopped: read back from the carrier, or confirmed by a second person with the carrier's reference."""

    line: Id
    device: DeviceId | None = None
    carrier: Code
    command: Id
    action: Code
    trigger: SuspensionTrigger
    assurance: Assurance
    effective_at: Instant
    read_back: Code | None = None
    reference: Reference | None = None


@event(
    "mdm_actions",
    {"line": _LINE, "device": _DEVICE, "carrier": "soracom", "command": _COMMAND, "reason": "sim_not_found"},
)
class CarrierSuspensionFailed(Payload):
    """The line is still open, and why."""

    line: Id
    device: DeviceId | None = None
    carrier: Code
    command: Id
    reason: Code


@event(
    "mdm_actions",
    {
        "line": _LINE,
        "device": _DEVICE,
        "carrier": "soracom",
        "command": _COMMAND,
        "assurance": "api_readback",
        "effective_at": _AT,
    },
)
class CarrierResumed(Payload):
    """The line works again."""

    line: Id
    device: DeviceId | None = None
    carrier: Code
    command: Id
    assurance: Assurance
    effective_at: Instant
    reference: Reference | None = None


@event("mdm_actions", {"device": _DEVICE, "command": _COMMAND, "acknowledged_at": _AT})
class DeviceUnlocked(Payload):
    """Lost mode was taken off."""

    device: DeviceId
    command: Id
    acknowledged_at: Instant


@event("mdm_actions", {"device": _DEVICE, "signal": "sim_changed"})
class MisuseSuspected(Payload):
    """A sign that somebody uses the phone or its line."""

    device: DeviceId
    signal: Code


@event("mdm_actions", {"task": _COMMAND, "kind": "suspend_line", "carrier": "docomo", "due_at": _AT})
class ManualTaskOpened(Payload):
    """A person has to do what no interface can, such as calling a carrier's desk."""

    task: Id
    kind: Code
    carrier: Code | None = None
    due_at: Instant


@event(
    "mdm_actions",
    {
        "task": _COMMAND,
        "kind": "suspend_line",
        "done_by": _PERSON,
        "confirmed_by": "person-9a8b7c6d5e4f30211203f4e5d6c7b8a9",
        "reference": "D-7781",
        "done_at": _AT,
    },
    data_class="pseudonymous",
)
class ManualTaskDone(Payload):
    """It was done by one person and confirmed by another."""

    task: Id
    kind: Code
    done_by: PersonRef
    confirmed_by: PersonRef | None = None
    reference: Reference | None = None
    evidence: Sha256 | None = None
    done_at: Instant


@event("mdm_actions", {"what": "wipe", "reason": "same_person_signed_twice", "nonce": _NONCE})
class CommandRejected(Payload):
    """An order was refused before it reached any device: bad signature, no approval, replay, breaker open."""

    what: Code
    reason: Code
    nonce: str | None = None


@event(
    "mdm_actions",
    {"scope": "organisation", "reason": "wipes_per_window", "count": 6, "limit": 5, "window_seconds": 600},
)
class BreakerOpened(Payload):
    """Too many wipes: no more until two people reset the breaker. The subject is `org-<id>`."""

    scope: Code
    reason: Code
    count: Count
    limit: Count
    window_seconds: Count | None = None


@event(
    "mdm_actions",
    {"reset_by": [_PERSON, "person-9a8b7c6d5e4f30211203f4e5d6c7b8a9"], "reason": "exercise_ended"},
    data_class="pseudonymous",
)
class BreakerReset(Payload):
    """Two people closed the breaker again."""

    reset_by: list[PersonRef]
    reason: Code
