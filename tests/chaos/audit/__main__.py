"""`make chaos-audit`. Progress goes to standard error, one JSON document to standard output; exits 0 when nothing is
wrong."""

import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import orjson
import typer

from lostphone.topics import apply, manifest
from tests.chaos.audit.campaign import night
from tests.stack.run import Run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def chaos(
    *,
    kills: Annotated[int, typer.Option(help="How many processes are killed.")] = 300,
    seed: Annotated[int | None, typer.Option(help="Decides what is killed when; chosen and told when absent.")] = None,
    pause: Annotated[float, typer.Option(help="Seconds between two kills, on average.")] = 1.0,
) -> None:
    """Kill -9 writer, publisher, feeder, indexer, HTTP and PostgreSQL at random moments, under load."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    _say(f"seed {seed}: {kills} kills; again with SEED={seed}")
    started = Run.begin()
    try:
        bootstrap = started.kafka()
        apply({"bootstrap.servers": bootstrap}, manifest())
        with tempfile.TemporaryDirectory(prefix="lostphone-chaos-audit-") as place:
            Path(place).chmod(0o755)
            told = asyncio.run(night(Path(place), bootstrap, seed, kills=kills, mean_pause=pause, say=_progress(kills)))
    finally:
        started.end()
    sys.stdout.write(orjson.dumps(told.document(), option=orjson.OPT_INDENT_2).decode() + "\n")
    raise typer.Exit(1 if told.wrong else 0)


def _progress(kills: int) -> Callable[[int], None]:
    said = 0

    def say(done: int) -> None:
        nonlocal said
        if done >= said + max(1, kills // 10):
            said = done
            _say(f"{done} of {kills}")

    return say


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


if __name__ == "__main__":
    app()
