"""Which event tells how a command ended. Nothing claims more than was heard."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from services.mdm_actions.domain.command import Kind, State
from services.mdm_actions.providers import LineReading
from services.mdm_actions.store import Command
from shared.events.mdm_actions import (
    CarrierResumed,
    CarrierSuspended,
    CarrierSuspensionFailed,
    DeviceLocked,
    DeviceUnlocked,
    LocateFailed,
    LockFailed,
    SessionRevocationFailed,
    SessionsRevoked,
    SuspensionTrigger,
    WipeConfirmed,
    WipeDisarmed,
    WipeExpired,
    WipeFailed,
    WipeNotCancellable,
    WipeSent,
)
from shared.events.payload import Assurance, Payload, ProofLevel

_DISARM_METHODS = {"nanomdm": "queue_row_deactivated"}


@dataclass(frozen=True)
class Ending:
    """A command that has ended, and how that is known."""

    command: Command
    at: datetime
    reason: str | None = None
    evidence: bytes = b""
    reading: LineReading | None = None
    reference: str | None = None

    @property
    def done(self) -> bool:
        return self.command.state is State.SUCCEEDED

    @property
    def withdrawn(self) -> bool:
        return self.command.state is State.CANCELLED

    @property
    def why(self) -> str:
        return self.reason or self.command.state.value


def tell(ending: Ending) -> Payload | None:
    """The event, or None where an end like this is seen in the list of commands only."""
    story = _STORIES.get(ending.command.kind)
    return story(ending) if story else None


def wipe_sent(command: Command, at: datetime) -> WipeSent:
    """The MDM server took the erase: P2, and no more."""
    return WipeSent(
        device=device_of(command), command=command.command, nonce=_nonce(command), proof=ProofLevel.P2, sent_at=at
    )


def wipe_not_cancellable(command: Command, reason: str) -> WipeNotCancellable:
    """It was too late to take the wipe back, or cannot be done at all."""
    return WipeNotCancellable(device=device_of(command), command=command.command, nonce=_nonce(command), reason=reason)


def device_of(command: Command) -> str:
    """The device of a command to a device."""
    if command.device is None:
        raise ValueError(f"command {command.command} names no device")
    return command.device


def _nonce(command: Command) -> str:
    if command.statement is None:
        raise ValueError(f"command {command.command} carries no statement")
    return command.statement.nonce


def _line(command: Command) -> str:
    if command.line is None:
        raise ValueError(f"command {command.command} names no line")
    return command.line


def _revocation(ending: Ending) -> Payload:
    command = ending.command
    provider, name, holder = command.provider, command.command, command.holder
    if ending.done:
        return SessionsRevoked(provider=provider, command=name, holder=holder, effective_at=ending.at)
    return SessionRevocationFailed(provider=provider, command=name, holder=holder, reason=ending.why)


def _lock(ending: Ending) -> Payload | None:
    command = ending.command
    if ending.done:
        return DeviceLocked(
            device=device_of(command),
            command=command.command,
            mode=command.kind.value,
            proof=ProofLevel.P3,
            acknowledged_at=ending.at,
        )
    if ending.withdrawn:
        return None
    return LockFailed(device=device_of(command), command=command.command, reason=ending.why)


def _locate(ending: Ending) -> Payload | None:
    if ending.withdrawn:
        return None
    reason = "no_position" if ending.done else ending.why
    return LocateFailed(device=device_of(ending.command), command=ending.command.command, reason=reason)


def _unlock(ending: Ending) -> Payload | None:
    command = ending.command
    if not ending.done:
        return None
    return DeviceUnlocked(device=device_of(command), command=command.command, acknowledged_at=ending.at)


def _wipe(ending: Ending) -> Payload:
    command = ending.command
    device, name, nonce = device_of(command), command.command, _nonce(command)
    match command.state:
        case State.SUCCEEDED:
            return WipeConfirmed(
                device=device,
                command=name,
                nonce=nonce,
                proof=ProofLevel.P3,
                confirmed_at=ending.at,
                evidence=hashlib.sha256(ending.evidence).hexdigest(),
            )
        case State.EXPIRED:
            return WipeExpired(device=device, command=name, nonce=nonce, expired_at=command.expires_at)
        case State.CANCELLED:
            return WipeDisarmed(device=device, command=name, nonce=nonce, method=_disarm_method(command))
        case _:
            return WipeFailed(device=device, command=name, nonce=nonce, reason=ending.why)


def _disarm_method(command: Command) -> str:
    if command.sent_at is None:
        return "never_sent"
    return "drill" if command.drill else _DISARM_METHODS.get(command.provider, "provider_withdrew")


def _suspension(ending: Ending) -> Payload | None:
    command, reading = ending.command, ending.reading
    if ending.withdrawn:
        return None
    if reading is None or not ending.done:
        return CarrierSuspensionFailed(
            line=_line(command),
            device=command.device,
            carrier=command.provider,
            command=command.command,
            reason=ending.why,
        )
    return CarrierSuspended(
        line=_line(command),
        device=command.device,
        carrier=command.provider,
        command=command.command,
        action="deactivate" if reading.word == "inactive" else "suspend",
        trigger=command.trigger or SuspensionTrigger.OTHER,
        assurance=reading.assurance,
        effective_at=ending.at,
        read_back=reading.word if reading.assurance is Assurance.API_READBACK else None,
        reference=ending.reference,
    )


def _resumption(ending: Ending) -> Payload | None:
    command, reading = ending.command, ending.reading
    if reading is None or not ending.done:
        return None
    return CarrierResumed(
        line=_line(command),
        device=command.device,
        carrier=command.provider,
        command=command.command,
        assurance=reading.assurance,
        effective_at=ending.at,
        reference=ending.reference,
    )


_STORIES: Mapping[Kind, Callable[[Ending], Payload | None]] = {
    Kind.REVOKE_SESSIONS: _revocation,
    Kind.LOST_MODE: _lock,
    Kind.LOCK: _lock,
    Kind.LOCATE: _locate,
    Kind.UNLOCK: _unlock,
    Kind.WIPE: _wipe,
    Kind.SUSPEND_LINE: _suspension,
    Kind.RESUME_LINE: _resumption,
}
