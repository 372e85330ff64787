"""One night: many stories at once, so many kills among them, and then what must be true."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.chaos import checks
from tests.chaos.kills import Kills
from tests.chaos.people import People, TooLateError
from tests.chaos.stories import Stage, Story, invent, play_out
from tests.chaos.world import KILLABLE, World


@dataclass
class Night:
    """What happened, and what is wrong."""

    seed: int
    stories: list[Story] = field(default_factory=list)
    kills: Kills | None = None
    wrong: list[str] = field(default_factory=list)
    calls: int = 0
    again: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    repeats: int = 0
    uncertain: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        kills = self.kills or Kills(self.seed, 0)
        ends: dict[str, int] = {}
        for story in self.stories:
            end = f"{story.plot}: {story.ended or 'not ended'}"
            ends[end] = ends.get(end, 0) + 1
        return {
            "seed": self.seed,
            "kills": sum(kills.done.values()),
            "killed": dict(kills.done.most_common()),
            "ended_by_themselves": kills.died,
            "faults": dict(kills.faults.most_common()),
            "stories": ends,
            "erased_without_a_word": sum("wipe silent" in story.steps for story in self.stories),
            "calls": self.calls,
            "calls_repeated": self.again,
            "answers_of_no_help": {str(status): count for status, count in self.statuses.items()},
            "records_sent_twice": self.repeats,
            "notices_uncertain": self.uncertain,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "wrong": self.wrong,
        }


async def night(
    world: World,
    seed: int,
    *,
    kills: int,
    stories: int,
    mean_pause: float,
    within: float,
    faults: bool = True,
    targets: Sequence[str] = KILLABLE,
    say: Callable[[str], None] = lambda line: None,
) -> Night:
    """Play it. `mean_pause`: seconds between two kills; `within`: seconds that the stories have
    after the last kill, and then all to become quiet; `targets`: what is killed; `say`: progress."""
    told = Night(seed, invent(seed, stories, over_seconds=0.7 * kills * mean_pause))
    told.kills = killing = Kills(seed, kills, targets=targets)
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=64, max_keepalive_connections=0)) as http:
        people = People(world.status, http)
        stage = Stage(world, people, within=within)
        began = time.monotonic()
        await stage.prepare(told.stories)
        told.seconds["preparing"] = time.monotonic() - began
        playing = [asyncio.create_task(stage.play(story)) for story in told.stories]
        try:
            await killing.run(world, told.stories, mean_pause=mean_pause, faults=faults, say=say)
            told.seconds["killing"] = killing.seconds
            guard = asyncio.create_task(killing.keep_alive(world))
            late = await play_out(playing, within)
            say(f"{late} stories did not end" if late else "every story ended")
            told.seconds["until the last story ended"] = time.monotonic() - began
            try:
                await checks.until_quiet(world, time.monotonic() + within)
            except TooLateError as error:
                told.wrong.append(" ".join([str(error), *getattr(error, "__notes__", ())]))
            guard.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await guard
        finally:
            await play_out(playing, 0)
        told.seconds["until all was quiet"] = time.monotonic() - began
        told.calls, told.again, told.statuses = people.calls, people.again, dict(people.statuses)
    told.wrong += [f"ended without being killed: {end}" for end in killing.died]
    await asyncio.to_thread(world.await_ready)
    told.wrong += await checks.check_all(world, told.stories)
    told.repeats = await asyncio.to_thread(checks.repeats, world)
    told.uncertain = await checks.uncertain(world)
    return told
