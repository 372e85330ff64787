"""Figures that are asked for when somebody reads the metrics: how something stands, in the database or elsewhere.

Counted in passing they would stand still just when they matter, while what would count them waits.
"""

import asyncio
from collections.abc import Awaitable, Callable
from math import nan

import structlog
from prometheus_client import Gauge

type Ask = Callable[[], Awaitable[float]]

_ASK_SECONDS = 5.0
"""Longer than a probe of readiness has: one that gets no answer is an answer."""

_log = structlog.get_logger()


class Gauges:
    """The gauges of one service.

    gauges.ask(metrics.OUTBOX_PENDING, lambda: pool.fetchval("SELECT count(*) FROM outbox"))
    """

    def __init__(self) -> None:
        self._asks: list[tuple[Gauge, Ask]] = []
        self._asking: dict[Gauge, asyncio.Future[float]] = {}

    def ask(self, gauge: Gauge, ask: Ask) -> None:
        """Ask this whenever metrics are read; it has five seconds."""
        self._asks.append((gauge, ask))

    async def measure(self) -> None:
        """Ask them all. What cannot be said now is not a number, rather than what was true before."""
        await asyncio.gather(*(self._measure(gauge, ask) for gauge, ask in self._asks))

    async def _measure(self, gauge: Gauge, ask: Ask) -> None:
        asking = self._asking.get(gauge)
        if asking is None or asking.done():
            asking = self._asking[gauge] = asyncio.ensure_future(ask())
            asking.add_done_callback(_heard)
        # Not cancelled when it takes too long: over a network that is half open that would wait as well.
        await asyncio.wait([asking], timeout=_ASK_SECONDS)
        is_told = asking.done() and not asking.cancelled() and asking.exception() is None
        gauge.set(asking.result() if is_told else nan)


def _heard(asking: asyncio.Future[float]) -> None:
    """Metrics are answered whatever is away."""
    if not asking.cancelled() and (error := asking.exception()) is not None:
        _log.debug("not_measured", error=type(error).__name__)
