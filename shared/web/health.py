"""Whether a service lives and is ready, check by check, with reasons."""

import asyncio
from collections.abc import Awaitable, Callable

from shared.telemetry import metrics

type Check = Callable[[], Awaitable[str | None]]
"""Returns None when all is well, else the reason in one sentence. An exception counts as a reason."""

_CHECK_SECONDS = 3.0


class Health:
    """Named checks. Live: the process can go on. Ready: it can do its work now.

        health.check("postgres", probe)                # asked at each /health/ready
        health.report("consumer", "no partitions yet") # pushed by the part itself; None when all is well
        health.broken("relay stopped: ...")            # /health/live answers 503: only a restart helps
    """

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._reports: dict[str, str | None] = {}
        self._broken: str | None = None

    def check(self, name: str, probe: Check) -> None:
        """Ask this probe whenever readiness is asked for; it has three seconds."""
        self._checks[name] = probe

    def report(self, name: str, reason: str | None) -> None:
        """The state of a part that knows it by itself."""
        self._reports[name] = reason

    def broken(self, reason: str) -> None:
        """Nothing but a restart helps."""
        self._broken = reason

    @property
    def live(self) -> str | None:
        """None, or why the process should be started again."""
        return self._broken

    async def ready(self) -> dict[str, str | None]:
        """Each check with None or its reason."""
        names = list(self._checks)
        answers = await asyncio.gather(*(_ask(self._checks[name]) for name in names))
        found = {**self._reports, **dict(zip(names, answers, strict=True))}
        if self._broken is not None:
            found["live"] = self._broken
        metrics.READY.set(0 if any(found.values()) else 1)
        return found


async def _ask(probe: Check) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await probe()
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} seconds"
    except Exception as error:  # noqa: BLE001 - whatever a probe meets is the answer
        return f"{type(error).__name__}: {error}"
