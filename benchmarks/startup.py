"""How long it takes until something is there: the installation, a service's code, the command line."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.figures import Figure, progress, say

_COMMANDS = {
    "start_python": ["-c", "pass"],
    "start_command": ["-m", "lostphone", "--help"],
    "start_verify": ["-m", "lostphone", "verify", "--help"],
    **{
        f"start_{name}": ["-c", f"import services.{name}.__main__"]
        for name in ("reporter", "mdm_actions", "notifier", "audit")
    },
}


def programs(runs: int) -> None:
    """Each in turn, so many times; the code alone, before anything is connected."""
    progress("starting programs …")
    took: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(runs):
        for name, arguments in _COMMANDS.items():
            took[name].append(_run(arguments))
    for name, seconds in took.items():
        say(Figure(name, p50_ms=statistics.median(seconds) * 1000, more={"runs": runs}))


def _run(arguments: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began
