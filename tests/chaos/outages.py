"""What others need is away, slow or half open: readiness says so, nothing is parked, nobody has to do anything.

Each outage is made by Toxiproxy between the services and what they call, so that everybody else still sees the truth.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from lostphone.installation import SERVICES
from tests.chaos import checks
from tests.chaos.people import People, RefusedError, TooLateError, until_true
from tests.chaos.stories import CASTS, Plot, Stage, Story, play_out
from tests.chaos.world import World

type Break = Callable[[World], None]


@dataclass(frozen=True)
class Outage:
    """What is broken, and what readiness must say of it meanwhile."""

    name: str
    broken: Break
    plot: Plot
    red: dict[str, str] = field(default_factory=dict)
    """Service → the check that must be red. A vendor's is red in the service that calls it."""
    tried: str | None = None
    """A command of this kind must show on its case that its provider cannot be reached."""
    at_least: float = 0
    """Seconds that it takes in the long run: so long that whoever gives up would have given up."""


def _away(*proxies: str) -> Break:
    return lambda world: [world.proxies.refuse(name) for name in proxies] and None


def _half_open(*proxies: str) -> Break:
    return lambda world: [world.proxies.freeze(name) for name in proxies] and None


def _slow(milliseconds: int, *proxies: str) -> Break:
    return lambda world: [world.proxies.slow(name, milliseconds) for name in proxies] and None


_ALL_KAFKA = dict.fromkeys(SERVICES, "kafka")
_ALL_DATABASE = dict.fromkeys(SERVICES, "database")

_SORACOM = {"mdm_actions": "provider_soracom"}
_ENTRA = {"mdm_actions": "provider_entra_acme-kk"}
_NANOMDM = {"mdm_actions": "provider_nanomdm"}
_MAIL = {"notifier": "provider_mail"}

OUTAGES: Sequence[Outage] = (
    Outage("kafka away", _away("kafka"), "line", _ALL_KAFKA),
    Outage("kafka half open", _half_open("kafka"), "line", _ALL_KAFKA),
    Outage("kafka slow", _slow(400, "kafka"), "line"),
    Outage("database away", _away("postgres"), "line", _ALL_DATABASE),
    Outage("database half open", _half_open("postgres"), "line", _ALL_DATABASE),
    Outage("database slow", _slow(100, "postgres"), "line"),
    Outage("carrier away", _away("carrier"), "line", _SORACOM, "suspend_line"),
    Outage("carrier half open", _half_open("carrier"), "line", _SORACOM, "suspend_line"),
    Outage("identity provider away", _away("entra"), "line", _ENTRA, "revoke_sessions"),
    Outage("MDM server away", _away("nanomdm"), "found", _NANOMDM, "lost_mode"),
    Outage("MDM server half open", _half_open("nanomdm"), "found", _NANOMDM),
    Outage("mail and LINE away", _away("smtp", "line"), "wiped", _MAIL, at_least=150),
    Outage("mail and LINE half open", _half_open("smtp", "line"), "wiped", _MAIL),
)
SHORT = ("kafka away", "database half open", "carrier away", "mail and LINE away")
"""What the test suite has time for; the rest is in `make chaos`."""


@dataclass
class Seen:
    """One outage as it went."""

    outage: str
    seconds: float = 0.0
    reasons: dict[str, str] = field(default_factory=dict)
    back_after: float = 0.0
    """Seconds from its end until every service was ready."""
    wrong: list[str] = field(default_factory=list)


async def go_through(
    world: World, seed: int, outages: Sequence[Outage], *, seconds: float, within: float, long: bool = False
) -> list[Seen]:
    """One outage after the other, each of at least so many seconds, with a story that begins in the middle of it."""
    stories = [Story(at, seed, outage.plot, CASTS[at % len(CASTS)]) for at, outage in enumerate(outages)]
    found = []
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=32, max_keepalive_connections=0)) as http:
        stage = Stage(world, People(world.status, http), within=within)
        await stage.prepare(stories)
        for outage, story in zip(outages, stories, strict=True):
            takes = max(seconds, outage.at_least if long else 0)
            found.append(await _Outage(world, stage, outage, story).go(takes, within))
    if failed := stage.people.statuses[500]:
        found[-1].wrong.append(f"{failed} requests were answered 500 where 503 says that it is an outage")
    last = [
        *checks.check_stories(stories),
        *checks.check_log(world),
        *checks.check_dead_letters(world),
        *await checks.check_tables(world),
        *await checks.check_outside(world, stories),
    ]
    found[-1].wrong += last
    return found


class _Outage:
    def __init__(self, world: World, stage: Stage, outage: Outage, story: Story) -> None:
        self._world = world
        self._stage = stage
        self._outage = outage
        self._story = story
        self._seen = Seen(outage.name)

    async def go(self, seconds: float, within: float) -> Seen:
        pids = self._pids()
        began = time.monotonic()
        await asyncio.to_thread(self._outage.broken, self._world)
        playing = asyncio.create_task(self._stage.play(self._story))
        try:
            await self._until_red(began + seconds + 60)
            await self._until_tried(began + seconds + 90)
            await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))
        except TooLateError as error:
            self._seen.wrong.append(f"{self._outage.name}: {error}")
        finally:
            self._seen.seconds = round(time.monotonic() - began, 1)
            await asyncio.to_thread(self._world.proxies.heal)
        healed = time.monotonic()
        await asyncio.to_thread(self._world.await_ready, within)
        await self._until_green(healed + within)
        self._seen.back_after = round(time.monotonic() - healed, 1)
        await play_out([playing], within)
        await checks.until_quiet(self._world, time.monotonic() + within)
        if self._pids() != pids:
            self._seen.wrong.append(f"{self._outage.name}: a process ended: {pids} became {self._pids()}")
        return self._seen

    def _pids(self) -> dict[str, int | None]:
        return {name: part.child.pid for name, part in self._world.parts.items()}

    async def _until_red(self, until: float) -> None:
        for service, check in self._outage.red.items():

            async def red(service: str = service, check: str = check) -> str | None:
                said = await asyncio.to_thread(self._world.readiness, service)
                found: dict[str, Any] = said.get("checks", {}).get(check, {})
                return found.get("reason")

            reason = await until_true(red, f"{service} never said that {check} is away", until)
            self._seen.reasons[service] = f"{check}: {reason}"

    async def _until_green(self, until: float) -> None:
        for service in self._outage.red:

            async def green(service: str = service) -> bool:
                return (await asyncio.to_thread(self._world.readiness, service)).get("status") == "ready"

            await until_true(green, f"{service} is not ready again", until)

    async def _until_tried(self, until: float) -> None:
        """Until the case says that the provider cannot be reached, and that it will be tried again."""
        kind = self._outage.tried
        if kind is None:
            return
        desk = self._story.cast.desk

        async def tried() -> str | None:
            if not self._story.incident:
                return None
            path = f"/v1/incidents/{self._story.incident}/commands"
            try:
                said = await self._stage.people.call("mdm_actions", desk, "GET", path, until=until)
            except RefusedError:
                return None  # it has not heard of the case yet
            found = next((command for command in said["commands"] if command["kind"] == kind), None)
            tries = (found or {}).get("tries") or {}
            return str(tries["reason"]) if tries.get("reason") == "provider_unavailable" else None

        self._seen.reasons["case"] = f"{kind}: {await until_true(tried, f'no try of {kind} is shown', until)}"
