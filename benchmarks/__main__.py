"""`make bench` and `make bench-audit`: one JSON line per figure on standard output, progress on standard error."""

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import httpx2
import typer

from benchmarks import audit_append, audit_latency, audit_reading, processes, published, startup, story, stream
from benchmarks.figures import Figure, progress, say
from benchmarks.ground import Ground, ground
from benchmarks.installed import Installed, beside, installation
from lostphone import running
from lostphone.status import Status
from shared.telemetry import configure_logs

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
configure_logs("bench", "ERROR")
# A run that is told to end still ends what it started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
Quick = Annotated[bool, typer.Option("--quick", help="Less of everything: under two minutes.")]


@app.command()
def product(
    *,
    quick: Quick = False,
    burst: Annotated[int | None, typer.Option(help="Reports of the burst; 0 leaves it out.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the installation lives; kept when given.")] = None,
) -> None:
    """The whole product in an installation of its own: latency, rate, burst, start-up, memory and processor."""
    startup.programs(2 if quick else 5)
    with installation(data_dir) as (status, seconds):
        say(Figure("start_installation_new", p50_ms=seconds * 1000))
        asyncio.run(_product(status, quick=quick, reports=(200 if quick else 10_000) if burst is None else burst))
        progress("down and up again …")
        running.stop(Path(status.data_dir))
        began = time.monotonic()
        running.start_detached(Path(status.data_dir), progress)
        say(Figure("start_installation_again", p50_ms=(time.monotonic() - began) * 1000))


async def _product(status: Status, *, quick: bool, reports: int) -> None:
    limits = httpx2.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx2.AsyncClient(timeout=120, limits=limits) as http:
        installed = Installed(status, http)
        await installed.quiet()
        await processes.idle(status, 5 if quick else 20)
        await stream.prepare(installed)
        await stream.acknowledged(installed, 100 if quick else 500)
        await stream.events(installed, 5_000 if quick else 20_000, 1 if quick else 3)
        await published.checkpoints(installed, 10 if quick else 50)
        async with beside(installed):
            per_second = {1: 5, 20: 60, 100: 100} if quick else {1: 20, 20: 200, 100: 500}
            await story.rates(installed, per_second, 1 if quick else 3)
        if reports:
            await story.burst(installed, reports)


@app.command()
def audit(*, quick: Quick = False) -> None:
    """The timeline alone, on a PostgreSQL of its own."""
    with ground() as place:
        asyncio.run(_audit(place, quick=quick))


async def _audit(place: Ground, *, quick: bool) -> None:
    for size in (1000, 2000):
        await audit_append.batches(place, size, 10 if quick else 30)
    await audit_append.singles(place, 300 if quick else 1000)
    await audit_latency.steady(place, 2000, 2 if quick else 5, 2 if quick else 4)
    await audit_reading.verification(place, 10_000 if quick else 50_000)
    await audit_reading.million(place, 1_000_000, 300 if quick else 2000)


if __name__ == "__main__":
    app()
