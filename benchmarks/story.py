"""From a report that was accepted to the lock that NanoMDM received, against the bare path in the same minutes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import islice

from benchmarks.figures import Figure, progress, say, taken_in_turns
from benchmarks.installed import Installed, Phone, beside
from benchmarks.processes import memory, stopped

type Report = Callable[[Phone, int], Awaitable[float]]

_WARM = 3
"""Reports of each path before any counts."""
_FOLLOWERS = ("notifier", "audit", "witness")
"""The services that no lock waits for."""


async def rates(installed: Installed, per_second: dict[int, int], rounds: int, *, alone: bool = False) -> None:
    """`per_second`: reports a second → reports of one round. Ours and the bare path take turns.

    `alone`: the services that only follow are stopped during our turns and work it off between them, so that it shows
    what the way itself takes where they have processors of their own. Then a turn has to end before Kafka gives a
    stopped consumer up (10 seconds).
    """
    progress("phones that are to be lost …")
    number = _WARM + rounds * sum(per_second.values())
    ours, theirs = iter(await installed.phones(number)), iter(await installed.enrolled(number))
    async with beside(installed):
        await _some(installed, installed.report_bare, 1, list(islice(theirs, _WARM)))
        await _some(installed, installed.report, 1, list(islice(ours, _WARM)))
        for rate, of_round in per_second.items():
            progress(f"{rate} reports a second …")
            took: list[list[float]] = []
            bare: list[list[float]] = []
            for _ in range(rounds):
                bare.append(await _some(installed, installed.report_bare, rate, list(islice(theirs, of_round))))
                with stopped(installed.status, _FOLLOWERS if alone else ()):
                    took.append(await _some(installed, installed.report, rate, list(islice(ours, of_round))))
                await installed.quiet()
            name = f"report_to_lock_{rate}" + ("_alone" if alone else "")
            say(taken_in_turns(name, took, bare, rate=float(rate)))


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
