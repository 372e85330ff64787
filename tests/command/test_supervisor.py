"""What is started is kept alive, and ended in order."""

import errno
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from lostphone import process, running
from lostphone.embedded import EmbeddedError
from lostphone.process import Part, Program
from lostphone.supervisor import Stage, Supervisor

SERVE = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def quiet(_ja: str, _en: str) -> None:
    """Says nothing."""


def until(condition: Callable[[], bool], within: float = 15) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def server(name: str, folder: Path, port: int) -> Program:
    return Program(name, folder, [sys.executable, "-c", SERVE, str(port)], dict, [f"http://127.0.0.1:{port}/"])


class Stages:
    """A stack of given stages that remembers what it announced."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self.announced: list[dict[str, int | None]] = []

    def stages(self) -> Sequence[Stage]:
        return self._stages

    def announce(self, parts: Iterable[Part]) -> None:
        self.announced.append({part.name: part.child.pid for part in parts})


def test_a_process_that_dies_is_started_again_and_its_new_id_announced(tmp_path: Path, unused_port: int) -> None:
    stack = Stages([Stage([server("one", tmp_path, unused_port)])])
    with Supervisor(stack, quiet, threading.Event()):
        first = stack.announced[-1]["one"]
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: stack.announced[-1]["one"] not in (None, first))
        second = stack.announced[-1]["one"]
    assert {"one": None} in stack.announced
    assert second is not None
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_processes_are_started_again_while_a_full_disk_lets_nobody_hear_of_it(tmp_path: Path, unused_port: int) -> None:
    class FullDisk(Stages):
        full = False
        refused = 0

        def announce(self, parts: Iterable[Part]) -> None:
            if self.full:
                self.refused += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().announce(parts)

    part = server("one", tmp_path, unused_port)
    stack = FullDisk([Stage([part])])
    with Supervisor(stack, quiet, threading.Event()):
        first = part.child.pid
        assert first is not None
        stack.full = True
        os.kill(first, signal.SIGKILL)
        until(lambda: part.child.pid not in (None, first))
        second = part.child.pid
        assert second is not None
        assert stack.refused
        stack.full = False
        os.kill(second, signal.SIGKILL)
        until(lambda: stack.announced[-1]["one"] not in (None, first, second))


def _of_its_session(pid: int) -> int | None:
    """How far the session of the process lets others go first; None on a system that does not share by sessions."""
    try:
        return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])
    except FileNotFoundError:
        return None


def test_a_process_that_yields_does_so_after_it_was_started_again_too(tmp_path: Path, unused_port: int) -> None:
    port, own = unused_port, os.getpriority(os.PRIO_PROCESS, 0)
    yielding = Program("mild", tmp_path, [sys.executable, "-c", SERVE, str(port)], dict, [], nice=3)
    stack = Stages([Stage([yielding])])
    with Supervisor(stack, quiet, threading.Event()):
        first = stack.announced[-1]["mild"]
        assert first is not None
        assert os.getpriority(os.PRIO_PROCESS, first) == own + 3
        assert _of_its_session(first) in (None, own + 3)
        os.kill(first, signal.SIGKILL)
        until(lambda: stack.announced[-1]["mild"] not in (None, first))
        assert os.getpriority(os.PRIO_PROCESS, stack.announced[-1]["mild"] or 0) == own + 3


def test_the_pause_before_a_restart_grows_while_it_keeps_dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lostphone.supervisor.FIRST_PAUSE", 0.1)
    begun = tmp_path / "begun"
    script = f"import time; open({str(begun)!r}, 'a').write(f'{{time.monotonic()}}\\n')"
    stack = Stages([Stage([Program("brief", tmp_path, [sys.executable, "-c", script], dict, [])])])
    with Supervisor(stack, quiet, threading.Event()):
        until(lambda: begun.exists() and len(begun.read_text().splitlines()) >= 5)
    moments = [float(line) for line in begun.read_text().splitlines()]
    pauses = [after - before for before, after in itertools.pairwise(moments)]
    assert pauses[3] > 2 * pauses[0]


def test_when_one_does_not_come_up_all_that_had_started_is_ended(
    tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = server("good", tmp_path, unused_port)
    bad = Program(
        "bad", tmp_path, [sys.executable, "-c", "raise SystemExit('no licence')"], dict, ["http://127.0.0.1:9/"]
    )
    supervisor = Supervisor(Stages([Stage([good]), Stage([bad])]), quiet, threading.Event())
    with pytest.raises(EmbeddedError, match="bad ended while starting: no licence"):
        supervisor.__enter__()
    assert good.child.pid is None


def test_a_start_that_is_asked_to_stop_ends_what_it_had_started(tmp_path: Path, unused_port: int) -> None:
    stop = threading.Event()
    first = server("first", tmp_path, unused_port)
    second = server("second", tmp_path, unused_port)
    supervisor = Supervisor(Stages([Stage([first], stop.set), Stage([second])]), quiet, stop)
    with pytest.raises(EmbeddedError, match="Asked to stop"):
        supervisor.__enter__()
    assert first.child.pid is None
    assert not second.child.pid_file.exists()


def test_stages_end_in_reverse_order(tmp_path: Path) -> None:
    order: list[str] = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name
            self.child = process.Child(tmp_path, name)

        def start(self) -> None:
            order.append(f"start {self.name}")
            self.child.start([sys.executable, "-c", "import time; time.sleep(600)"])

        def await_ready(self, within: float) -> None:
            order.append(f"ready {self.name}")

        def stop(self) -> None:
            self.child.stop()
            order.append(f"stop {self.name}")

    stack = Stages([Stage([Noted("database")]), Stage([Noted("service")])])
    with Supervisor(stack, quiet, threading.Event()):
        pass
    assert order == [
        "start database", "ready database", "start service", "ready service", "stop service", "stop database",
    ]  # fmt: skip


def test_only_one_supervisor_has_a_data_directory(tmp_path: Path) -> None:
    assert running.supervisor_pid(tmp_path) is None
    with running.hold(tmp_path):
        assert running.supervisor_pid(tmp_path) == os.getpid()
        with pytest.raises(running.AlreadyRunningError), running.hold(tmp_path):
            pass
    assert running.supervisor_pid(tmp_path) is None


def test_looking_does_not_keep_a_supervisor_from_starting(tmp_path: Path) -> None:
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            running.supervisor_pid(tmp_path)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(20):
            with running.hold(tmp_path):
                pass
    finally:
        stop.set()
        looker.join()
