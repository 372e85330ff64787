"""A restore that was killed leaves nothing that could start, and is done by running it again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import asyncpg
import pytest

from lostphone import unfinished_restore
from tests.ops.running import ROOT, Place

pytestmark = pytest.mark.timeout(600)


def test_it_is_run_again_and_what_it_left_does_not_start(tmp_path: Path) -> None:
    old, new = Place(tmp_path / "old"), Place(tmp_path / "new")
    file, keys, without_log = (tmp_path / name for name in ("backup", "keys", "without-log"))
    restore = ("ops", "restore", str(file), "--keys", str(keys))
    old.done("up", "--detach")
    try:
        incident = old.report()
        old.done("ops", "backup", str(file), "--keys", str(keys))
        assert old.lostphone("ops", "restore", str(file), "--replace").returncode == 1, "not while it runs"
    finally:
        old.done("down")

    _kill_in_the_middle(new, *restore)
    refused = new.lostphone("up", "--detach")
    assert refused.returncode == 2
    assert "lostphone ops restore" in refused.stderr
    assert new.done(*restore)["log"] == "written"
    _mark(new)
    assert new.done(*restore)["log"] == "written", "over what is there, for it is the same"
    new.done("up", "--detach")
    try:
        new.report()
        assert incident in asyncio.run(_incidents(new))
        assert new.done("verify")["outcome"] == "proved"
        new.done("ops", "backup", str(without_log), "--without-log")
    finally:
        new.done("down")
    _mark(new)
    refused = new.lostphone(*restore)
    assert refused.returncode == 1
    assert "is not of this backup" in refused.stderr, "the log went on"
    _mark(new, writes_log=False)
    assert new.done("ops", "restore", str(without_log))["log"] == "same"


def _mark(place: Place, *, writes_log: bool = True) -> None:
    """As when one is killed after the last record of the log, or before the end of what follows."""
    (place.data_dir / unfinished_restore.FILE).write_text(json.dumps({"writes_log": writes_log}))


def _kill_in_the_middle(place: Place, *arguments: str) -> None:
    """Once something was changed."""
    command = [sys.executable, "-m", "lostphone", *arguments, "--data-dir", str(place.data_dir)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as restoring:
        pause = threading.Event()
        while not unfinished_restore.is_marked(place.data_dir):
            assert restoring.poll() is None, "it goes on until it is killed"
            pause.wait(0.02)
        os.kill(restoring.pid, signal.SIGKILL)


async def _incidents(place: Place) -> set[str]:
    connection = await asyncpg.connect(place.superuser_dsn)
    try:
        return {row["incident"] for row in await connection.fetch("SELECT incident FROM reporter.incident")}
    finally:
        await connection.close()
