"""A process that an earlier run started is found, ended and replaced; a stranger with its number is left alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lostphone.embedded import Child, EmbeddedError
from lostphone.embedded.child import began

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def says_up(child: Child) -> bool:
    return b"up" in child.log_file.read_bytes()


def test_another_object_finds_and_stops_what_the_first_one_started(tmp_path: Path) -> None:
    first = Child(tmp_path, "sleeper")
    pid = first.start(SLEEP)
    later = Child(tmp_path, "sleeper")
    assert later.pid == pid
    assert later.stop() == "stopped"
    assert later.pid is None
    assert first.exit_code == -signal.SIGTERM
    assert later.stop() == "absent"


def test_what_still_runs_is_ended_by_the_next_start(tmp_path: Path) -> None:
    before = Child(tmp_path, "sleeper").start(SLEEP)
    child = Child(tmp_path, "sleeper")
    assert child.start(SLEEP) != before
    assert began(before) is None
    child.kill()


def test_what_does_not_listen_is_killed(tmp_path: Path) -> None:
    child = Child(tmp_path, "deaf")
    child.start(DEAF)
    child.wait_until(lambda: says_up(child), within=20)
    assert child.stop(within=0.2) == "killed"
    assert child.pid is None


def test_a_stranger_with_the_number_of_a_dead_child_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
    child = Child(tmp_path, "sleeper")
    child.pid_file.write_text(f"{stranger.pid} 1\n")
    assert child.pid is None
    assert child.stop() == "absent"
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_torn_file_counts_as_no_process(tmp_path: Path) -> None:
    child = Child(tmp_path, "sleeper")
    for torn in ("", "12", "not a number 5", "a b"):
        child.pid_file.write_text(torn)
        assert child.pid is None


def test_a_child_that_ends_while_starting_says_why(tmp_path: Path) -> None:
    child = Child(tmp_path, "broken")
    child.start([sys.executable, "-c", "import sys; sys.exit('the disk is full')"])
    with pytest.raises(EmbeddedError, match=r"broken ended while starting \(exit 1\): the disk is full"):
        child.wait_until(lambda: False, within=20)


def test_a_child_that_never_answers_says_where_its_log_is(tmp_path: Path) -> None:
    child = Child(tmp_path, "silent")
    child.start(SLEEP)
    with pytest.raises(EmbeddedError, match=r"silent did not answer within 0 seconds; see .*silent\.log"):
        child.wait_until(lambda: False, within=0.05)
    child.kill()


def test_the_whole_group_goes_when_its_first_process_is_killed(tmp_path: Path) -> None:
    child = Child(tmp_path, "parent")
    child.start(["/bin/sh", "-c", "sleep 600 & echo $! up; wait"])
    child.wait_until(lambda: says_up(child), within=20)
    grandchild = int(child.log_file.read_text().split()[0])
    child.kill()
    waiter = Child(tmp_path, "nobody")
    waiter.start(SLEEP)
    waiter.wait_until(lambda: began(grandchild) is None, within=20)
    waiter.kill()
    assert os.getpid() != grandchild
