"""Whether a service can do its work, check by check, with reasons."""

import asyncio
from collections.abc import Awaitable, Callable

type Check = Callable[[], Awaitable[str | None]]
"""Returns None when all is well, else the reason in one sentence. An exception counts as a reason."""

PROVIDER = "provider_"
"""How the checks of vendors are named; `provider.py` keeps them."""
_CHECK_SECONDS = 3.0


class Health:
    """Named checks. Serving: it can answer requests. Ready: it can do all of its work now.

    health.check("kafka", probe)                     # asked at each /health/ready
    health.check("database", probe, serving=True)    # and at each /health/serving
    health.fail("consumer", "no partitions yet")     # said by the part itself
    health.ok("consumer")
    """

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._serving: set[str] = set()
        self._parts: dict[str, str | None] = {}

    def check(self, name: str, probe: Check, *, serving: bool = False) -> None:
        """Ask this probe whenever readiness is asked for; it has three seconds. `serving`: no request can be answered
        while it fails."""
        self._checks[name] = probe
        if serving:
            self._serving.add(name)

    def fail(self, name: str, reason: str) -> None:
        """A part says that it cannot do its work now, and why. Never holds personal data or a secret."""
        self._parts[name] = reason

    def ok(self, name: str) -> None:
        """A part says that all is well with it."""
        self._parts[name] = None

    async def ready(self, *, providers: bool = True) -> dict[str, str | None]:
        """Each part and probe with None or its reason; without `providers` what this installation itself is made of."""
        found = {**self._parts, **await self._asked(list(self._checks))}
        return {name: reason for name, reason in found.items() if providers or not name.startswith(PROVIDER)}

    async def serving(self) -> dict[str, str | None]:
        """What no request can be answered without, with None or its reason."""
        return await self._asked([name for name in self._checks if name in self._serving])

    async def _asked(self, names: list[str]) -> dict[str, str | None]:
        answers = await asyncio.gather(*(_ask(self._checks[name]) for name in names))
        return dict(zip(names, answers, strict=True))

    async def readiness(self) -> float:
        """1 when ready, else 0."""
        return 0 if any((await self.ready()).values()) else 1


async def _ask(probe: Check) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await probe()
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} seconds"
    except Exception as error:  # noqa: BLE001 - whatever a probe meets is the answer
        return type(error).__name__
