"""Timers that carry orders out: send, watch, expire, disarm; and the clocks of locating and of the line.

Each call to the outside follows on an intent that is kept: the order, and the firing of its timer, which is counted
before the handler runs. What came of it is kept in a unit afterwards. A firing that is not the first may follow a call
that got through, so it asks the provider before it does anything again.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from services.mdm_actions import store, tasks
from services.mdm_actions.containment import Containment
from services.mdm_actions.domain import wipe
from services.mdm_actions.domain.command import DEVICE_KINDS, ENDED, LINE_KINDS, Kind, State
from services.mdm_actions.domain.line import IncidentState
from services.mdm_actions.outside import Outside, Said, line_reads
from services.mdm_actions.providers import LineReading, Outcome, ProviderRefusedError, ProviderUnavailableError
from services.mdm_actions.settlement import Settlement
from services.mdm_actions.store import Case, Command
from services.mdm_actions.waking import Waking, is_to_be_woken
from shared.events.mdm_actions import SuspensionTrigger
from shared.messaging import DependencyUnavailableError, Timer, TimerHandler, Unit, Units
from shared.messaging.log_end import LogEnd
from shared.postgres import Together

_log = structlog.get_logger()

_RETRY_FIRST = timedelta(seconds=1)
_RETRY_MOST = timedelta(minutes=5)
_WEBHOOK_FIRST = 5
"""What a device answered comes by webhook: it is looked for so many times later, in case that was lost."""
_STRIDES = 20
_LONGEST_STRIDE = timedelta(seconds=0.25)
"""Looks fall on the same moments, a twentieth of their pause apart, and at most this."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_LATE_WORD = timedelta(hours=24)
"""A phone may have fetched a wipe just before it was taken back: its word is waited for this long."""
_LATE_PAUSE = timedelta(minutes=1)
_LOOKED_AT = frozenset({Kind.WIPE, Kind.SUSPEND_LINE})
"""What has come since the order may forbid these: they are looked at once more, under the lock on their case."""
_TAKEN_BACK = frozenset({"incident_not_open", "decision_version_stale", "device_differs"})


class Commands:
    """The timer handlers of this service."""

    def __init__(
        self,
        units: Units,
        outside: Outside,
        containment: Containment,
        settlement: Settlement,
        log_end: LogEnd,
        *,
        watch_first: timedelta,
        watch_most: timedelta,
    ) -> None:
        """Open commands are asked about after `watch_first`, then ever less often, at least every `watch_most`."""
        self._units = units
        self._outside = outside
        self._containment = containment
        self._settlement = settlement
        self._log_end = log_end
        self._watch_first = watch_first
        self._watch_most = watch_most
        self._commands = Together(partial(store.commands, units.pool))
        self._waking = Waking(outside)

    def timers(self) -> Mapping[str, TimerHandler]:
        """The handlers by kind of timer."""
        return {
            "send": self.send,
            "watch": self.watch,
            "expire": self.expire,
            "disarm": self.disarm,
            "locate": self.locate,
            "line": self.line,
        }

    async def send(self, timer: Timer) -> None:
        """Put a command to its provider, and keep what it said."""
        case, command = timer.in_hand or await self._standing(timer)
        ask_first = timer.attempt > 1 or bool(timer.payload.get("tried"))
        last_look = None
        if ask_first or command.kind in _LOOKED_AT or command.state is not State.REQUESTED:
            heard_all = command.kind is not Kind.WIPE or await self._heard_all(timer)
            async with self._units.begin() as unit:
                case, command = await _load(unit, timer)
                if command.state is not State.REQUESTED:
                    await unit.finish(timer)
                    return
                last_look = await self._last_look(unit, case, command)
                if last_look and not ask_first:
                    await self._settlement.hear(unit, case, command, last_look, source="last_look")
                    await unit.finish(timer)
                    return
                if not last_look and not heard_all:
                    later = unit.now + _RETRY_FIRST
                    await unit.arm(timer.subject, timer.name, later, timer.payload | {"tried": int(ask_first)})
                    return
                await store.note(unit, command, "ask" if ask_first else "send")
        try:
            said = await self._put(case, command, last_look, ask_first=ask_first)
        except ProviderUnavailableError as error:
            await self._try_later(timer, str(error))
            return
        except ProviderRefusedError as refused:
            said = Outcome(State.FAILED, reason=refused.reason)
        async with self._units.begin() as unit:
            case, command = await _load(unit, timer)
            after = await self._settlement.hear(unit, case, command, said, source="provider")
            if isinstance(said, Outcome) and said.state in (State.QUEUED, State.DEFERRED):
                await self._follow(unit, case, after)
            await unit.finish(timer)

    async def _heard_all(self, timer: Timer) -> bool:
        """Whether nothing lies in the log that may take the wipe back and was not heard yet."""
        try:
            reached = await self._log_end.is_reached(self._units.pool, timer.subject)
        except DependencyUnavailableError as error:
            _log.warning("wipe_waits", incident=timer.subject, timer=timer.name, reason=str(error))
            return False
        if not reached:
            _log.warning("wipe_waits", incident=timer.subject, timer=timer.name, reason="more of the log to hear")
        return reached

    async def _last_look(self, unit: Unit, case: Case, command: Command) -> Outcome | None:
        """What has come between the order and now, as the end of the command; None when it still stands."""
        if command.kind is Kind.SUSPEND_LINE and case.over:
            return Outcome(State.CANCELLED, reason="phone_is_back")
        if command.kind is Kind.SUSPEND_LINE and command.device != case.device:
            return Outcome(State.CANCELLED, reason="another_phone_is_lost")
        if command.kind is not Kind.WIPE or command.statement is None:
            return None
        try:
            wipe.still_holds(command.statement, await self._containment.facts(unit, case, command.statement), unit.now)
        except wipe.WipeRefusedError as refused:
            if refused.reason == "validity_over":
                return Outcome(State.EXPIRED, reason=refused.reason)
            state = State.CANCELLED if refused.reason in _TAKEN_BACK else State.FAILED
            return Outcome(state, reason=refused.reason)
        return None

    async def _put(self, case: Case, command: Command, last_look: Outcome | None, *, ask_first: bool) -> Said:
        if last_look:
            # It may have left before; then it is taken back below, otherwise it never leaves.
            said = await self._outside.ask(command)
            never_left = isinstance(said, LineReading) and not line_reads(command.kind, said)
            return last_look if said is None or never_left else said
        if command.kind is Kind.WIPE:
            presence = await self._outside.look(command)
            if not presence.enrolled:
                return Outcome(State.FAILED, reason="device_not_enrolled")
            if presence.enrolled_at and presence.enrolled_at > command.ordered_at:
                # Set up anew since two people signed: perhaps it is in other hands, and not lost any more.
                return Outcome(State.FAILED, reason="re_enrolled")
        return await self._outside.perform(case, command, ask_first=ask_first)

    async def _follow(self, unit: Unit, case: Case, command: Command) -> None:
        """Watch what is with the provider now; take back what was withdrawn or expired while it was on its way."""
        if not command.open:
            await unit.arm(case.incident, command.timer("disarm"), unit.now)
            return
        first = self._watch_first * (_WEBHOOK_FIRST if command.kind in DEVICE_KINDS else 1)
        look_at = _with_others(unit.now + first, first)
        await unit.arm(case.incident, command.timer("watch"), look_at, {"pause": first.total_seconds()})
        if await self._last_look(unit, case, command):
            await unit.arm(case.incident, command.timer("disarm"), unit.now)

    async def _try_later(self, timer: Timer, what: str) -> None:
        """The provider is away: again after a pause that grows."""
        tried = int(timer.payload.get("tried", 0)) + 1
        pause = min(_RETRY_FIRST * 2 ** min(tried - 1, 10), _RETRY_MOST)
        _log.warning("provider_unavailable", incident=timer.subject, timer=timer.name, tried=tried, reason=what)
        async with self._units.begin() as unit:
            _, command = await _load(unit, timer)
            await store.note(unit, command, timer.kind, reason="provider_unavailable")
            if timer.kind != "send" or command.state is State.REQUESTED:
                await unit.arm(timer.subject, timer.name, unit.now + pause, timer.payload | {"tried": tried})
            else:
                await unit.finish(timer)

    async def watch(self, timer: Timer) -> None:
        """Ask what became of a command, so that a webhook that was lost loses nothing."""
        command = await self._commands.of(timer.name.partition(":")[2])
        if command is None:
            raise _no_command(timer)
        try:
            said = await self._look(command)
        except ProviderUnavailableError as error:
            await self._try_later(timer, str(error))
            return
        except ProviderRefusedError as refused:
            said = Outcome(State.FAILED, reason=refused.reason)
        pause = timedelta(seconds=float(timer.payload.get("pause", self._watch_first.total_seconds())))
        following = {"pause": min(pause * 2, self._watch_most).total_seconds()}
        now = self._units.now()
        if _is_watched(command, now) and _is_no_news(command, said):
            if is_to_be_woken(command, now, pause):
                self._waking.soon(command)
            await self._units.again(timer, _with_others(now + pause, pause), following)
            return
        async with self._units.begin() as unit:
            case, command = await _load(unit, timer)
            if said is not None:
                command = await self._settlement.hear(
                    unit, case, command, await _why(unit, command, said), source="reconciler"
                )
            if not _is_watched(command, unit.now):
                await unit.finish(timer)
                return
            await unit.arm(timer.subject, timer.name, unit.now + pause, following)

    async def _standing(self, timer: Timer) -> tuple[Case, Command]:
        found = await store.standing(self._units.pool, timer.name.partition(":")[2])
        if found is None:
            raise _no_command(timer)
        return found

    async def _look(self, command: Command) -> Said | None:
        if not _is_watched(command, self._units.now()):
            return None
        said = await self._outside.ask(command)
        if said is None and command.kind in DEVICE_KINDS:
            return Outcome(State.SUPERSEDED, reason="unknown_to_server")
        return said

    async def expire(self, timer: Timer) -> None:
        """The time of a command is over. What lies with an MDM server is taken back, so that it never fires late."""
        async with self._units.begin() as unit:
            case, command = await _load(unit, timer)
            if command.open:
                said = Outcome(State.EXPIRED, reason="no_answer_in_time")
                command = await self._settlement.hear(unit, case, command, said, source="clock")
                if command.kind in DEVICE_KINDS:
                    await unit.arm(case.incident, command.timer("disarm"), unit.now)
            await unit.finish(timer)

    async def disarm(self, timer: Timer) -> None:
        """Take a command back."""
        async with self._units.begin() as unit:
            case, command = await _load(unit, timer)
            if command.kind in LINE_KINDS and await tasks.withdraw(unit, command):
                withdrawn = Outcome(State.CANCELLED, reason="withdrawn")
                await self._settlement.hear(unit, case, command, withdrawn, source="provider")
            if command.state is State.SUCCEEDED or command.kind in LINE_KINDS:
                await unit.finish(timer)
                return
            if command.state is State.REQUESTED:
                await self._stop_sending(unit, timer, command)
                return
            await store.save_command(unit, replace(command, disarming_at=unit.now), "disarm")
        try:
            taken_back = await self._outside.disarm(command)
            said = None if taken_back else await self._outside.ask(command)
        except ProviderUnavailableError as error:
            await self._try_later(timer, str(error))
            return
        except ProviderRefusedError as refused:
            taken_back, said = False, Outcome(State.FAILED, reason=refused.reason)
        async with self._units.begin() as unit:
            case, command = await _load(unit, timer)
            await self._taken_back(unit, case, command, said)
            await unit.finish(timer)

    async def _stop_sending(self, unit: Unit, timer: Timer, command: Command) -> None:
        """It may be leaving at this moment: then wait. Else have sending look once more, which settles it."""
        if await store.is_firing(unit, timer.subject, command.timer("send")):
            await unit.arm(timer.subject, timer.name, unit.now + _RETRY_FIRST)
            return
        await unit.arm(timer.subject, command.timer("send"), unit.now, {"tried": 1})
        await unit.finish(timer)

    async def _taken_back(self, unit: Unit, case: Case, command: Command, said: Said | None) -> None:
        if isinstance(said, Outcome) and said.state is not State.SUPERSEDED:
            reason = "already_answered" if said.state in ENDED else "provider_cannot_take_back"
            await self._settlement.not_cancellable(unit, case, command, reason)
            await self._settlement.hear(unit, case, command, said, source="provider")
            return
        await self._settlement.hear(
            unit, case, command, Outcome(State.CANCELLED, reason="withdrawn"), source="provider"
        )
        if command.kind is Kind.WIPE:
            await unit.arm(case.incident, command.timer("watch"), unit.now + _LATE_PAUSE)

    async def locate(self, timer: Timer) -> None:
        """Locate once more, while the phone is lost, locked and not to be wiped."""
        async with self._units.begin() as unit:
            await unit.lock(timer.subject)
            case = await store.case(unit, timer.subject)
            if case is None or case.state is not IncidentState.OPEN or case.device is None:
                await unit.finish(timer)
                return
            wipes = await store.commands_of(unit, case.incident, Kind.WIPE, device=case.device)
            if any(command.state is State.SUCCEEDED for command in wipes) or not await self._containment.is_locked(
                unit, case
            ):
                await unit.finish(timer)
                return
            if any(command.open for command in wipes):
                # What is queued behind an erase is never answered. Should the wipe be taken back, locating goes on.
                await self._containment.locate_again(unit, case)
                return
            await self._containment.to_device(unit, case, Kind.LOCATE, await self._containment.known(unit, case), None)
            await unit.finish(timer)

    async def line(self, timer: Timer) -> None:
        """The line has waited for the wipe long enough."""
        async with self._units.begin() as unit:
            await unit.lock(timer.subject)
            case = await store.case(unit, timer.subject)
            if case is not None:
                await self._containment.stop_line(unit, case, SuspensionTrigger.TIMER, None)
            await unit.finish(timer)


async def _load(unit: Unit, timer: Timer) -> tuple[Case, Command]:
    found = await store.locked(unit, timer.name.partition(":")[2])
    if found is None:
        raise _no_command(timer)
    return found


def _no_command(timer: Timer) -> LookupError:
    return LookupError(f"timer {timer.name} of {timer.subject} has no command")


def _with_others(at: datetime, pause: timedelta) -> datetime:
    """The next moment from `at` on that other looks fall on as well: what is due together is asked in one go."""
    stride = min(pause / _STRIDES, _LONGEST_STRIDE)
    return at + (_EPOCH - at) % stride


def _is_watched(command: Command, now: datetime) -> bool:
    if command.state in (State.QUEUED, State.DEFERRED):
        return True
    taken_back = command.kind is Kind.WIPE and command.state in (State.CANCELLED, State.EXPIRED)
    return taken_back and command.ended_at is not None and now < command.ended_at + _LATE_WORD


def _is_no_news(command: Command, said: Said | None) -> bool:
    return said is None or (isinstance(said, Outcome) and said.state is command.state)


async def _why(unit: Unit, command: Command, said: Said) -> Said:
    """Name the reason when a queue was cleared because the phone was set up anew."""
    if not isinstance(said, Outcome) or said.state is not State.SUPERSEDED or command.device is None:
        return said
    enrolled_at = await unit.connection.fetchval("SELECT enrolled_at FROM device WHERE device = $1", command.device)
    renewed = enrolled_at is not None and enrolled_at >= command.ordered_at
    return replace(said, reason="re_enrolled") if renewed else said
