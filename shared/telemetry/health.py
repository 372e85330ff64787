"""Whether a service lives and is ready, check by check, with reasons."""

import asyncio
from collections.abc import Awaitable, Callable

from shared.telemetry import metrics

type Check = Callable[[], Awaitable[str | None]]
"""Returns None when all is well, else the reason in one sentence. An exception counts as a reason."""

_CHECK_SECONDS = 3.0


class Health:
    """Named checks. Live: the process can go on. Ready: it can do its work now.

    health.check("postgres", probe)                  # asked at each /health/ready
    health.fail("consumer", "no partitions yet")     # said by the part itself
    health.ok("consumer")
    health.broken("the relay ended: ...")            # /health/live answers 503: only a restart helps
    """

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._parts: dict[str, str | None] = {}
        self._broken: str | None = None

    def check(self, name: str, probe: Check) -> None:
        """Ask this probe whenever readiness is asked for; it has three seconds."""
        self._checks[name] = probe

    def fail(self, name: str, reason: str) -> None:
        """A part says that it cannot do its work now, and why. Never holds personal data or a secret."""
        self._parts[name] = reason

    def ok(self, name: str) -> None:
        """A part says that all is well with it."""
        self._parts[name] = None

    def broken(self, reason: str) -> None:
        """Nothing but a restart helps."""
        self._broken = reason

    @property
    def live(self) -> str | None:
        """None, or why the process should be started again."""
        return self._broken

    def failing(self) -> dict[str, str]:
        """The parts that said they cannot work, with their reasons; probes are not asked."""
        return {name: reason for name, reason in self._parts.items() if reason is not None}

    async def ready(self) -> dict[str, str | None]:
        """Each part and probe with None or its reason."""
        names = list(self._checks)
        answers = await asyncio.gather(*(_ask(self._checks[name]) for name in names))
        found = {**self._parts, **dict(zip(names, answers, strict=True))}
        if self._broken is not None:
            found["process"] = self._broken
        metrics.READY.set(0 if any(found.values()) else 1)
        return found


async def _ask(probe: Check) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await probe()
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} seconds"
    except Exception as error:  # noqa: BLE001 - whatever a probe meets is the answer
        return type(error).__name__
