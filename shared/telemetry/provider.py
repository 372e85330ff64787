"""Calls to providers, vendors that is: each is a span and a count, and what the last one came to is part of readiness.

A provider is away from a call, or a probe, that says so until the next that succeeds. Meanwhile it is probed every ten
seconds, and only few calls at a time are let through to it, so that waiting for it takes no room from work for others.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from opentelemetry.trace import SpanKind

from shared.telemetry import metrics
from shared.telemetry.health import PROVIDER, Check, Health
from shared.telemetry.traces import span

PROBE_AWAY_SECONDS = 10.0
PROBE_SECONDS = 60.0
"""One that answers is probed this long after its last answer, so that an outage shows before a phone is lost."""
_PROBE_LIMIT_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_MOST_WHILE_AWAY = 2

_log = structlog.get_logger()


class ProviderAwayError(Exception):
    """The provider is away, and others are trying it already. It was not called."""


@dataclass
class Call:
    """One call under way."""

    reason: str | None = None

    def away(self, reason: str) -> None:
        """Nobody gets anything from this provider now, and why: a sentence without personal data or secrets."""
        self.reason = reason


@dataclass
class _Provider:
    """How one provider stands, for one organisation where each has an account of its own."""

    name: str
    organisation: str | None
    since: datetime | None = None
    in_vain: int = 0
    heard_at: float = field(default=float("-inf"))
    probing: Check | None = None
    under_way: int = 0

    @property
    def check(self) -> str:
        return f"{PROVIDER}{self.name}" + (f"_{self.organisation}" if self.organisation else "")

    @property
    def due(self) -> bool:
        """Whether it is time for a probe."""
        pause = PROBE_SECONDS if self.since is None else PROBE_AWAY_SECONDS
        return self.probing is not None and time.monotonic() - self.heard_at >= pause


class ProviderCalls:
    """The calls of one service.

    with calls.to("nanomdm", "enqueue") as call:
        ...
        call.away("NanoMDM cannot be reached")
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._providers: dict[tuple[str, str | None], _Provider] = {}

    def watch(self, provider: str, probe: Check, organisation: str | None = None) -> None:
        """Probe this provider while nothing else is heard of it. `probe` says why it is away, or None."""
        self._provider(provider, organisation).probing = probe

    @contextmanager
    def to(self, provider: str, operation: str, organisation: str | None = None) -> Iterator[Call]:
        """One call. Raises what the block raises, and `ProviderAwayError`."""
        standing = self._provider(provider, organisation)
        if standing.since is not None and standing.under_way >= _MOST_WHILE_AWAY:
            raise ProviderAwayError(f"{provider} is away and being tried")
        call, outcome = Call(), "broken_off"
        standing.under_way += 1
        try:
            with span(f"{provider} {operation}", SpanKind.CLIENT, provider=provider, operation=operation):
                yield call
            outcome = "answered" if call.reason is None else "away"
        except Exception:
            # A refusal may come from our own side of the line, so it does not say that the provider is there.
            outcome = "refused" if call.reason is None else "away"
            raise
        finally:
            standing.under_way -= 1
            metrics.PROVIDER_CALLS.labels(provider, operation, outcome).inc()
            if outcome in ("answered", "away"):
                self._heard(standing, call.reason)

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            await asyncio.gather(*(self._probe(standing) for standing in self._providers.values() if standing.due))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _probe(self, standing: _Provider) -> None:
        if standing.probing is None:
            return
        reason: str | None
        try:
            async with asyncio.timeout(_PROBE_LIMIT_SECONDS):
                reason = await standing.probing()
        except TimeoutError:
            reason = f"no answer within {_PROBE_LIMIT_SECONDS:g} seconds"
        except Exception as error:  # noqa: BLE001 - whatever a probe meets is the answer
            reason = type(error).__name__
        metrics.PROVIDER_CALLS.labels(standing.name, "probe", "answered" if reason is None else "away").inc()
        self._heard(standing, reason)

    def _heard(self, standing: _Provider, reason: str | None) -> None:
        standing.heard_at = time.monotonic()
        if reason is None:
            if standing.since is not None:
                _log.info("provider_back", provider=standing.name, organisation=standing.organisation)
            standing.since, standing.in_vain = None, 0
            self._health.ok(standing.check)
        else:
            if standing.since is None:
                _log.warning("provider_away", provider=standing.name, organisation=standing.organisation, reason=reason)
            standing.since = standing.since or datetime.now(UTC)
            standing.in_vain += 1
            self._health.fail(
                standing.check,
                f"{reason}; since {standing.since:%Y-%m-%dT%H:%M:%SZ}, {standing.in_vain} calls in vain, "
                f"{_probed(standing)}",
            )
        away = [found for found in self._providers.values() if found.name == standing.name and found.since is not None]
        metrics.PROVIDER_AWAY.labels(standing.name).set(len(away))

    def _provider(self, provider: str, organisation: str | None) -> _Provider:
        return self._providers.setdefault((provider, organisation), _Provider(provider, organisation))


def _probed(standing: _Provider) -> str:
    if standing.probing is None:
        return "green again with the next call that succeeds"
    return f"asked again every {PROBE_AWAY_SECONDS:g} seconds"
