"""Starts an installation in order, keeps alive what it started, and ends it in order.

    with Supervisor(stack, tell, stop):      # everything answers, and is kept alive
        stop.wait()                          # until somebody asks for the end

A process that dies is started again, at once the first time and then after a pause that doubles.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import structlog

from lostphone.embedded import EmbeddedError
from lostphone.process import Part

READY_WITHIN = 180.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STEADY_AFTER = 60.0
"""A process that lived this long is started again without a longer pause."""
_LOOK_EVERY = 0.2

_log = structlog.get_logger()

type Tell = Callable[[str, str], None]
"""Says one thing, in Japanese and in English."""


@dataclass(frozen=True)
class Stage:
    """Parts that start side by side, and what is done once they answer."""

    parts: Sequence[Part]
    then: Callable[[], None] | None = None
    said: tuple[str, str] | None = None


class Stack(Protocol):
    """What a supervisor runs."""

    def stages(self) -> Sequence[Stage]: ...

    def announce(self, parts: Iterable[Part]) -> None:
        """Tell others where everything is; called when all is up and after every change of a process id."""


@dataclass
class _Watched:
    part: Part
    thread: threading.Thread | None = None
    started: float = field(default_factory=time.monotonic)
    pause: float = 0.0


class Supervisor:
    """One running installation. `stop`, once set, ends a start that is under way."""

    def __init__(self, stack: Stack, tell: Tell, stop: threading.Event) -> None:
        self._stack = stack
        self._tell = tell
        self._stop = stop
        self._stages = stack.stages()
        self._watched = [_Watched(part) for stage in self._stages for part in stage.parts]
        self._ending = threading.Event()
        self._announcing = threading.Lock()

    def __enter__(self) -> Self:
        """Start everything. Raises `EmbeddedError`, after what had started was ended again."""
        try:
            for stage in self._stages:
                self._start(stage)
            self._stack.announce([watched.part for watched in self._watched])
        except BaseException:
            self._end()
            raise
        for watched in self._watched:
            watched.started = time.monotonic()
            watched.thread = threading.Thread(target=self._keep_alive, args=(watched,), daemon=True)
            watched.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _start(self, stage: Stage) -> None:
        if self._stop.is_set():
            raise EmbeddedError("Asked to stop before everything had started.")
        began = time.monotonic()
        with ThreadPoolExecutor(max(1, len(stage.parts))) as pool:
            for _ in pool.map(_bring_up, stage.parts):
                pass
        if stage.then is not None:
            stage.then()
        if stage.said is not None:
            ja, en = stage.said
            took = time.monotonic() - began
            self._tell(f"{ja}({took:.1f} 秒)", f"{en} ({took:.1f} s)")

    def _keep_alive(self, watched: _Watched) -> None:
        part = watched.part
        while not self._ending.wait(_LOOK_EVERY):
            if part.child.pid is not None:
                continue
            steady = time.monotonic() - watched.started > STEADY_AFTER
            watched.pause = FIRST_PAUSE if steady or not watched.pause else min(watched.pause * 2, LONGEST_PAUSE)
            _log.warning("process_died", name=part.name, exit=part.child.exit_code, again_in_seconds=watched.pause)
            self._announce()
            if self._ending.wait(watched.pause):
                return
            self._restart(watched)

    def _restart(self, watched: _Watched) -> None:
        try:
            watched.part.start()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again: nobody else would
            _log.error("process_not_started", name=watched.part.name, error=str(error) or type(error).__name__)
        watched.started = time.monotonic()
        self._announce()

    def _announce(self) -> None:
        with self._announcing:
            if self._ending.is_set():
                return
            try:
                self._stack.announce([watched.part for watched in self._watched])
            except OSError as error:
                # On a full disk others do not learn of it, and processes are kept alive all the same.
                _log.error("status_not_written", error=str(error))

    def _end(self) -> None:
        self._ending.set()
        for watched in self._watched:
            if watched.thread is None:
                continue
            watched.thread.join(1)
            if watched.thread.is_alive():
                # It waits for a part to come up; ending the part ends the waiting.
                watched.part.child.kill()
                watched.thread.join()
        for stage in reversed(self._stages):
            stop_all(stage.parts)


def stop_all(parts: Sequence[Part]) -> None:
    """End these, side by side. What does not end in time is killed."""
    if parts:
        with ThreadPoolExecutor(len(parts)) as pool:
            for _ in pool.map(lambda part: part.stop(), parts):
                pass


def _bring_up(part: Part) -> None:
    part.start()
    part.await_ready(READY_WITHIN)
