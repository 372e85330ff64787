"""A test run that was killed cannot stop what it started: the next run does."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from lostphone.embedded import Child
from lostphone.embedded.child import began
from tests.stack.run import Run

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_the_next_run_ends_the_processes_of_one_that_was_killed(tmp_path: Path) -> None:
    broken = Run.begin()
    pid = Child(broken.folder / "kafka", "kafka").start(SLEEP)
    (broken.folder / "owner").write_text(f"{os.getpid()} 1")  # the number belongs to somebody else by now

    fresh = Run.begin()
    assert began(pid) is None
    assert not broken.folder.exists()
    fresh.end()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_still_going_on_is_left_alone() -> None:
    going_on = Run.begin()
    pid = Child(going_on.folder / "kafka", "kafka").start(SLEEP)
    Run.begin().end()
    assert began(pid) is not None
    going_on.end()
    assert began(pid) is None


def test_work_is_done_once_for_all_workers_of_a_run() -> None:
    run = Run.begin()
    done: list[int] = []
    for _ in range(3):
        assert Run(run.folder).once("work", lambda: done.append(1) or len(done)) == 1
    run.end()
