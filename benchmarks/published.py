"""From a record's arrival in the log to a checkpoint that covers it, signed and witnessed as the installation does."""

import asyncio
import json
import time

import asyncpg

from benchmarks.figures import latency, progress, say
from benchmarks.installed import Installed

_ENTRIES = "SELECT seq, leaf FROM audit.entry WHERE seq >= $1 AND kind = 'event' ORDER BY seq"


async def checkpoints(installed: Installed, reports: int) -> None:
    """Some reports, one every 200 ms; each of their entries counts from Kafka's own timestamp."""
    progress("until a checkpoint is out …")
    phones = await installed.phones(reports)
    connection = await asyncpg.connect(installed.superuser())
    first = await connection.fetchval("SELECT size FROM audit.log_state")
    seen: list[tuple[int, float]] = []

    async def watch() -> None:
        while True:
            size = await connection.fetchval("SELECT max(size) FROM audit.checkpoint")
            if size is not None and (not seen or size > seen[-1][0]):
                seen.append((size, time.time()))
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    for at, phone in enumerate(phones):
        await installed.report(phone, at)
        await asyncio.sleep(0.2)
    await installed.quiet()
    await asyncio.sleep(4)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await connection.close()
    took = []
    for row in await installed.query("lostphone", _ENTRIES, first):
        arrived = json.loads(row["leaf"].partition(b"\n")[0])["ts"] / 1000
        covered = next((at for size, at in seen if size > row["seq"]), None)
        if covered is not None:
            took.append(covered - arrived)
    say(latency("arrival_to_witnessed_checkpoint", took, aim_p99_ms=3000))
