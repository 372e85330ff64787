"""What is ordered for a lost phone, its line and its holder's sessions, and in which order.

Everything here happens in the caller's unit, under the lock on the incident: rows, timers and events. The timers
of `commands` carry the orders out.
"""

from datetime import timedelta

from services.mdm_actions import breaker, fleet, store
from services.mdm_actions.domain import line, playbook, wipe
from services.mdm_actions.domain.command import Kind, State
from services.mdm_actions.domain.line import Hold, IncidentState, LineCase, LineState
from services.mdm_actions.domain.protection import Posture
from services.mdm_actions.fleet import Device
from services.mdm_actions.orders import Known, holder_of, line_state, next_id
from services.mdm_actions.outside import Providers
from services.mdm_actions.store import Case, Command
from shared.events.mdm_actions import ContainmentPlanned, ProtectionSnapshotTaken, SuspensionTrigger
from shared.events.wipe import WipeStatement
from shared.messaging import Unit
from shared.telemetry import current_traceparent

ACTOR = "service/mdm_actions"

LINE_TIMER = "line"
LOCATE_TIMER = "locate"

_VALIDITY = {
    # Sessions and lines are asked of a provider that is up in a day, or somebody has to look.
    Kind.REVOKE_SESSIONS: timedelta(hours=24),
    Kind.SUSPEND_LINE: timedelta(hours=24),
    Kind.RESUME_LINE: timedelta(hours=24),
}
_DEVICE_VALIDITY = timedelta(days=30)
"""A phone that is off obeys when it comes back."""


class Refusal(Exception):  # noqa: N818 - an answer to the desk rather than an error
    """A step cannot be ordered now. `reason` is a code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Containment:
    """Orders steps for one installation."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    async def begin(self, unit: Unit, case: Case, cause: str, device: Device | None = None) -> None:
        """Plan for what is known of the phone now, say so, and start what may start. Again whenever more is known.

        `device`: the lost phone, when it is in hand.
        """
        known = await self._known(unit, case, device)
        device = known.device
        if device:
            await self._snapshot(unit, case, device, cause)
        target = self._target(device, known.account is not None)
        steps = playbook.plan(case.playbook, target, verified=case.verified)
        planned = ContainmentPlanned(
            device=device.device if device else None,
            line=device.line.line if device and device.line else None,
            playbook=case.playbook.playbook,
            playbook_version=case.playbook.version,
            steps=[step.event() for step in steps],
            waits_for_verification=not case.verified,
        )
        event_id = await unit.emit(planned, case.scope, actor=ACTOR, cause=cause)
        await store.save_plan(unit, case.incident, planned.steps, event_id)
        for step in steps:
            # Locating works only in lost mode: it follows the phone's own word that it is locked.
            if step.state == "now" and step.kind and step.step is not playbook.Step.LOCATE:
                await self._start(unit, case, step.kind, known, cause)
        if case.verified and target.line:
            await unit.arm(case.incident, LINE_TIMER, unit.now + case.playbook.line_timer)

    async def _known(self, unit: Unit, case: Case, device: Device | None = None) -> Known:
        device = device or await self.device(unit, case)
        holder = holder_of(case, device)
        account = None
        if holder is not None and case.organisation in self._providers.identity:
            account = await fleet.account(unit, case.organisation, holder)
        return Known(device, holder, account, await store.orders_about(unit, case, case.device))

    async def device(self, unit: Unit, case: Case) -> Device | None:
        """The lost phone, when it is known."""
        return await fleet.device(unit, case.device, case.organisation) if case.device else None

    def _target(self, device: Device | None, account: bool) -> playbook.Target:
        if device is None:
            return playbook.Target(account=account)
        return playbook.Target(
            ownership=device.ownership,
            supervised=device.supervised,
            managed=self._providers.manages(device.mdm),
            account=account,
            line=device.line is not None,
            line_by_hand=device.line is not None and self._providers.by_hand(device.line.carrier, device.line.sim_id),
        )

    async def _snapshot(self, unit: Unit, case: Case, device: Device, cause: str) -> None:
        found = await fleet.posture(unit, device.device, case.reported_at)
        posture = (found or Posture(device=device.device, observed_at=case.reported_at)).model_copy(
            update={"last_check_in": device.last_seen_at}
        )
        if not await store.save_snapshot(unit, case.incident, device.device, posture.document(), posture.sha256):
            return
        taken = ProtectionSnapshotTaken(
            device=device.device,
            taken_at=unit.now,
            last_check_in=posture.last_check_in,
            encrypted=posture.encrypted,
            passcode_set=posture.passcode_set,
            supervised=posture.supervised,
            mdm_enrolled=posture.mdm_enrolled,
            remote_erase_ready=posture.remote_erase_ready,
            attempts_limited=posture.attempts_limited,
            os_version=posture.os_version,
            encryption_level=posture.level,
            snapshot=posture.sha256,
        )
        await unit.emit(taken, case.scope, actor=ACTOR, cause=cause)

    async def _start(self, unit: Unit, case: Case, kind: Kind, known: Known, cause: str) -> None:
        """Order a step of the plan, unless it was ordered before: planning again starts nothing twice."""
        earlier = [order for order in known.orders if order.kind is kind and order.incident == case.incident]
        if kind is Kind.REVOKE_SESSIONS:
            if not any(order.holder == known.holder for order in earlier):
                await self._revoke(unit, case, known, cause)
        elif not any(order.device == case.device for order in earlier):
            await self._to_device(unit, case, kind, known, cause)

    async def revoke(self, unit: Unit, case: Case, cause: str) -> None:
        """End the holder's sessions. Raises `Refusal`."""
        await self._revoke(unit, case, await self._known(unit, case), cause)

    async def _revoke(self, unit: Unit, case: Case, known: Known, cause: str) -> None:
        if known.holder is None or known.account is None:
            raise Refusal("no_account")
        await self._order(
            unit,
            case,
            Kind.REVOKE_SESSIONS,
            known.orders,
            provider=self._providers.identity_name,
            target=known.account,
            cause=cause,
            holder=known.holder,
        )

    async def to_device(
        self, unit: Unit, case: Case, kind: Kind, cause: str | None, *, statement: WipeStatement | None = None
    ) -> None:
        """Send the phone one command. One that it has not yet answered is not sent twice. Raises `Refusal`."""
        await self._to_device(unit, case, kind, await self._known(unit, case), cause, statement=statement)

    async def _to_device(
        self,
        unit: Unit,
        case: Case,
        kind: Kind,
        known: Known,
        cause: str | None,
        *,
        statement: WipeStatement | None = None,
    ) -> None:
        device = known.device
        if device is None:
            raise Refusal("device_unknown")
        if device.mdm is None or device.udid is None or not self._providers.manages(device.mdm):
            raise Refusal("not_managed")
        if any(order.open and order.kind is kind and order.device == device.device for order in known.orders):
            return
        await self._order(
            unit,
            case,
            kind,
            known.orders,
            provider=device.mdm,
            target=device.udid,
            cause=cause,
            device=device.device,
            statement=statement,
        )

    async def lock_kind(self, unit: Unit, case: Case) -> Kind:
        """Lost mode where the phone takes it, else the screen lock."""
        device = await self.device(unit, case)
        takes = device is not None and self._target(device, False).takes_lost_mode
        return Kind.LOST_MODE if takes else Kind.LOCK

    async def stop_line(
        self, unit: Unit, case: Case, trigger: SuspensionTrigger, cause: str | None, *, device: str | None = None
    ) -> Hold | None:
        """Stop the line when its time has come; the reason when it stays open."""
        phone = await fleet.device(unit, device, case.organisation) if device else await self.device(unit, case)
        state = await self._line_state(unit, case, phone)
        decision = line.suspend(LineCase(case.state, case.verified, state), trigger)
        if isinstance(decision, Hold) or phone is None or phone.line is None:
            return decision if isinstance(decision, Hold) else Hold("no_line")
        await unit.disarm(case.incident, LINE_TIMER)
        await self._to_line(unit, case, Kind.SUSPEND_LINE, phone, cause=cause, trigger=decision)
        return None

    async def resume_line(self, unit: Unit, case: Case, cause: str | None) -> Hold | None:
        """Have the line work again; the reason when there is nothing to resume."""
        phone = await self.device(unit, case)
        hold = line.resume(await self._line_state(unit, case, phone))
        if hold or phone is None:
            return hold
        await unit.disarm(case.incident, LINE_TIMER)
        await self._to_line(unit, case, Kind.RESUME_LINE, phone, cause=cause)
        return None

    async def _line_state(self, unit: Unit, case: Case, device: Device | None) -> LineState | None:
        if device is None or device.line is None:
            return None
        return line_state(await store.commands_of_line(unit, device.line.line, case))

    async def _to_line(
        self,
        unit: Unit,
        case: Case,
        kind: Kind,
        device: Device,
        *,
        cause: str | None,
        trigger: SuspensionTrigger | None = None,
    ) -> None:
        if device.line is None:
            return
        await self._order(
            unit,
            case,
            kind,
            provider=device.line.carrier,
            target=device.line.sim_id or "",
            cause=cause,
            device=device.device,
            line=device.line.line,
            trigger=trigger,
        )

    async def _order(
        self,
        unit: Unit,
        case: Case,
        kind: Kind,
        orders: list[Command] | None = None,
        *,
        provider: str,
        target: str,
        cause: str | None,
        device: str | None = None,
        line: str | None = None,
        holder: str | None = None,
        statement: WipeStatement | None = None,
        trigger: SuspensionTrigger | None = None,
    ) -> None:
        """`orders`: what was ordered in this incident before, when it is in hand."""
        if orders is None:
            orders = await store.commands_of(unit, case.incident, kind)
        expires_at = statement.valid_until if statement else unit.now + _VALIDITY.get(kind, _DEVICE_VALIDITY)
        command = Command(
            command=next_id(case, kind, device or holder or "", orders),
            incident=case.incident,
            organisation=case.organisation,
            drill=case.drill,
            kind=kind,
            state=State.REQUESTED,
            provider=provider,
            target=target,
            device=device,
            line=line,
            holder=holder,
            statement=statement,
            trigger=trigger,
            reason=None,
            cause=cause,
            traceparent=current_traceparent(),
            ordered_at=unit.now,
            expires_at=expires_at,
            sent_at=None,
            ended_at=None,
            disarming_at=None,
        )
        await store.add_command(unit, command)
        await unit.arm(case.incident, command.timer("send"), unit.now)
        await unit.arm(case.incident, command.timer("expire"), expires_at)

    async def facts(self, unit: Unit, case: Case, statement: WipeStatement) -> wipe.Facts:
        """What this service itself knows, against which a wipe must hold."""
        device = await self.device(unit, case)
        return wipe.Facts(
            organisation=case.organisation,
            incident=case.incident,
            incident_state=case.state,
            drill=case.drill,
            device=case.device,
            ownership=device.ownership if device else None,
            managed=device is not None and self._providers.manages(device.mdm),
            decision_version=case.decision_version,
            nonce_used=await breaker.nonce_used(unit, statement.nonce),
            wipe_open=device is not None and bool(await store.open_for_device(unit, device.device, case, Kind.WIPE)),
        )

    async def disarm_wipes(self, unit: Unit, case: Case) -> bool:
        """Take back every wipe of this incident that a phone may still obey; whether there was one."""
        return await self._disarm(unit, case, Kind.WIPE)

    async def _disarm(self, unit: Unit, case: Case, kind: Kind, device: str | None = None) -> bool:
        commands = await store.commands_of(unit, case.incident, kind, device=device)
        armed = [command for command in commands if command.open]
        for command in armed:
            await unit.arm(case.incident, command.timer("disarm"), unit.now)
        return bool(armed)

    async def release(self, unit: Unit, case: Case, cause: str | None, device: str | None = None) -> None:
        """Let a phone go that is back, one step at a time: disarm the wipe, resume the line, then unlock.

        Called again whenever a step has ended. What is tried in vain does not stop what comes after it.
        """
        if case.over:
            await unit.disarm(case.incident, LINE_TIMER)
            await unit.disarm(case.incident, LOCATE_TIMER)
            await self._disarm(unit, case, Kind.LOCATE)
        phone = await fleet.device(unit, device, case.organisation) if device else await self.device(unit, case)
        if phone is None or await self._disarm(unit, case, Kind.WIPE, phone.device):
            return
        if phone.line:
            orders = await store.commands_of_line(unit, phone.line.line, case)
            state = line_state(orders)
            tried = bool(orders) and orders[-1].kind is Kind.RESUME_LINE
            if state is LineState.SUSPENDED and not tried:
                await self._to_line(unit, case, Kind.RESUME_LINE, phone, cause=cause)
                return
            if state is LineState.SUSPENDING and orders[-1].state is State.AWAITING_APPROVAL:
                await unit.arm(case.incident, orders[-1].timer("disarm"), unit.now)
            if state in (LineState.RESUMING, LineState.SUSPENDING):
                return
        await self._unlock(unit, case, phone, cause)

    async def _unlock(self, unit: Unit, case: Case, phone: Device, cause: str | None) -> None:
        commands = await store.commands_of(unit, case.incident, device=phone.device)
        if any(command.kind is Kind.WIPE and command.state is State.SUCCEEDED for command in commands):
            return
        modes = [
            command
            for command in commands
            if command.kind is Kind.UNLOCK or (command.kind is Kind.LOST_MODE and command.state is not State.FAILED)
        ]
        if not modes or modes[-1].kind is Kind.UNLOCK:
            return
        if phone.mdm and phone.udid:
            await self._order(
                unit,
                case,
                Kind.UNLOCK,
                commands,
                provider=phone.mdm,
                target=phone.udid,
                cause=cause,
                device=phone.device,
            )

    async def lock_again(self, unit: Unit, case: Case, cause: str) -> None:
        """Lock a phone that was let go when its case seemed over: the case goes on, and the phone is still lost."""
        if case.device is None:
            return
        commands = await store.commands_of(unit, case.incident, device=case.device)
        modes = [command for command in commands if command.kind in (Kind.LOST_MODE, Kind.UNLOCK)]
        wiped = any(command.kind is Kind.WIPE and command.state is State.SUCCEEDED for command in commands)
        if wiped or not modes or modes[-1].kind is not Kind.UNLOCK:
            return
        await self._disarm(unit, case, Kind.UNLOCK)
        await self.to_device(unit, case, Kind.LOST_MODE, cause)

    async def may_unlock(self, unit: Unit, case: Case) -> None:
        """Raises `Refusal` while a wipe is armed or the line is stopped: those come first."""
        if any(command.open for command in await store.commands_of(unit, case.incident, Kind.WIPE)):
            raise Refusal("wipe_still_armed")
        state = await self._line_state(unit, case, await self.device(unit, case))
        if state not in (None, LineState.ACTIVE):
            raise Refusal("line_still_suspended")

    async def locate_again(self, unit: Unit, case: Case) -> None:
        """Set the next locate. A phone that cannot be located is asked less and less often, down to once an hour."""
        if case.state is not IncidentState.OPEN or case.device is None:
            return
        locates = await store.commands_of(unit, case.incident, Kind.LOCATE, device=case.device)
        in_vain = 0
        for command in reversed(locates):
            if command.state is State.SUCCEEDED or command.open:
                break
            in_vain += 1
        every = case.playbook.locate_every
        pause = min(every * 2 ** min(in_vain, 10), max(every, timedelta(hours=1)))
        await unit.arm(case.incident, LOCATE_TIMER, unit.now + pause)

    async def is_locked(self, unit: Unit, case: Case) -> bool:
        """Whether the phone itself said that it is in lost mode, and nobody took it off since."""
        modes = await store.commands_of(unit, case.incident, Kind.LOST_MODE, Kind.UNLOCK, device=case.device)
        done = [command for command in modes if command.state is State.SUCCEEDED]
        return bool(done) and done[-1].kind is Kind.LOST_MODE
