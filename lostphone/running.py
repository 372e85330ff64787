"""Whether an installation runs in a data directory, and how to start and end it from another process.

The supervisor holds a lock on `run/supervisor.lock` for as long as it lives, and the file says its process id.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lostphone
from lostphone import status
from lostphone.embedded import Child
from lostphone.screen import CouldNotError, SaidNoError
from lostphone.status import INSTALLATION

_ROOT = Path(lostphone.__file__).parent.parent
_UP_WITHIN = 420.0
_DOWN_WITHIN = 150.0
_LOOK_EVERY = 0.1

type Echo = Callable[[str], None]


class AlreadyRunningError(Exception):
    """Another supervisor has this data directory; `pid` is its process."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"already running as process {pid}")
        self.pid = pid


@contextlib.contextmanager
def hold(data_dir: Path) -> Iterator[None]:
    """Be the one supervisor of this directory. Raises `AlreadyRunningError`."""
    file = _lock_file(data_dir)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as lock:
        # Someone who only looks holds the lock for a moment.
        for attempt in range(10):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if attempt == 9:
                    raise AlreadyRunningError(supervisor_pid(data_dir)) from None
                time.sleep(0.05)
        lock.truncate(0)
        try:
            os.write(lock.fileno(), str(os.getpid()).encode())
        except OSError as error:
            error.filename = str(file)
            raise
        try:
            yield
        finally:
            status.remove(data_dir)
            lock.truncate(0)


def supervisor_pid(data_dir: Path) -> int | None:
    """The supervisor's process id, or None when none runs."""
    file = _lock_file(data_dir)
    if not file.exists():
        return None
    with file.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = lock.read().strip()
            return int(text) if text.isdecimal() else None
        return None


def running(data_dir: Path) -> status.Status | None:
    """Where everything is, when the installation runs and is ready."""
    pid = supervisor_pid(data_dir)
    found = status.read(data_dir) if pid is not None else None
    # A supervisor that was killed left what it told behind.
    return found if found is not None and found.processes["supervisor"].pid == pid else None


def required(data_dir: Path) -> status.Status:
    """The running installation. Raises `CouldNotError` when none runs."""
    found = running(data_dir)
    if found is None:
        raise CouldNotError(
            f"{data_dir} では何も動いていません。lostphone up で起動します。",
            f"Nothing runs in {data_dir}. lostphone up starts it.",
        )
    return found


def require_down(data_dir: Path) -> None:
    """Raises `SaidNoError` when the installation runs."""
    if supervisor_pid(data_dir) is not None:
        raise SaidNoError(
            "動いています。lostphone down で止めてください。", "It runs. End it with lostphone down first."
        )


def start_detached(
    data_dir: Path, echo: Echo, *, fresh: bool = False, secure: bool = False
) -> tuple[status.Status, bool]:
    """Start an installation in the background and wait until it is ready, passing on what it says; and whether it is
    this one, or one that was started here in the same moment. Raises `CouldNotError`."""
    if fresh:
        erase(data_dir)
    log = _log_file(data_dir)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "lostphone", "up", "--data-dir", str(data_dir), *(["--secure"] if secure else [])]
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=out,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
    try:
        with log.open(encoding="utf-8", errors="replace") as said:
            return _until_ready(data_dir, child, said, echo)
    except BaseException:
        child.terminate()  # after Ctrl-C, too, nobody waits for it any more
        raise


def _until_ready(
    data_dir: Path, child: "subprocess.Popen[bytes]", said: Iterable[str], echo: Echo
) -> tuple[status.Status, bool]:
    deadline = time.monotonic() + _UP_WITHIN
    while True:
        ended = child.poll()
        for line in said:
            echo(line.rstrip("\n"))
        found = running(data_dir)
        is_ours = found is not None and found.processes["supervisor"].pid == child.pid
        # It ends well where another one was first, once that one is ready.
        if found is not None and (is_ours or ended == 0):
            return found, is_ours
        if ended is not None:
            raise _not_started(data_dir)
        if time.monotonic() > deadline:
            raise _not_ready(data_dir)
        time.sleep(_LOOK_EVERY)


def await_ready(data_dir: Path) -> status.Status | None:
    """The installation that another process runs, or is starting, once it is ready; None when none runs. Raises
    `CouldNotError`."""
    deadline = time.monotonic() + _UP_WITHIN
    while supervisor_pid(data_dir) is not None:
        if (found := running(data_dir)) is not None:
            return found
        if time.monotonic() > deadline:
            raise _not_ready(data_dir)
        time.sleep(_LOOK_EVERY)
    return None


def _not_started(data_dir: Path) -> CouldNotError:
    log = _log_file(data_dir)
    if log.stat().st_size:
        return CouldNotError("起動できませんでした。", "It could not be started.")
    return CouldNotError(
        f"起動できませんでした。理由が {log} にありません。ディスクに空きがあるか確かめてください。",
        f"It could not be started, and {log} does not say why: see whether its disk is full.",
    )


def _not_ready(data_dir: Path) -> CouldNotError:
    log = _log_file(data_dir)
    return CouldNotError(
        f"{_UP_WITHIN:.0f} 秒以内に起動しませんでした。{log} を見てください。",
        f"It was not ready within {_UP_WITHIN:.0f} seconds. See {log}.",
    )


def stop(data_dir: Path) -> bool:
    """End what runs in this directory, in order; data stays. False when nothing ran. Raises `CouldNotError`."""
    pid = supervisor_pid(data_dir)
    if pid is None:
        if not (data_dir / INSTALLATION).is_file():
            return False  # what lies there is not ours
        status.remove(data_dir)
        return end_orphans(data_dir)
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_WITHIN
    while supervisor_pid(data_dir) is not None:
        if time.monotonic() > deadline:
            raise CouldNotError(
                f"プロセス {pid} が終了しません。", f"Process {pid} does not end; see {data_dir}/run/supervisor.log."
            )
        time.sleep(_LOOK_EVERY)
    return True


def erase(data_dir: Path) -> None:
    """Remove an installation that does not run, with all its data. Raises `CouldNotError`."""
    if not data_dir.exists() or not any(data_dir.iterdir()):
        return
    if not (data_dir / INSTALLATION).is_file():
        raise CouldNotError(
            f"{data_dir} は lostphone のデータではないため、消しません。",
            f"{data_dir} does not hold an installation, so nothing there is removed.",
        )
    end_orphans(data_dir)
    shutil.rmtree(data_dir)


def end_orphans(data_dir: Path) -> bool:
    """End what a supervisor that was killed left behind, what uses the database before the database. Whether there
    was anything."""
    services = [Child(file.parent, file.stem) for file in data_dir.glob("processes/*.pid")]
    below = [Child(data_dir / name, name) for name in _BELOW]
    return any([_end(services), _end(below)])


_BELOW = {"nanomdm": signal.SIGTERM, "kafka": signal.SIGTERM, "postgres": signal.SIGINT}
"""What the services stand on, each in a folder of its own name, and the signal by which it ends in order."""


def _end(children: Sequence[Child]) -> bool:
    """End these side by side."""
    with ThreadPoolExecutor(len(children) or 1) as pool:
        outcomes = list(pool.map(lambda child: child.stop(_BELOW.get(child.name, signal.SIGTERM)), children))
    return any(outcome != "absent" for outcome in outcomes)


def _log_file(data_dir: Path) -> Path:
    """What a supervisor in the background says."""
    return data_dir / "run" / "supervisor.log"


def _lock_file(data_dir: Path) -> Path:
    return data_dir / "run" / "supervisor.lock"
