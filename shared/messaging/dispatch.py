"""From verified events to the handlers of one service."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import asyncpg
import structlog
from opentelemetry.trace import SpanKind

from shared.events import Event, Reading
from shared.events.payload import Payload
from shared.messaging import in_turn
from shared.messaging.heard import Verdict, hear
from shared.messaging.unit import Unit, Units
from shared.telemetry import bind, continue_trace, metrics

type Handler = Callable[[Unit, Any, Event], Awaitable[None]]
"""Called with the unit, locked on the event's subject, the decoded payload and the event."""

_log = structlog.get_logger()


class _Handled:
    """A type of event with its handler, and the two metrics of it: looking these up for every event takes as long as
    moving them."""

    def __init__(self, payload: type[Payload], handler: Handler) -> None:
        self.payload = payload
        self.handler = handler
        self.seconds = metrics.HANDLING.labels(payload.event_type)
        self.events = metrics.PROCESSED.labels(payload.event_type)


class Dispatch:
    """Hands each event to the handler of its type. Repeats and types that nobody knows are counted."""

    def __init__(self, handlers: Mapping[type[Payload], Handler], *, patient: bool = False) -> None:
        """`patient`: also the events that are handled may gather for a moment, because only people see what follows."""
        self._handlers = {payload.event_type: _Handled(payload, handler) for payload, handler in handlers.items()}
        self.urgent: Collection[str] = () if patient else self._handlers.keys()

    async def take(self, unit: Unit, readings: Sequence[Reading]) -> None:
        """Handle one batch in the unit. Raises what a handler raises; `pydantic.ValidationError` for a bad payload."""
        events = [reading for reading in readings if isinstance(reading, Event)]
        verdicts = zip(events, await hear(unit, events), strict=True)
        new = [event for event, verdict in verdicts if _acts(unit, event, verdict)]
        await self._handle(unit, new)

    async def take_at_once(self, units: Units, readings: Sequence[Reading]) -> bool:
        """Handle a batch of events that are all new and in turn; False when it is none. Raises as `take` does."""
        given = in_turn.arguments(readings)
        if given is None:
            return False
        events = [reading for reading in readings if isinstance(reading, Event)]
        subjects = self._subjects(events)
        try:
            if not subjects and all(event.entry is not None for event in events):
                await in_turn.pass_over(units.pool, given)
                return True
            async with units.begin() as unit:
                await in_turn.take_and_lock(unit, given, subjects)
                await self._handle(unit, events)
        except asyncpg.PostgresError as error:
            if not in_turn.is_refusal(error):
                raise
            return False
        return True

    async def take_again(self, unit: Unit, event: Event) -> bool:
        """Handle an event that was passed over, whatever came after it. False when another event has its place."""
        (verdict,) = await hear(unit, [event])
        if verdict is Verdict.CONFLICT:
            return False
        await self._handle(unit, [event])
        return True

    async def _handle(self, unit: Unit, events: Sequence[Event]) -> None:
        await unit.lock(*self._subjects(events))
        for event in events:
            if event.entry is None:
                unit.count(metrics.SKIPPED.labels(event.received.topic))
            if event.envelope.type in self._handlers:
                await self._handle_one(unit, event)

    def _subjects(self, events: Sequence[Event]) -> set[str]:
        """What is locked for these: the subjects of those that a handler waits for."""
        return {event.envelope.subject for event in events if event.envelope.type in self._handlers}

    async def _handle_one(self, unit: Unit, event: Event) -> None:
        handled = self._handlers[event.envelope.type]
        about = {"subject": event.envelope.subject, "event_id": event.envelope.id}
        with (
            continue_trace(event.envelope.traceparent, event.envelope.type, SpanKind.CONSUMER, **about),
            bind(**about, event_type=event.envelope.type),
            handled.seconds.time(),
        ):
            await handled.handler(unit, handled.payload.read(event.value), event)
        unit.count(handled.events)


def _acts(unit: Unit, event: Event, verdict: Verdict) -> bool:
    if verdict in (Verdict.REPEAT, Verdict.CONFLICT):
        unit.count(metrics.DUPLICATES.labels(event.received.topic))
        return False
    if verdict is Verdict.GAP:
        unit.count(metrics.GAPS.labels(event.envelope.source))
        _log.warning("sequence_gap", event_id=event.envelope.id, source=event.envelope.source)
    return True
