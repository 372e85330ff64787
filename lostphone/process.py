"""One process of the installation, as the supervisor sees it."""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lostphone.embedded import Child, EmbeddedError

_POLL_SECONDS = 0.1
_TRIES = 10
_GRACE_SECONDS = 25.0
"""A service ends its HTTP calls in 10 seconds and then its other work."""


class Part(Protocol):
    """Something that runs, ends, and can be started again on the same data."""

    @property
    def name(self) -> str: ...

    @property
    def child(self) -> Child: ...

    def start(self) -> object:
        """Start it. Raises `EmbeddedError`."""

    def await_ready(self, within: float) -> None:
        """Return when it can be used. Raises `EmbeddedError`."""

    def stop(self) -> object: ...


class Embedded:
    """A part of the embedded stack, which is ready when its `start` returns."""

    def __init__(self, name: str, child: Child, start: Callable[[], object], stop: Callable[[], object]) -> None:
        self.name = name
        self.child = child
        self.start = start
        self.stop = stop

    def await_ready(self, within: float) -> None:
        """It is, once started."""


class Program:
    """A program of ours. It is ready when every address in `ready_urls` answers 200."""

    def __init__(
        self,
        name: str,
        folder: Path,
        command: Sequence[str],
        environment: Callable[[], Mapping[str, str]],
        ready_urls: Sequence[str],
        *,
        nice: int = 0,
    ) -> None:
        """`nice`: how far it lets others have the processor first, as the system counts it (0 to 19)."""
        self.name = name
        self.child = Child(folder, name)
        self._command = command
        self._environment = environment
        self._ready_urls = ready_urls
        self._nice = nice

    def start(self) -> None:
        """Start it without waiting: a service comes up also while Kafka or the database is away."""
        pid = self.child.start(self._command, environment=self._environment())
        if self._nice:
            _yield_to_others(pid, self._nice)

    def await_ready(self, within: float) -> None:
        deadline = time.monotonic() + within
        for url in self._ready_urls:
            while (said := _ask(url)) is not None:
                if self.child.pid is None:
                    raise EmbeddedError(f"{self.name} ended while starting: {self.child.last_words()}")
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"{self.name} is not ready after {within:.0f} s ({said}); see {self.child.log_file}"
                    )
                time.sleep(_POLL_SECONDS)

    def stop(self) -> object:
        return self.child.stop(within=_GRACE_SECONDS)


def _yield_to_others(pid: int, nice: int) -> None:
    """Have the process that leads a session, and has no threads yet, let others go first by so much more than we do."""
    nice = min(19, os.getpriority(os.PRIO_PROCESS, 0) + nice)
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    # Linux shares the processor among sessions, and heeds that figure only within one: the session has its own
    # (sched(7), "The autogroup feature"). It takes one in a tenth of a second from all who are not root.
    autogroup = Path(f"/proc/{pid}/autogroup")
    for _ in range(_TRIES):
        try:
            autogroup.write_text(str(nice))
        except BlockingIOError:
            time.sleep(_POLL_SECONDS)
        except OSError:
            return  # a system that does not know it
        else:
            return


def _ask(url: str) -> str | None:
    """None when the address answers 200, else what it says instead."""
    try:
        with urllib.request.urlopen(url, timeout=3):  # noqa: S310 - addresses of our own on loopback
            return None
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code} {error.read(300).decode(errors='replace')}"
    except OSError as error:
        return type(error).__name__
