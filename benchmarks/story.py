"""From a report that was accepted to the lock that NanoMDM received, against the bare path in the same minutes."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice

from benchmarks.figures import Figure, progress, say, taken_in_turns
from benchmarks.installed import Installed, Phone, beside
from benchmarks.processes import memory, stopped

type Report = Callable[[Phone, int], Awaitable[float]]
type During = Callable[[], AbstractContextManager[None]]

_WARM = 3
"""Reports of each path before any counts."""
_FOLLOWERS = ("notifier", "audit", "witness")
"""The services that no lock waits for."""


async def rates(installed: Installed, per_second: dict[int, int], rounds: int) -> None:
    """`per_second`: reports a second → reports of one round. Ours and the bare path take turns."""
    progress("phones that are to be lost …")
    number = _WARM + rounds * sum(per_second.values())
    paths = Paths(installed, iter(await installed.phones(number)), iter(await installed.enrolled(number)))
    async with beside(installed):
        await paths.warm()
        for rate, of_round in per_second.items():
            progress(f"{rate} reports a second …")
            await paths.take_turns(f"report_to_lock_{rate}", rate, of_round, rounds)


async def alone(installed: Installed, rate: int, of_round: int, rounds: int) -> None:
    """The same with the services that only follow stopped during our turns, which work it off between them: what the
    way itself takes where they have processors of their own. A turn has to end before Kafka gives a stopped consumer up
    (10 seconds)."""
    progress(f"{rate} reports a second, nobody else at work …")
    number = _WARM + rounds * of_round
    paths = Paths(installed, iter(await installed.phones(number)), iter(await installed.enrolled(number)))
    async with beside(installed):
        await paths.warm()
        followers = partial(stopped, installed.status, _FOLLOWERS)
        await paths.take_turns(f"report_to_lock_{rate}_alone", rate, of_round, rounds, followers)


class Paths:
    """Ours and the bare one, each with phones to be reported down it."""

    def __init__(self, installed: Installed, ours: Iterator[Phone], theirs: Iterator[Phone]) -> None:
        self._installed = installed
        self._ours = ours
        self._theirs = theirs

    async def warm(self) -> None:
        """Some reports down each, which do not count."""
        await self._bare(1, _WARM)
        await self._own(1, _WARM)

    async def take_turns(
        self, name: str, rate: int, of_round: int, rounds: int, during: During = contextlib.nullcontext
    ) -> None:
        """Say how they compare. `during`: what holds during our turns."""
        took: list[list[float]] = []
        bare: list[list[float]] = []
        for _ in range(rounds):
            bare.append(await self._bare(rate, of_round))
            with during():
                took.append(await self._own(rate, of_round))
            await self._installed.quiet()
        say(taken_in_turns(name, took, bare, rate=float(rate)))

    async def _own(self, rate: int, number: int) -> list[float]:
        return await _some(self._installed, self._installed.report, rate, list(islice(self._ours, number)))

    async def _bare(self, rate: int, number: int) -> list[float]:
        return await _some(self._installed, self._installed.report_bare, rate, list(islice(self._theirs, number)))


async def _some(installed: Installed, report: Report, rate: int, phones: list[Phone]) -> list[float]:
    """Seconds from accepted to received, of each."""
    accepted: dict[str, float] = {}

    async def one(at: int, phone: Phone) -> None:
        accepted[phone.udid] = await report(phone, at)

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for at, phone in enumerate(phones):
            await asyncio.sleep(max(0.0, began + at / rate - time.monotonic()))
            tasks.create_task(one(at, phone))
    received = await installed.locks(phones, within=300)
    return [received[phone.udid] - accepted[phone.udid] for phone in phones]


async def burst(installed: Installed, number: int) -> None:
    """So many reports as fast as they are taken: until the last lock, and what memory does meanwhile."""
    progress(f"a burst of {number} reports …")
    phones = await installed.phones(number)
    before = memory(installed.status)
    waiting = asyncio.Semaphore(32)

    async def one(at: int, phone: Phone) -> None:
        async with waiting:
            await installed.report(phone, at)

    began = time.time()
    half: dict[str, float] = {}
    async with asyncio.TaskGroup() as tasks:
        for at, phone in enumerate(phones):
            tasks.create_task(one(at, phone))
    accepted = time.time()
    half = memory(installed.status)
    received = await installed.locks(phones, within=3600)
    await installed.quiet(within=3600)
    after = memory(installed.status)
    seconds = max(received.values()) - began
    grown = {name: round(after[name] - before[name], 1) for name in after}
    say(
        Figure(
            f"burst_{number}",
            rate=number / seconds,
            more={
                "seconds_to_the_last_lock": seconds,
                "seconds_to_the_last_accepted": accepted - began,
                "mb_before": before,
                "mb_when_all_were_accepted": half,
                "mb_grown": grown,
            },
        )
    )
