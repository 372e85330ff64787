"""`make bench` and `make bench-audit`: one JSON line per figure on standard output, progress on standard error."""

import asyncio
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import httpx2
import typer

from benchmarks import audit_append, audit_latency, audit_reading, processes, published, startup, story, stream
from benchmarks.figures import Figure, progress, say
from benchmarks.ground import Ground, ground
from benchmarks.installed import Installed, installation
from benchmarks.parts import Parts
from lostphone import running
from lostphone.status import Status
from shared.service import collect_less
from shared.telemetry import configure_logs, configure_traces

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
# As every service does, for what of ours runs in this process.
configure_logs("bench", "ERROR")
configure_traces("bench")
collect_less()
# A run that is told to end still ends what it started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
Quick = Annotated[bool, typer.Option("--quick", help="Less of everything: under two minutes.")]


@app.command()
def product(
    *,
    quick: Quick = False,
    burst: Annotated[int, typer.Option(help="Reports of the burst; 0 leaves it out.")] = 1000,
    only: Annotated[list[str] | None, typer.Option(help="Only these parts; may be given several times.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the installation lives; kept when given.")] = None,
) -> None:
    """The whole product in an installation of its own: latency, rate, burst, start-up, memory and processor."""
    parts = Parts(only)
    parts.run("programs", lambda: startup.programs(2 if quick else 5))
    with installation(data_dir) as (status, seconds):
        say(Figure("start_installation_new", p50_ms=seconds * 1000))
        asyncio.run(_product(status, parts, quick=quick, reports=min(burst, 200) if quick else burst))
        parts.run("restart", lambda: _restart(Path(status.data_dir)))
    raise typer.Exit(parts.failed)


def _restart(data_dir: Path) -> None:
    running.stop(data_dir)
    began = time.monotonic()
    running.start_detached(data_dir, progress)
    say(Figure("start_installation_again", p50_ms=(time.monotonic() - began) * 1000))


async def _product(status: Status, parts: Parts, *, quick: bool, reports: int) -> None:
    limits = httpx2.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx2.AsyncClient(timeout=120, limits=limits) as http:
        installed = Installed(status, http)
        await installed.quiet()
        await parts.go("idle", lambda: processes.idle(status, 5 if quick else 20))
        await parts.go("acknowledged", lambda: stream.acknowledged(installed, 100 if quick else 500))
        await parts.go("events", lambda: stream.events(installed, 5_000 if quick else 20_000, 1 if quick else 3))
        await parts.go("checkpoints", lambda: published.checkpoints(installed, 10 if quick else 30))
        per_second = {1: 5, 20: 60, 100: 100} if quick else {1: 12, 20: 200, 100: 200}
        await parts.go("rates", lambda: story.rates(installed, per_second, 1 if quick else 5))
        at_20 = {20: 40 if quick else 120}
        await parts.go("alone", lambda: story.rates(installed, at_20, 1 if quick else 5, alone=True))
        if reports:
            await parts.go("burst", lambda: story.burst(installed, reports))


@app.command()
def audit(*, quick: Quick = False) -> None:
    """The timeline alone, on a PostgreSQL of its own."""
    parts = Parts()
    with ground() as place:
        asyncio.run(_audit(place, parts, quick=quick))
    raise typer.Exit(parts.failed)


async def _audit(place: Ground, parts: Parts, *, quick: bool) -> None:
    # Before what writes gigabytes: the disk works them off for minutes, and whoever waits for it meanwhile is held up.
    await parts.go("steady", lambda: audit_latency.steady(place, 2000, 2.0, 2 if quick else 12))
    for size in (1000, 2000):
        await parts.go(f"append_{size}", partial(audit_append.batches, place, size, 2 if quick else 8))
    await parts.go("singles", lambda: audit_append.singles(place, 300 if quick else 1000))
    await parts.go("verification", lambda: audit_reading.verification(place, 10_000 if quick else 50_000))
    await parts.go("million", lambda: audit_reading.million(place, 1_000_000, 300 if quick else 2000))


if __name__ == "__main__":
    app()
