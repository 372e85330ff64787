"""Kill -9 at random points of many stories, seeded, and start again what was killed."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from lostphone.installation import SERVICES
from tests.chaos.stories import Story
from tests.chaos.world import KILLABLE, RELAY, World

_WEIGHTS = {"kafka": 1, "postgres": 2, "nanomdm": 2, **dict.fromkeys(SERVICES, 4), RELAY: 3}
_FAULTS = (
    ("carrier", "POST /v1/sims"),
    ("carrier", "GET /v1/sims"),
    ("entra", "POST /v1.0/users"),
    ("entra", "GET /v1.0/users"),
    ("line", "POST /v2/bot"),
    ("mail", "DATA"),
)
"""Where the outside world fails on its own, meanwhile: answers lost, refused or late."""
_KINDS = ("lose_answer", "drop", "answer", "slow")


@dataclass
class Kills:
    """What was done to the installation. The same seed kills the same parts after the same pauses."""

    seed: int
    count: int
    done: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    died: list[str] = field(default_factory=list)
    """Processes that ended without having been killed, with their last words."""
    seconds: float = 0.0
    targets: Sequence[str] = KILLABLE

    async def run(
        self, world: World, stories: list[Story], *, mean_pause: float, faults: bool, say: Callable[[str], None]
    ) -> None:
        """Kill so many times; a part that is down is not killed again before it was started."""
        chance = random.Random(f"kills {self.seed}")
        began = time.monotonic()
        down: dict[str, asyncio.Task[None]] = {}
        for _ in range(self.count):
            await asyncio.sleep(chance.expovariate(1 / mean_pause))
            if faults and chance.random() < 0.3:
                await asyncio.to_thread(self._fault, world, chance)
            wanted = chance.choices(self.targets, [_WEIGHTS[name] for name in self.targets])[0]
            stays_down = chance.choice((0.0, 0.0, 0.2, 1.0, 3.0))
            while wanted in down and not down[wanted].done():
                await asyncio.wait([down[wanted]])
            if wanted in down:
                down[wanted].result()
            await self._revive(world, [name for name, back in down.items() if not back.done()])
            await asyncio.to_thread(world.kill, wanted)
            self.done[wanted] += 1
            if self.done.total() % 25 == 0:
                told = sum(bool(story.ended) for story in stories)
                say(f"{self.done.total()} of {self.count} kills; {told} of {len(stories)} stories ended")
            down[wanted] = asyncio.create_task(self._back(world, wanted, stays_down))
        await asyncio.gather(*down.values())
        self.seconds = time.monotonic() - began

    async def keep_alive(self, world: World) -> None:
        """Do what the supervisor of `lostphone up` does after the kills, until cancelled."""
        while True:
            await self._revive(world, [])
            await asyncio.sleep(0.5)

    async def _revive(self, world: World, down: Collection[str]) -> None:
        """Start what ended by itself: all that is not running and was not killed."""
        for name in world.dead():
            if name not in down:
                self.died.append(f"{name}: {world.end_of(name)}")
                await asyncio.to_thread(world.restart, name)

    async def _back(self, world: World, name: str, after: float) -> None:
        await asyncio.sleep(after)
        await asyncio.to_thread(world.restart, name)

    def _fault(self, world: World, chance: random.Random) -> None:
        part, match = chance.choice(_FAULTS)
        kind = chance.choice(_KINDS)
        world.sandbox(
            part,
            "POST",
            "/_faults",
            {"kind": kind, "calls": 1, "seconds": 2, "status": 451 if part == "mail" else 503, "match": match},
        )
        self.faults[f"{part} {kind}"] += 1
