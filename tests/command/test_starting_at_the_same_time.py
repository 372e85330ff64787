"""Who starts an installation that another one is starting waits for it, and who stops waiting leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lostphone import running, status

pytestmark = pytest.mark.timeout(300)


def _status(data_dir: Path, pid: int) -> status.Status:
    return status.Status(
        data_dir=str(data_dir),
        kafka=status.Kafka(bootstrap="127.0.0.1:1"),
        postgres={},
        http={},
        sandbox={},
        events=status.Events(keys={}),
        log=status.Log(url="", origin="", vkey="", bearer=""),
        processes={"supervisor": status.Process(pid=pid)},
    )


def test_one_that_another_process_is_starting_is_there_once_it_is_ready(tmp_path: Path) -> None:
    killed, ready = _status(tmp_path, 1), _status(tmp_path, os.getpid())
    status.write(tmp_path, killed)
    with running.hold(tmp_path), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(running.await_ready, tmp_path)
        assert running.running(tmp_path) is None, "what a killed one told is not this one's"
        status.write(tmp_path, ready)
        assert waiting.result(60) == ready
    assert running.await_ready(tmp_path) is None


def test_ctrl_c_while_one_is_started_in_the_background_ends_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    # Where the suite itself was started in the background, its children would ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        up = subprocess.Popen(
            [sys.executable, "-m", "lostphone", "up", "--detach", "--data-dir", str(data)], stderr=subprocess.DEVNULL
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        _until(lambda: running.supervisor_pid(data) is not None)
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 130
        _until(lambda: running.supervisor_pid(data) is None)
    finally:
        running.stop(data)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
