"""From verified events to the handlers of one service."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog

from shared.events import Event, Reading, Rejection
from shared.events.payload import Payload
from shared.messaging.heard import Verdict, hear
from shared.messaging.unit import Unit
from shared.telemetry import bind, continue_trace, metrics

type Handler = Callable[[Unit, Any, Event], Awaitable[None]]
"""Called with the unit, the decoded payload and the event."""

_log = structlog.get_logger()


class Dispatch:
    """Hands each event to the handler of its type. Repeats, rejections and types that nobody handles are counted."""

    def __init__(self, handlers: Mapping[type[Payload], Handler]) -> None:
        self._handlers = {payload.event_type: (payload, handler) for payload, handler in handlers.items()}

    def handles(self, event_type: str) -> bool:
        """Whether a handler waits for events of this type."""
        return event_type in self._handlers

    async def take(self, unit: Unit, readings: Sequence[Reading]) -> None:
        """Handle one batch in the unit. Raises what a handler raises; `pydantic.ValidationError` for a bad payload."""
        events = [reading for reading in readings if isinstance(reading, Event)]
        for reading in readings:
            if isinstance(reading, Rejection):
                metrics.REJECTED.labels(reading.kind, reading.reason.partition(":")[0]).inc()
        for event, verdict in zip(events, await hear(unit, events), strict=True):
            if verdict in (Verdict.REPEAT, Verdict.CONFLICT):
                metrics.DUPLICATES.labels(event.received.topic).inc()
                continue
            if verdict is Verdict.GAP:
                metrics.GAPS.labels(event.envelope.source).inc()
                _log.warning("sequence_gap", event_id=event.envelope.id, source=event.envelope.source)
            await self._handle(unit, event)

    async def take_again(self, unit: Unit, event: Event) -> bool:
        """Handle an event that was passed over, whatever came after it. False when another event has its place."""
        (verdict,) = await hear(unit, [event])
        if verdict is Verdict.CONFLICT:
            return False
        await self._handle(unit, event)
        return True

    async def _handle(self, unit: Unit, event: Event) -> None:
        found = self._handlers.get(event.envelope.type)
        if found is None:
            if event.entry is None:
                metrics.SKIPPED.labels(event.received.topic).inc()
            return
        payload_class, handler = found
        with (
            continue_trace(event.envelope.traceparent, event.envelope.type),
            bind(subject=event.envelope.subject, event_id=event.envelope.id, event_type=event.envelope.type),
        ):
            await handler(unit, payload_class.read(event.value), event)
        metrics.PROCESSED.labels(event.envelope.type).inc()
