"""Events that arrive one by one at a steady rate: until each is durable, against a plain writer loop."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count

from benchmarks.audit_append import Bare, followed, open_writer
from benchmarks.figures import progress, say, taken_in_turns
from benchmarks.ground import Ground
from benchmarks.records import Records
from shared.events import Reading, read

_MOST = 2000
_WARM_SECONDS = 1.0
"""Plans, caches and the subjects' first events are those of a writer that has just started."""

type Write = Callable[[Sequence[Reading]], Awaitable[None]]


async def steady(ground: Ground, rate: int, seconds: float, turns: int) -> None:
    """Both writers take whatever is waiting, in turns of so many seconds each."""
    progress(f"{rate} events a second, one by one …")
    writer = await open_writer(ground, "steady", Records())
    bare = await Bare.open(ground, "steady")
    await writer.append(writer.read(writer.records.take(100)))
    numbered = count(1)
    others = Records()
    keys = others.keyring()

    async def plain(readings: Sequence[Reading]) -> None:
        rows = [_row(next(numbered), reading) for reading in readings]
        await bare.copy("keyed", rows)

    async def take_turns(seconds: float) -> tuple[list[float], list[float]]:
        number = int(rate * seconds)
        async with followed(writer.units.pool):
            ours = await _drive(writer.read(writer.records.take(number)), writer.append, rate)
        return ours, await _drive([read(record, keys) for record in others.take(number)], plain, rate)

    await take_turns(_WARM_SECONDS)
    ours, theirs = zip(*[await take_turns(seconds) for _ in range(turns)], strict=True)
    await writer.close()
    await bare.connection.close()
    say(taken_in_turns(f"audit_durable_at_{rate}", ours, theirs, rate=float(rate)))


async def _drive(readings: Sequence[Reading], write: Write, rate: int) -> list[float]:
    # The events of the whole run lie here beforehand, as no writer has them: a full collection would go through them.
    gc.collect()
    gc.freeze()
    waiting: list[tuple[float, Reading]] = []
    came = asyncio.Event()
    took: list[float] = []

    async def take() -> None:
        while len(took) < len(readings):
            await came.wait()
            came.clear()
            while waiting:
                batch = waiting[:_MOST]
                del waiting[:_MOST]
                await write([reading for _, reading in batch])
                now = time.perf_counter()
                took.extend(now - arrived for arrived, _ in batch)

    taking = asyncio.create_task(take())
    began = time.perf_counter()
    for at, reading in enumerate(readings):
        due = began + at / rate
        pause = due - time.perf_counter()
        if pause > 0.001 or at % 20 == 0:
            await asyncio.sleep(max(0.0, pause))
        # It counts from when it was due: a writer that keeps the loop busy must not look faster for it.
        waiting.append((due, reading))
        came.set()
    await taking
    return took


def _row(seq: int, reading: Reading) -> tuple[object, ...]:
    """The record as it came, with the same keys: a plain writer builds no leaf and no tree."""
    received = reading.received
    key, value = (received.key or b"").decode(), received.value or b""
    return (
        10**12 + seq, "event", value[:32], value, None, received.partition, received.offset, key, seq,
        "bench-kk", "bench", "bench", "bench", seq, seq,
    )  # fmt: skip
