"""Whether a service lives and is ready, check by check, with reasons."""

import asyncio
from collections.abc import Awaitable, Callable

type Check = Callable[[], Awaitable[str | None]]
"""Returns None when all is well, else the reason in one sentence. An exception counts as a reason."""

PROVIDER = "provider_"
"""How the checks of vendors are named; `provider.py` keeps them."""
_CHECK_SECONDS = 3.0


class Health:
    """Named checks. Live: the process can go on. Serving: it can answer requests. Ready: it can do all of its work now.

    health.check("kafka", probe)                     # asked at each /health/ready
    health.check("database", probe, serving=True)    # and at each /health/serving
    health.fail("consumer", "no partitions yet")     # said by the part itself
    health.ok("consumer")
    health.broken("the relay ended: ...")            # /health/live answers 503: only a restart helps
    """

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._serving: set[str] = set()
        self._parts: dict[str, str | None] = {}
        self._broken: str | None = None

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

    async def ready(self, *, providers: bool = True) -> dict[str, str | None]:
        """Each part and probe with None or its reason; without `providers` what this installation itself is made of."""
        found = {**self._parts, **await self._asked(list(self._checks))}
        return {name: reason for name, reason in found.items() if providers or not name.startswith(PROVIDER)}

    async def serving(self) -> dict[str, str | None]:
        """What no request can be answered without, with None or its reason."""
        return await self._asked([name for name in self._checks if name in self._serving])

    async def _asked(self, names: list[str]) -> dict[str, str | None]:
        answers = await asyncio.gather(*(_ask(self._checks[name]) for name in names))
        broken = {"process": self._broken} if self._broken is not None else {}
        return {**dict(zip(names, answers, strict=True)), **broken}

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
