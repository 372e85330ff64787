"""What containment asks of the outside world: device management, carriers, identity providers.

Each Protocol has one adapter per vendor and one behavioural suite that all of them pass. An adapter never decides;
it says what the provider said. HTTP success is never "done" here: done is what a device or a second look says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from services.mdm_actions.domain.command import Kind, State
from shared.events.payload import Assurance


class ProviderUnavailableError(Exception):
    """The provider could not be reached, or answered that it cannot now. Whether it heard us is not known."""


class ProviderRefusedError(Exception):
    """The provider said no, and will say no again. `reason` is a code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Position:
    """Where a device says it is. Goes to the vault and nowhere else."""

    latitude: float
    longitude: float
    accuracy_m: int | None
    at: datetime


@dataclass(frozen=True)
class Outcome:
    """What is known of one command. `evidence` is the provider's own record of it, as received."""

    state: State
    at: datetime | None = None
    reason: str | None = None
    position: Position | None = None
    evidence: bytes = b""


@dataclass(frozen=True)
class Presence:
    """How a device stands at its server. `enrolled_at` moves when it enrols again, which clears its queue."""

    enrolled: bool
    last_seen: datetime | None = None
    enrolled_at: datetime | None = None


@dataclass(frozen=True)
class DeviceOrder:
    """One command for one device. There is no way to name two devices."""

    command: UUID
    kind: Kind
    message: str = ""


class MobileDeviceManagement(Protocol):
    """An MDM server, one device at a time."""

    async def probe(self) -> None:
        """Ask it something that costs and changes nothing. Raises like every other call."""

    async def look(self, udid: str) -> Presence:
        """How the device stands now."""

    async def enqueue(self, udid: str, order: DeviceOrder) -> None:
        """Have the command delivered. Doing it again with the same command id is the same command."""

    async def outcome(self, udid: str, command: UUID) -> Outcome | None:
        """What became of a command; None when the server never took it."""

    async def disarm(self, udid: str, command: UUID) -> bool:
        """Stop handing the command out. False: too late, or not known there."""

    async def wake(self, udids: Sequence[str]) -> None:
        """Ask these devices to connect. No promise."""


@dataclass(frozen=True)
class LineReading:
    """What the carrier says about a line."""

    active: bool
    word: str
    assurance: Assurance
    at: datetime


@dataclass(frozen=True)
class HandOver:
    """No interface does this; a person must. What to say and where, by language."""

    instructions: Mapping[str, str]


LineAction = Literal["suspend", "deactivate", "activate"]


class Carrier(Protocol):
    """A carrier, one line at a time."""

    async def probe(self) -> None:
        """Ask it something that costs and changes nothing. Raises like every other call."""

    async def change(self, sim_id: str, action: LineAction) -> LineReading | HandOver:
        """Change the line and read it back. Repeating it is safe."""

    async def read_back(self, sim_id: str) -> LineReading | None:
        """How the line stands; None when this carrier cannot be asked."""


class IdentityProvider(Protocol):
    """Where people sign in."""

    async def probe(self) -> None:
        """Ask it something that costs and changes nothing. Raises like every other call."""

    async def revoke(self, account: str) -> None:
        """End every session of the account. Repeating it is safe."""

    async def valid_from(self, account: str) -> datetime | None:
        """Sessions older than this are void."""
