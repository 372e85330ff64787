"""Memory and processor time of each process of an installation."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Collection, Iterator
from pathlib import Path

from benchmarks.figures import Figure, progress, say
from lostphone.status import Status

_TICKS = os.sysconf("SC_CLK_TCK")


def _all(status: Status) -> dict[str, list[int]]:
    """Each process of the installation with those that it started."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    roots = {name: process.pid for name, process in status.processes.items() if process.pid}
    found: dict[str, list[int]] = {name: [pid] for name, pid in roots.items()}
    own = set(roots.values())
    for name, pids in found.items():
        for pid in pids:
            pids.extend(child for child, parent in parents.items() if parent == pid and child not in own)
        del name
    return found


def memory(status: Status) -> dict[str, float]:
    """Megabytes of each process and its children, pages that they share counted once (PSS)."""
    return {name: round(sum(_pss(pid) for pid in pids) / 1024, 1) for name, pids in _all(status).items()}


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def processor(status: Status) -> dict[str, float]:
    """Seconds of processor time that each process and its children have used."""
    return {name: sum(_ticks(pid) for pid in pids) / _TICKS for name, pids in _all(status).items()}


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))


@contextlib.contextmanager
def stopped(status: Status, names: Collection[str]) -> Iterator[None]:
    """Meanwhile these and their children do nothing, and keep all that they have (SIGSTOP). Raises `KeyError` for a
    name that no process has."""
    running = _all(status) if names else {}
    pids = [pid for name in names for pid in running[name]]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            # One that ended meanwhile keeps none of the others stopped.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def idle(status: Status, seconds: float) -> None:
    """What each process takes while nothing happens."""
    progress(f"{seconds:.0f} seconds of nothing …")
    before = processor(status)
    await asyncio.sleep(seconds)
    after = processor(status)
    held = memory(status)
    for name in sorted(held):
        percent = (after[name] - before.get(name, 0.0)) / seconds * 100
        say(Figure(f"process_{name}", more={"idle_cpu_percent": percent, "mb": held[name]}))
