"""What follows when something is heard of a command: its new state, the event that tells it, and the next step.

Send, reconciler, webhook, second person and expiry all come here, so that whoever hears it first, and however often
it is heard, the same things happen once.
"""

from dataclasses import replace

import orjson
from opentelemetry.trace import SpanKind

from services.mdm_actions import store, tasks
from services.mdm_actions.containment import ACTOR, Containment
from services.mdm_actions.domain.command import ENDED, Kind, State, advance
from services.mdm_actions.endings import Ending, device_of, tell, wipe_not_cancellable, wipe_sent
from services.mdm_actions.orders import holder_of
from services.mdm_actions.outside import Said, line_reads
from services.mdm_actions.providers import HandOver, LineReading, Outcome, Position
from services.mdm_actions.store import Case, Command
from shared.events.mdm_actions import DeviceLocated, SuspensionTrigger
from shared.events.payload import Payload
from shared.messaging import Unit
from shared.telemetry import continue_trace
from shared.vault import DataClass, Vault

_TAKEN = frozenset({State.QUEUED, State.DEFERRED, State.SUCCEEDED})
"""The provider has, or had, the command."""

_TRIGGERS = {
    State.SUCCEEDED: SuspensionTrigger.WIPE_CONFIRMED,
    State.FAILED: SuspensionTrigger.WIPE_FAILED,
    State.SUPERSEDED: SuspensionTrigger.WIPE_FAILED,
    State.EXPIRED: SuspensionTrigger.WIPE_EXPIRED,
}
"""Why the line may be stopped, now that the wipe has ended like this. A wipe that was withdrawn leaves it open."""


class Settlement:
    """Takes what is heard of commands."""

    def __init__(self, containment: Containment, vault: Vault) -> None:
        self._containment = containment
        self._vault = vault

    async def hear(
        self, unit: Unit, case: Case, command: Command, said: Said, *, source: str, reference: str | None = None
    ) -> Command:
        """Take one word about a command, from a provider, a person or a clock. Repeats and old news change nothing.

        `reference`: what the carrier gave to the person who called it.
        """
        outcome = await self._outcome(unit, case, command, said)
        state = advance(command.state, outcome.state)
        if state is command.state:
            return command
        ended = state in ENDED
        after = replace(
            command,
            state=state,
            reason=outcome.reason,
            sent_at=command.sent_at or (unit.now if state in _TAKEN else None),
            ended_at=(outcome.at or unit.now) if ended else None,
        )
        # A webhook or a person comes with a trace of its own; what was heard belongs to the one of the order.
        with continue_trace(command.traceparent, f"{command.kind} {state}", SpanKind.INTERNAL, source=source):
            await store.save_command(unit, after, source, state=state, reason=outcome.reason, evidence=outcome.evidence)
            if command.kind is Kind.WIPE and command.sent_at is None and after.sent_at is not None:
                await self._emit(unit, case, after, wipe_sent(after, unit.now))
            if ended:
                reading = said if isinstance(said, LineReading) else None
                at = outcome.at or unit.now
                ending = Ending(after, at, outcome.reason, outcome.evidence, reading, reference)
                await self._end(unit, case, ending, outcome.position)
        return after

    async def not_cancellable(self, unit: Unit, case: Case, command: Command, reason: str) -> None:
        """A wipe could not be taken back; for other commands this is of no consequence."""
        if command.kind is Kind.WIPE:
            await self._emit(unit, case, command, wipe_not_cancellable(command, reason))

    async def _outcome(self, unit: Unit, case: Case, command: Command, said: Said) -> Outcome:
        match said:
            case Outcome(state=State.SUPERSEDED) if command.disarming_at is not None:
                # Our own withdrawal, seen from the server's side.
                return Outcome(State.CANCELLED, said.at, "withdrawn")
            case Outcome(state=State.FAILED, reason="not_in_lost_mode") if command.kind is Kind.UNLOCK:
                # The phone let go when it was handed this command before, and its answer was lost.
                return replace(said, state=State.SUCCEEDED)
            case Outcome():
                return said
            case LineReading():
                done = line_reads(command.kind, said)
                return Outcome(State.SUCCEEDED if done else State.QUEUED, said.at, said.word)
            case HandOver():
                await tasks.open_task(unit, case, command, said)
                return Outcome(State.AWAITING_APPROVAL, reason="by_hand")

    async def _end(self, unit: Unit, case: Case, ending: Ending, position: Position | None) -> None:
        command = ending.command
        await unit.disarm(case.incident, command.timer("watch"))
        await unit.disarm(case.incident, command.timer("expire"))
        if command.kind is Kind.LOCATE and ending.done and position:
            told: Payload | None = await self._located(unit, case, command, position)
        else:
            told = tell(ending)
        if told:
            await self._emit(unit, case, command, told)
        await self._go_on(unit, case, command)

    async def _emit(self, unit: Unit, case: Case, command: Command, payload: Payload) -> None:
        await unit.emit(payload, case.scope, actor=ACTOR, cause=command.cause)

    async def _located(self, unit: Unit, case: Case, command: Command, position: Position) -> DeviceLocated:
        where = {
            "latitude": position.latitude,
            "longitude": position.longitude,
            "accuracy_m": position.accuracy_m,
            "at": position.at,
        }
        holder = case.holder or holder_of(case, await self._containment.device(unit, case))
        digest = await self._vault.put(
            unit.connection,
            organisation=case.organisation,
            person=holder or f"device-{command.device}",
            data_class=DataClass.POSITION,
            name="position",
            value=orjson.dumps(where).decode(),
        )
        return DeviceLocated(
            device=device_of(command),
            command=command.command,
            located_at=position.at,
            accuracy_m=position.accuracy_m,
            source="mdm",
            position=digest,
        )

    async def _go_on(self, unit: Unit, case: Case, command: Command) -> None:
        """The next step, now that this one has ended."""
        if case.over or command.device not in (None, case.device):
            await self._containment.release(unit, case, command.cause, command.device)
        elif command.kind is Kind.LOST_MODE and command.state is State.SUCCEEDED:
            known = await self._containment.known(unit, case)
            if not known.awaits(Kind.WIPE):
                await self._containment.to_device(unit, case, Kind.LOCATE, known, command.cause)
        elif command.kind is Kind.LOCATE:
            await self._containment.locate_again(unit, case)
        is_lost = command.device == case.device
        if is_lost and command.kind is Kind.WIPE and (trigger := _TRIGGERS.get(command.state)):
            await self._containment.stop_line(unit, case, trigger, command.cause)
