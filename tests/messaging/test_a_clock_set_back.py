"""A clock that is set back moves the times that are written down, and nothing else: order is by sequence and offset."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from shared.events import Event, Reading, Signer
from shared.events.reporter import IncidentCancelled
from shared.messaging import Scope, Unit, Units, hear
from shared.messaging.heard import Verdict
from tests.messaging.conftest import Bus, until


class _Heard:
    """Keeps the verdict on each event, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[int, str, Verdict]] = []

    async def take(self, unit: Unit, readings: Sequence[Reading]) -> None:
        events = [reading for reading in readings if isinstance(reading, Event)]
        for event, verdict in zip(events, await hear(unit, events), strict=True):
            self.events.append((event.envelope.sequence, event.envelope.id, verdict))


async def test_events_stay_in_their_order_and_are_all_heard_when_the_clock_is_set_back(bus: Bus, incident: str) -> None:
    moment = datetime.now(UTC)
    units = Units(
        bus.pools["reporter"], Signer("reporter", bus.keys["reporter"]), log_topic=bus.topic, clock=lambda: moment
    )
    ids = []
    for back in (0, 1, 26, 2):
        moment = datetime.now(UTC) - timedelta(hours=back)
        async with units.begin() as unit:
            scope = Scope(incident, "acme-kk")
            ids.append(await unit.emit(IncidentCancelled(reason="false_alarm"), scope, actor="service/reporter"))
    heard = _Heard()

    async def all_heard() -> bool:
        return len(heard.events) >= len(ids)

    async with bus.relaying(), bus.hearing(heard):
        await until(all_heard, "four events")
    assert heard.events == [(at, event_id, Verdict.NEXT) for at, event_id in enumerate(ids, 1)]
