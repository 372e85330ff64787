"""What was committed a moment ago, from the units of a process to its relay, without a look into the outbox.

Only events before which nothing about their subject waits may go this way: the unit asks for that under its lock on
the subject. Everything else is looked for, and so is all that is in hand when there is a reason to look.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from shared.messaging.kafka import OutgoingRecord

MOST = 500


@dataclass(frozen=True, slots=True)
class Sendable:
    """An event as it lies in the outbox."""

    place: int
    record: OutgoingRecord


class InHand:
    """Wakes the relay of this process."""

    def __init__(self) -> None:
        self._wake = asyncio.Event()
        self._sendable: list[Sendable] = []
        self._look = True

    def give(self, sendable: Sequence[Sendable]) -> None:
        """These were committed, and nothing about their subjects waits before them."""
        self._wake.set()
        if self._look:
            return  # they lie in the outbox as well
        self._sendable += sendable
        if len(self._sendable) > MOST:
            self.look()

    def look(self) -> None:
        """Something was committed that is not in hand."""
        self._look = True
        self._sendable.clear()
        self._wake.set()

    def take(self) -> list[Sendable] | None:
        """What is in hand, in the order in which it was given; None when the relay has to look."""
        self._wake.clear()
        taken, self._sendable = self._sendable, []
        look, self._look = self._look, False
        return None if look else taken

    async def wait(self, seconds: float) -> None:
        """Until there is something, at most so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
