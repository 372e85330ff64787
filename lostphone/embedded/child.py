"""A child process that a later run can find again: own process group, id in a file, output in a log."""

import atexit
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from lostphone.embedded.errors import EmbeddedError

type Outcome = Literal["stopped", "killed", "absent"]

POLL_SECONDS = 0.02
# A child may outlive the object that started it, and Python warns of a running one that nobody holds.
_OUTLIVING: list[subprocess.Popen[bytes]] = []
LOG_LIMIT_BYTES = 8 * 1024 * 1024


class Child:
    """The process `name` of the folder: `<name>.pid` says which it is, `<name>.log` what it said.

    The file holds the id and the time the process began, so that a number which the system has given
    to somebody else is never signalled.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder = folder.resolve()
        self.name = name
        self.pid_file = folder / f"{name}.pid"
        self.log_file = folder / f"{name}.log"
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, also when an earlier run started it; None when it does not run."""
        if self._popen is not None and self._popen.poll() is None:
            return self._popen.pid
        try:
            pid, since = self.pid_file.read_text().split()
            return int(pid) if began(int(pid)) == since else None
        except (FileNotFoundError, ValueError):
            return None

    @property
    def exit_code(self) -> int | None:
        """How it ended, when this object started it and it has ended."""
        return None if self._popen is None else self._popen.poll()

    def start(
        self, command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, user: str | None = None
    ) -> int:
        """Start the program and return its process id. What still runs from before is ended first."""
        self.kill()
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_LIMIT_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        with self.log_file.open("ab") as log:
            self._popen = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.pid_file.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if environment is None else {**os.environ, **environment},
                user=user,
                extra_groups=None if user is None else [],
                start_new_session=True,
            )
        let_outlive(self._popen)
        self.pid_file.write_text(f"{self._popen.pid} {began(self._popen.pid)}\n")
        return self._popen.pid

    def wait_until(self, ready: Callable[[], bool], *, within: float) -> None:
        """Return when `ready` says so. Raises EmbeddedError, with its last words, when it ends or takes too long."""
        deadline = time.monotonic() + within
        while not ready():
            if self.pid is None:
                raise EmbeddedError(f"{self.name} ended while starting (exit {self.exit_code}): {self.last_words()}")
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"{self.name} did not answer within {within:.0f} seconds; see {self.log_file}: {self.last_words()}"
                )
            time.sleep(POLL_SECONDS)

    def stop(self, how: signal.Signals = signal.SIGTERM, *, within: float = 20) -> Outcome:
        """Ask it to end, and kill what does not within the time. Works on a process of an earlier run too."""
        pid = self.pid
        if pid is None:
            self.pid_file.unlink(missing_ok=True)
            return "absent"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
        outcome: Outcome = "stopped" if self._gone(within) else "killed"
        self.kill()
        return outcome

    def kill(self) -> None:
        """End it and its whole process group with SIGKILL, at once."""
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            if not self._gone(within=10):
                raise EmbeddedError(f"{self.name} (process {pid}) does not end even by SIGKILL; end it by hand.")
        self.pid_file.unlink(missing_ok=True)

    def last_words(self) -> str:
        """The end of its log, on one line, without the places of a Java program's error."""
        if not self.log_file.exists():
            return "it wrote no log."
        lines = self.log_file.read_bytes()[-4000:].decode(errors="replace").splitlines()
        said = [line for line in map(str.strip, lines) if line and not line.startswith(("at ", "... "))]
        return " | ".join(said[-4:]) or "its log is empty."

    def _gone(self, within: float) -> bool:
        deadline = time.monotonic() + within
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS / 2)
        return True


def let_outlive(popen: subprocess.Popen[bytes]) -> None:
    """Keep the handle of a process that may run on when nobody else holds it, also when this one ends."""
    _OUTLIVING[:] = [*(other for other in _OUTLIVING if other.poll() is None), popen]


@atexit.register
def _let_go() -> None:
    for popen in _OUTLIVING:
        if popen.poll() is None:
            popen.returncode = 0  # else Python warns of it while it ends


def began(pid: int) -> str | None:
    """When the process began, as the system counts; None when it is not there or has ended."""
    proc = Path("/proc")
    if (proc / "self" / "stat").exists():
        try:
            after_name = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if after_name[0] in "ZX" else after_name[19]
    done = subprocess.run(["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "-".join(done.stdout.split()) or None
