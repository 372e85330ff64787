"""What is sent to the log meanwhile: signed events of many incidents, repeats, forgeries, and what is no event."""

import asyncio
import random
import uuid
from dataclasses import dataclass, field, replace

from shared.events import Received
from shared.messaging.kafka import Producer
from tests.audit.records import Writers
from tests.audit.running import outgoing

_NAMES = ("DeviceLost", "IncidentTriaged", "DeviceLocked", "WipeSent", "DutyOpened", "LeakAssessed")
_OPEN = 12
"""Incidents that go on at the same time."""


@dataclass
class Load:
    """Everything that Kafka acknowledged."""

    producer: Producer
    writers: Writers
    chance: random.Random
    pause: float
    sent: list[Received] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    """Of the events that are signed as they should be."""
    closed: set[str] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop. Raises what Kafka answers: it is not among those that die."""
        going = [self._incident() for _ in range(_OPEN)]
        while not stop.is_set():
            batch = [self._record(going) for _ in range(self.chance.randint(1, 30))]
            errors = await self.producer.send([outgoing(record, self.writers.topic) for record in batch])
            for error in errors:
                if error is not None:
                    raise error
            self.sent += batch
            await asyncio.sleep(self.pause)

    def _incident(self) -> str:
        subject = str(uuid.uuid4())
        self.subjects.add(subject)
        return subject

    def _record(self, going: list[str]) -> Received:
        draw = self.chance.random()
        if draw < 0.03:
            return Received(self.writers.topic, 0, 0, 0, None, (), self.chance.randbytes(40))
        if draw < 0.06 and self.sent:
            return self.chance.choice(self.sent[-200:])
        at = self.chance.randrange(len(going))
        if draw < 0.09:
            forged = self.writers.sign("DeviceLost", self.writers.envelope("DeviceLost", "of-nobody"))
            return replace(forged, key=going[at].encode(), value=forged.value + b" ")
        name = "IncidentClosed" if draw < 0.12 else self.chance.choice(_NAMES)
        envelope = self.writers.envelope(name, going[at])
        self.ids.add(envelope.id)
        record = self.writers.sign(name, envelope)
        if name == "IncidentClosed":
            self.closed.add(going[at])
            going[at] = self._incident()
        return record
