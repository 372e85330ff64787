"""`make chaos`: the long runs. Progress goes to standard error, one JSON document to standard output; exits 0 when
nothing is wrong."""

import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from shared.telemetry import configure_logs
from tests.chaos.campaign import night
from tests.chaos.cluster import one_of_three_killed
from tests.chaos.outages import OUTAGES, go_through
from tests.chaos.replay import check_rebuilt, check_replay
from tests.chaos.world import KILLABLE, World, world

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
configure_logs("chaos")  # to standard error: the result stands alone on standard output


@dataclass(frozen=True)
class Plan:
    """What is to be done."""

    seed: int
    kills: int
    stories: int
    pause: float
    within: float
    outage_seconds: float
    targets: list[str]


@app.command()
def chaos(
    *,
    kills: Annotated[int, typer.Option(help="How many processes are killed.")] = 300,
    seed: Annotated[int | None, typer.Option(help="Decides what is killed when; chosen and told when absent.")] = None,
    stories: Annotated[int, typer.Option(help="Lost phones; 0: one for every five kills.")] = 0,
    pause: Annotated[float, typer.Option(help="Seconds between two kills, on average.")] = 1.5,
    within: Annotated[float, typer.Option(help="Seconds that the stories have after the last kill.")] = 900,
    outage_seconds: Annotated[float, typer.Option(help="How long each outage lasts; 0 leaves them out.")] = 20,
    targets: Annotated[str, typer.Option(help="What is killed, with commas between.")] = ",".join(KILLABLE),
    data_dir: Annotated[Path | None, typer.Option(help="Where the installation lives; kept when given.")] = None,
) -> None:
    """Kill -9 at random points of many stories; replay the log; break networks; kill one broker of three."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    chosen = targets.split(",")
    if unknown := set(chosen) - set(KILLABLE):
        raise typer.BadParameter(f"unknown targets: {', '.join(sorted(unknown))}; there are {', '.join(KILLABLE)}")
    plan = Plan(seed, kills, stories or max(8, kills // 5), pause, within, outage_seconds, chosen)
    _say(f"seed {seed}: {kills} kills; again with SEED={seed}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lostphone-chaos-") as place:
        with world(data_dir or Path(place) / "data") as running:
            _say("everything runs")
            found = asyncio.run(_go(running, plan))
        if outage_seconds:
            _say("three brokers, one killed under load")
            found["three_brokers"] = asyncio.run(one_of_three_killed(Path(place) / "cluster", seconds=outage_seconds))
    wrong = [what for part in found.values() for what in part["wrong"]]
    summary = {"wrong": len(wrong), "seconds": round(time.monotonic() - began, 1), **found}
    sys.stdout.write(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode() + "\n")
    raise typer.Exit(1 if wrong else 0)


async def _go(running: World, plan: Plan) -> dict[str, Any]:
    told = await night(
        running,
        plan.seed,
        kills=plan.kills,
        stories=plan.stories,
        mean_pause=plan.pause,
        within=plan.within,
        targets=plan.targets,
        say=_say,
    )
    found: dict[str, Any] = {"kills": told.summary()}
    _say(orjson.dumps(found["kills"]).decode())
    _say("offsets set back, the log replayed, a batch sent twice")
    found["replay"] = {"wrong": await _said(check_replay(running, plan.within))}
    _say("the timeline built again")
    found["rebuilt"] = {"wrong": await _said(check_rebuilt(running))}
    if plan.outage_seconds:
        _say("outages")
        seen = await go_through(
            running, plan.seed + 1, OUTAGES, seconds=plan.outage_seconds, within=plan.within, long=True
        )
        found["outages"] = {
            "seen": [asdict(one) for one in seen],
            "wrong": [what for one in seen for what in one.wrong],
        }
    return found


async def _said(check: Awaitable[list[str]]) -> list[str]:
    """What a check found; one that could not be made is wrong as well, and does not hide the others."""
    try:
        return await check
    except Exception as error:  # noqa: BLE001
        return [f"{type(error).__name__}: {error} {getattr(error, '__notes__', '')}"]


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


if __name__ == "__main__":
    app()
