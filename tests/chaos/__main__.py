"""`make chaos`: the long runs. Prints progress to standard error and one JSON document, exits 0 when nothing is wrong."""

import asyncio
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from tests.chaos.campaign import night
from tests.chaos.world import world

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def chaos(
    *,
    kills: Annotated[int, typer.Option(help="How many processes are killed.")] = 300,
    seed: Annotated[int | None, typer.Option(help="Decides what is killed when; chosen and told when absent.")] = None,
    stories: Annotated[int, typer.Option(help="Lost phones; 0: one for every five kills.")] = 0,
    pause: Annotated[float, typer.Option(help="Seconds between two kills, on average.")] = 1.5,
    within: Annotated[float, typer.Option(help="Seconds that one story may take.")] = 900,
    data_dir: Annotated[Path | None, typer.Option(help="Where the installation lives; kept when given.")] = None,
) -> None:
    """Kill -9 at random points of many stories, and check what must be true afterwards."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    _say(f"seed {seed}: {kills} kills; again with SEED={seed}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lostphone-chaos-") as place:
        found = _run(data_dir or Path(place) / "data", seed, kills, stories or max(8, kills // 5), pause, within)
    found["seconds"]["in all"] = round(time.monotonic() - began, 1)
    sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
    raise typer.Exit(1 if found["wrong"] else 0)


def _run(data_dir: Path, seed: int, kills: int, stories: int, pause: float, within: float) -> dict[str, Any]:
    with world(data_dir) as running:
        _say("everything runs")
        told = asyncio.run(night(running, seed, kills=kills, stories=stories, mean_pause=pause, within=within))
    return told.summary()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    app()
