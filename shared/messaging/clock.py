"""The time of a service: the database's, which all processes share and by which timers fall due.

Between two looks at it a clock carries on that nobody can set, so that the clock of this machine may be wrong, or be
set back or forward, and a timer that is set for a second from now still fires a second from now.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """Says what time it is. Until the first look it is this machine's clock."""

    def __init__(self, wall: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._wall = wall
        self._zero: datetime | None = None

    def __call__(self) -> datetime:
        return self._wall() if self._zero is None else self._zero + running()

    def set(self, now: datetime, asked: timedelta) -> None:
        """What the database said, somewhere between `asked`, the `running()` before the question, and this moment.

        An answer that came late says little: the clock moves only as far as the answer shows it to be wrong.
        """
        earliest, latest = now - running(), now - asked
        zero = self._zero or earliest + (latest - earliest) / 2
        self._zero = min(max(zero, earliest), latest)


def running() -> timedelta:
    """Since some moment, and also while the machine sleeps, where it can tell."""
    kind = getattr(time, "CLOCK_BOOTTIME", None)
    return timedelta(seconds=time.monotonic() if kind is None else time.clock_gettime(kind))
