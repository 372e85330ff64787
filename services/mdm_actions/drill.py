"""Stand-ins for every provider in a drill: they obey at once and reach nothing.

A drill runs the same code as a real loss. Choosing these instead of the real adapters is the only difference, and
they hold no address, no key and no client with which anything could be reached.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from services.mdm_actions.domain.command import State
from services.mdm_actions.providers import DeviceOrder, LineAction, LineReading, Outcome, Presence
from shared.events.payload import Assurance

_WORD: dict[LineAction, str] = {"suspend": "suspended", "deactivate": "inactive", "activate": "active"}


class DrillDevices:
    """Every device is enrolled and obeys."""

    async def probe(self) -> None:
        return None

    async def look(self, udid: str) -> Presence:
        return Presence(enrolled=True, last_seen=datetime.now(UTC))

    async def enqueue(self, udid: str, order: DeviceOrder) -> None:
        return None

    async def outcome(self, udid: str, command: UUID) -> Outcome | None:
        return Outcome(State.SUCCEEDED, datetime.now(UTC), reason="drill")

    async def disarm(self, udid: str, command: UUID) -> bool:
        return True

    async def wake(self, udids: Sequence[str]) -> None:
        return None


class DrillCarrier:
    """Every line changes."""

    async def probe(self) -> None:
        return None

    async def change(self, sim_id: str, action: LineAction) -> LineReading:
        return LineReading(action == "activate", _WORD[action], Assurance.OTHER, datetime.now(UTC))

    async def read_back(self, sim_id: str) -> LineReading | None:
        return None


class DrillIdentity:
    """Every session ends."""

    async def probe(self) -> None:
        return None

    async def revoke(self, account: str) -> None:
        return None

    async def valid_from(self, account: str) -> datetime | None:
        return datetime.now(UTC)
