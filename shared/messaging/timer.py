"""Durable timers: what must happen later, and every call to the outside.

A due timer is leased: its due time moves on by `LEASE` and its attempt counts up, in a transaction of its own. Then
its handler runs, outside any transaction, opens the units that it needs, and finishes or re-arms the timer in the
last of them. A crash in between brings the timer back with a higher `attempt`, as soon as others know of it
(`lease.py`), at the latest when the lease ends: a handler that calls somebody then asks first what became of the
earlier call.

A timer that is due when it is set need not be looked for: while none waits longer, the unit that sets it leases it as
well, and it fires when that unit has committed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog
from opentelemetry.trace import SpanKind

from shared.messaging.clock import running
from shared.messaging.lease import LEASE, Holder
from shared.messaging.outage import is_outage
from shared.messaging.set_back import follow_the_clock
from shared.telemetry import Health, bind, continue_trace, metrics

if TYPE_CHECKING:
    from shared.messaging.unit import Units

_HANDLER_LIMIT = LEASE - timedelta(seconds=10)
"""Shorter than the lease, so that two firings of one timer never run side by side."""
_AT_ONCE = 32
_LONGEST_SLEEP = timedelta(seconds=5)
_FIRST_PAUSE = timedelta(seconds=1)
_MOMENT_SECONDS = 5.0
_CLOCK_SECONDS = 5.0
"""How often it is looked whether the database's clock was set back."""

# Due times are compared with the database's clock alone: processes may differ.
_CLAIM = """
WITH due AS (
    SELECT subject, name, due_at FROM timer WHERE due_at <= now() ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE timer SET due_at = now() + $1::interval, attempt = attempt + 1, held_until = now() + $1::interval,
    holder = CASE WHEN split_part(timer.name, ':', 1) <> ALL ($4::text[]) THEN $3 END
FROM due WHERE timer.subject = due.subject AND timer.name = due.name
RETURNING timer.subject, timer.name, due.due_at, timer.attempt, timer.payload, timer.armed, timer.traceparent,
    timer.holder
"""
_NEXT = "SELECT least(min(due_at), now() + $1::interval) AS until, now() AS now FROM timer"
_RETRY = """
UPDATE timer SET due_at = now() + $1::interval WHERE subject = $2 AND name = $3 AND armed = $4 AND attempt = $5
"""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Timer:
    """One firing. `attempt` is 1 the first time."""

    subject: str
    name: str
    due_at: datetime
    attempt: int
    payload: dict[str, Any]
    armed: int
    traceparent: str | None = None
    holder: str | None = None
    """The name under which it is leased; None when that lease just runs out."""
    in_hand: Any = None
    """What the unit that set it had in hand; None when it did not fire at once."""

    @property
    def kind(self) -> str:
        return _kind(self.name)


def _kind(name: str) -> str:
    return name.partition(":")[0]


type TimerHandler = Callable[[Timer], Awaitable[None]]


class TimerLostError(Exception):
    """Another firing of this timer has begun; this one must leave nothing behind."""

    def __init__(self, timer: Timer) -> None:
        super().__init__(f"timer {timer.name} of {timer.subject} was taken over")


class Timers:
    """Fires the timers of one service. Any number of processes may run it side by side."""

    def __init__(
        self,
        units: "Units",
        handlers: Mapping[str, TimerHandler],
        health: Health,
        holder: Holder,
        *,
        unbroken: Collection[str] = (),
        calendar: Collection[str] = (),
    ) -> None:
        """`holder`: the name of this process. `unbroken`: kinds that are leased under none, and so never broken off
        while the process lives. `calendar`: kinds that stay where they are when the clock is set back."""
        self._units = units
        self._handlers = handlers
        self._health = health
        self._holder = holder
        self._unbroken = frozenset(unbroken)
        self._calendar = frozenset(calendar)
        self._running: dict[asyncio.Task[None], Timer] = {}
        self._clock_seen: timedelta | None = None
        self._sleep_until: datetime | None = None
        """By the database's clock; None while they look for what is due."""

    @property
    def room(self) -> int:
        """How many that are due may be fired at once: none while older ones may wait."""
        return max(0, _AT_ONCE - len(self._running)) if self._sleep_until is not None else 0

    def wakes_for(self, due_at: datetime) -> bool:
        """Whether one that is due then has to wake them."""
        return self._sleep_until is None or due_at < self._sleep_until

    def holders(self, due: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str | None]:
        """Which of these that are due, by subject and name, may be fired at once, and the name to lease each under."""
        return {
            (subject, name): None if _kind(name) in self._unbroken else self._holder.name
            for subject, name in due[: self.room]
        }

    def fire(self, timers: Iterable[Timer]) -> None:
        """Begin with these, which are leased."""
        for timer in timers:
            if timer.holder not in (None, self._holder.name):
                continue  # that name ended meanwhile, and the lease with it
            task = asyncio.create_task(self._handle(timer))
            self._running[task] = timer
            task.add_done_callback(self._running.pop)

    async def run(self) -> None:
        """Until cancelled; then those that are firing are given a moment to end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._holder.run(self._let_go, self._units.timer_wake.set))
            await self._holder.tried.wait()
            await self._run()

    async def _run(self) -> None:
        self._units.timers = self
        try:
            while True:
                try:
                    await self._follow_the_clock()
                    await self._fire()
                    self._health.ok("timers")
                    await self._sleep()
                except Exception as error:
                    if not is_outage(error):
                        raise
                    self._health.fail("timers", f"the database cannot be reached: {type(error).__name__}")
                    await asyncio.sleep(_FIRST_PAUSE.total_seconds())
        finally:
            self._units.timers = None
            if self._running:
                await asyncio.wait(self._running, timeout=_MOMENT_SECONDS)
            await _break_off(self._running)

    async def _let_go(self, holder: str) -> bool:
        """Break off what is leased under a name of ours, because others may take it over; whether it has ended."""
        firing = [task for task, timer in self._running.items() if timer.holder == holder]
        if firing:
            _log.warning("timers_broken_off", count=len(firing))
        return await _break_off(firing)

    async def _fire(self) -> None:
        """Begin with what is due, as far as there is room."""
        self._units.timer_wake.clear()
        room = _AT_ONCE - len(self._running)
        if room <= 0:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return
        claim = (LEASE, room, self._holder.name, list(self._unbroken))
        self.fire([Timer(**row) for row in await self._units.pool.fetch(_CLAIM, *claim)])

    async def _follow_the_clock(self) -> None:
        if self._clock_seen is None or (running() - self._clock_seen).total_seconds() >= _CLOCK_SECONDS:
            await follow_the_clock(self._units.pool, self._calendar)
            self._clock_seen = running()

    async def _sleep(self) -> None:
        asked = running()
        row = await self._units.pool.fetchrow(_NEXT, _LONGEST_SLEEP)
        if row is None:
            raise AssertionError("an aggregate has one row")
        self._units.clock.set(row["now"], asked)
        seconds = (row["until"] - row["now"]).total_seconds()
        if seconds <= 0:
            return
        self._sleep_until = row["until"]
        try:
            await asyncio.wait_for(self._units.timer_wake.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self._sleep_until = None

    async def _handle(self, timer: Timer) -> None:
        handler = self._handlers.get(timer.kind)
        if handler is None:
            _log.error("timer_without_handler", subject=timer.subject, timer=timer.name)
            return
        try:
            with (
                continue_trace(
                    timer.traceparent,
                    f"timer {timer.kind}",
                    SpanKind.INTERNAL,
                    subject=timer.subject,
                    attempt=timer.attempt,
                ),
                bind(subject=timer.subject),
            ):
                async with asyncio.timeout(_HANDLER_LIMIT.total_seconds()):
                    await handler(timer)
            metrics.TIMERS_FIRED.labels(timer.kind, "done").inc()
        except TimerLostError as error:
            metrics.TIMERS_FIRED.labels(timer.kind, "lost").inc()
            _log.warning("timer_lost", reason=str(error))
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the timer comes back
            await self._again(timer, error)

    async def _again(self, timer: Timer, error: Exception) -> None:
        """Come back after a pause that grows, up to the lease."""
        metrics.TIMERS_FIRED.labels(timer.kind, "failed").inc()
        level = "warning" if is_outage(error) else "error"
        pause = min(_FIRST_PAUSE * 2 ** min(timer.attempt - 1, 10), LEASE)
        getattr(_log, level)(
            "timer_failed",
            subject=timer.subject,
            timer=timer.name,
            attempt=timer.attempt,
            again_in=pause.total_seconds(),
            error=type(error).__name__,
            exc_info=level == "error",
        )
        try:
            await self._units.pool.execute(_RETRY, pause, timer.subject, timer.name, timer.armed, timer.attempt)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            return  # the lease brings it back


async def _break_off(tasks: Iterable[asyncio.Task[None]]) -> bool:
    """Cancel them; whether they have ended within a moment, as all do that need not wait for a network to tidy up."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending, timeout=_MOMENT_SECONDS)
    return all(task.done() for task in ending)
