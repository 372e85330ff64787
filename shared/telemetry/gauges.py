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

    def ask(self, gauge: Gauge, ask: Ask) -> None:
        """Ask this whenever metrics are read; it has five seconds."""
        self._asks.append((gauge, ask))

    async def measure(self) -> None:
        """Ask them all. What cannot be said now is not a number, rather than what was true before."""
        await asyncio.gather(*(self._measure(gauge, ask) for gauge, ask in self._asks))

    async def _measure(self, gauge: Gauge, ask: Ask) -> None:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                gauge.set(await ask())
        except Exception as error:  # noqa: BLE001 - metrics are answered whatever is away
            _log.debug("not_measured", error=type(error).__name__)
            gauge.set(nan)
