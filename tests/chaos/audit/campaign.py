"""Load, an outside reader, and so many kills among them; then what must be true."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from services.audit.tlog import Checkpoint, SignedNote
from shared.messaging.kafka import KafkaConnection, Producer
from tests.chaos.audit import checks, parts
from tests.chaos.audit.ground import Ground, ground, newest
from tests.chaos.audit.load import Load
from tests.chaos.people import until_true

_WEIGHTS = {"writer": 5, "publisher": 4, "feeder": 4, "postgres": 3, "indexer": 1, "http": 1}
_ALL_AT_ONCE = 0.05
"""As when the power goes: everything dies together."""
_LOOK_SECONDS = 0.1
_QUIET_WITHIN = 400.0


@dataclass
class Told:
    """What happened, and what is wrong."""

    seed: int
    kills: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    records: int = 0
    entries: int = 0
    checkpoints_seen: int = 0
    takeovers: int = 0
    """How often another writer went on than the one before."""
    wrong: list[str] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        return asdict(self)


async def night(
    folder: Path,
    bootstrap: str,
    seed: int,
    *,
    kills: int,
    mean_pause: float,
    load_pause: float = 0.1,
    say: Callable[[int], None] = lambda _: None,
) -> Told:
    """Play it. The same seed kills the same parts after the same pauses. `say` is told how many kills are done."""
    before = await asyncio.to_thread(checks.starts, bootstrap)
    chance = random.Random(f"audit {seed}")
    async with ground(folder, bootstrap) as place:
        producer = Producer(KafkaConnection(bootstrap), f"{place.topic}-load")
        load = Load(producer, place.writers, random.Random(f"load {seed}"), load_pause)
        stop = asyncio.Event()
        seen: set[bytes] = set()
        watching = asyncio.create_task(_watch(place, seen))
        loading = asyncio.create_task(load.run(stop))
        told = Told(seed)
        try:
            began = time.monotonic()
            told.kills = dict(await _kill(place, chance, kills, mean_pause, say))
            told.seconds = round(time.monotonic() - began, 1)
            stop.set()
            await loading
            told.wrong += await _settled(place)
        finally:
            for task in (watching, loading):
                task.cancel()
            await asyncio.gather(watching, loading, return_exceptions=True)
            await producer.close()
        notes = sorted(seen | set(place.witness.cosigned))
        told.records, told.checkpoints_seen = len(load.sent), len(notes)
        told.entries = max((Checkpoint.parse(SignedNote.parse(note).text).size for note in notes), default=0)
        told.takeovers = await checks.takeovers(place)
        told.wrong += place.died + await checks.check(place, load, notes, before)
        return told


async def _kill(
    place: Ground, chance: random.Random, kills: int, mean_pause: float, say: Callable[[int], None]
) -> Counter[str]:
    done: Counter[str] = Counter()
    while done.total() < kills:
        await asyncio.sleep(chance.expovariate(1 / mean_pause))
        names = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
        if chance.random() < _ALL_AT_ONCE:
            names = [*parts.NAMES, "postgres"]
        stays_down = chance.choice((0.0, 0.0, 0.1, 0.5))
        for name in names:
            await place.kill(name)
        done.update(names)
        await asyncio.sleep(stays_down)
        for name in reversed(names):
            await place.start(name)
        say(done.total())
    return done


async def _watch(place: Ground, seen: set[bytes]) -> None:
    """An outside reader who keeps every checkpoint that it is served."""
    while True:
        if (note := await newest(place)) is not None:
            seen.add(bytes(note))
        await asyncio.sleep(_LOOK_SECONDS)


async def _settled(place: Ground) -> list[str]:
    """Wait for the end: one more index, and then nobody writes any more."""
    await place.kill("indexer")
    waiting: str | None = None

    async def quiet() -> bool:
        nonlocal waiting
        waiting = await checks.still_moving(place)
        return waiting is None

    try:
        await until_true(quiet, "quiet", time.monotonic() + _QUIET_WITHIN, pause=0.2)
    except Exception as error:  # noqa: BLE001 - the checks say more
        for name in place.processes:
            place.look_at(name)
        return [f"never quiet ({type(error).__name__}): {waiting}"]
    return []
