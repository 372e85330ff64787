"""The parts of one audit service, each in a process of its own that can be killed at any moment."""

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

from services.audit.app import build
from services.audit.clerk import Clerk
from services.audit.domain.leaf import LeafBuilder
from services.audit.settings import Settings
from services.audit.timeline import Timeline
from shared.messaging.consumer import Consumer
from shared.messaging.dead_letter import DeadLetters
from shared.messaging.kafka import Producer
from shared.messaging.outage import is_outage
from shared.service import Kit, Parts, open_kit, server_of
from shared.telemetry import configure

NAMES: Final = ("writer", "publisher", "feeder", "indexer", "http")
_INDEX_SECONDS = 0.7
_PAUSE_SECONDS = 0.2
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])

type Process = multiprocessing.process.BaseProcess


def start(part: str, told: Mapping[str, Any], topic: str, said: Path) -> Process:
    """A new process of this part. It ends only by being killed; what it prints goes to `said`."""
    process = _FORKS.Process(target=_play, args=(part, dict(told), topic, said), name=part, daemon=True)
    process.start()
    return process


def _play(part: str, told: Mapping[str, Any], topic: str, said: Path) -> None:
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(out, stream)
    configure("audit", log_level="WARNING")
    asyncio.run(_run(part, Settings(**told), topic))


async def _run(part: str, settings: Settings, topic: str) -> None:
    async with open_kit("audit", settings, notify=True) as kit:
        parts = await build(kit)
        publish, feed, _ = parts.background
        work: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "writer": lambda: _write(kit, parts, topic),
            "publisher": publish,
            "feeder": feed,
            "indexer": lambda: _index(kit, parts),
            "http": lambda: server_of(parts.app, settings)._serve(),
        }
        await work[part]()


async def _write(kit: Kit[Settings], parts: Parts, topic: str) -> None:
    connection = kit.settings.kafka()
    consumer = Consumer(
        "audit",
        connection,
        kit.units,
        kit.keyring,
        parts.sink,
        dead_letters=DeadLetters("audit", Producer(connection, f"{topic}-dead-letters")),
        health=kit.health,
        topic=topic,
        # Of its own each time: Kafka would make the next one wait until it believes the last one dead, and the kills
        # would find a writer that waits. The positions in the database are the truth.
        group=f"{topic}-{os.getpid()}",
    )
    await consumer.start()
    await asyncio.Event().wait()


async def _index(kit: Kit[Settings], parts: Parts) -> None:
    """What `Hourly` does once an hour, all the time: a second writer of the same log."""
    assert isinstance(parts.sink, Timeline)
    clerk = Clerk(kit.units, parts.sink, LeafBuilder(kit.settings.blinding_key()))
    while True:
        try:
            await clerk.index()
            await asyncio.sleep(_INDEX_SECONDS)
        except Exception as error:
            if not is_outage(error):
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
