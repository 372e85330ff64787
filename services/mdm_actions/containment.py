"""What is ordered for a lost phone, its line and its holder's sessions, and in which order.

Everything here happens in the caller's unit, under the lock on the incident: rows, timers and events. The timers
of `commands` carry the orders out.
"""

from dataclasses import replace
from datetime import timedelta

from services.mdm_actions import breaker, fleet, store
from services.mdm_actions.domain import line, playbook, wipe
from services.mdm_actions.domain.command import Kind, State
from services.mdm_actions.domain.line import Hold, IncidentState, LineCase, LineState
from services.mdm_actions.domain.protection import Posture
from services.mdm_actions.fleet import Device
from services.mdm_actions.orders import Known, line_state, new_order, read_known
from services.mdm_actions.outside import Providers
from services.mdm_actions.store import Case, Command
from shared.events.mdm_actions import ContainmentPlanned, ProtectionSnapshotTaken, SuspensionTrigger
from shared.events.wipe import WipeStatement
from shared.messaging import Unit

ACTOR = "service/mdm_actions"

LINE_TIMER = "line"
LOCATE_TIMER = "locate"

_ON_SOMEBODYS_LIST = frozenset({State.AWAITING_APPROVAL, State.EXPIRED})
"""A person may still do it: the time of the order ends, and the task stays until somebody has called the carrier."""


class Refusal(Exception):  # noqa: N818 - an answer to the desk rather than an error
    """A step cannot be ordered now. `reason` is a code."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Containment:
    """Orders steps for one installation."""

    def __init__(self, providers: Providers) -> None:
        self._providers = providers

    async def begin(self, unit: Unit, case: Case, cause: str, known: Known | None = None) -> None:
        """Plan for what is known of the phone now, say so, and start what may start. Again whenever more is known.

        The case is stored with its first plan. `known`: of this case, when it is in hand.
        """
        known = known or await self.known(unit, case)
        device = known.device
        snapshot = await self._snapshot(unit, case, known, cause)
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
        started = [
            self._start(unit, case, step.kind, known, cause)
            for step in steps
            # Locating works only in lost mode: it follows the phone's own word that it is locked.
            if step.state == "now" and step.kind and step.step is not playbook.Step.LOCATE
        ]
        orders = [order for order in started if order]
        await store.save_plan(unit, case, planned.steps, event_id, snapshot=snapshot, orders=orders)
        for order in orders:
            await self._arm(unit, case, order)
        if case.verified and target.line:
            await unit.arm(case.incident, LINE_TIMER, unit.now + case.playbook.line_timer)

    async def known(self, unit: Unit, case: Case) -> Known:
        """What an order in this case rests on, as it stands now."""
        known = await read_known(unit, case)
        return known if case.organisation in self._providers.identity else replace(known, account=None)

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

    async def _snapshot(self, unit: Unit, case: Case, known: Known, cause: str) -> Posture | None:
        """How the phone was protected before the report, once in an incident."""
        device = known.device
        if device is None or known.snapshot_taken:
            return None
        posture = (known.posture or Posture(device=device.device, observed_at=case.reported_at)).model_copy(
            update={"last_check_in": device.last_seen_at}
        )
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
        return posture

    def _start(self, unit: Unit, case: Case, kind: Kind, known: Known, cause: str) -> Command | None:
        """Order a step of the plan, unless it was ordered before: planning again starts nothing twice."""
        earlier = [order for order in known.orders if order.kind is kind and order.incident == case.incident]
        if kind is Kind.REVOKE_SESSIONS:
            again = any(order.holder == known.holder for order in earlier)
            return None if again else self._revocation(unit, case, known, cause)
        again = any(order.device == case.device for order in earlier)
        return None if again else self._for_device(unit, case, kind, known, cause)

    async def revoke(self, unit: Unit, case: Case, known: Known, cause: str) -> None:
        """End the holder's sessions. Raises `Refusal`."""
        await self._give(unit, case, self._revocation(unit, case, known, cause))

    def _revocation(self, unit: Unit, case: Case, known: Known, cause: str) -> Command:
        if known.holder is None or known.account is None:
            raise Refusal("no_account")
        return new_order(
            case,
            Kind.REVOKE_SESSIONS,
            known.orders,
            unit.now,
            provider=self._providers.identity_name,
            target=known.account,
            cause=cause,
            holder=known.holder,
        )

    async def to_device(
        self,
        unit: Unit,
        case: Case,
        kind: Kind,
        known: Known,
        cause: str | None,
        *,
        statement: WipeStatement | None = None,
    ) -> None:
        """Send the phone one command. One that it has not yet answered is not sent twice. Raises `Refusal`."""
        order = self._for_device(unit, case, kind, known, cause, statement=statement)
        if order:
            await self._give(unit, case, order)

    def _for_device(
        self,
        unit: Unit,
        case: Case,
        kind: Kind,
        known: Known,
        cause: str | None,
        *,
        statement: WipeStatement | None = None,
    ) -> Command | None:
        device = known.device
        if device is None:
            raise Refusal("device_unknown")
        if device.mdm is None or device.udid is None or not self._providers.manages(device.mdm):
            raise Refusal("not_managed")
        if known.awaits(kind):
            return None
        return new_order(
            case,
            kind,
            known.orders,
            unit.now,
            provider=device.mdm,
            target=device.udid,
            cause=cause,
            device=device.device,
            statement=statement,
        )

    async def _give(self, unit: Unit, case: Case, order: Command) -> None:
        await store.add_command(unit, order)
        await self._arm(unit, case, order)

    async def _arm(self, unit: Unit, case: Case, order: Command) -> None:
        await unit.arm(order.incident, order.timer("send"), unit.now, in_hand=(case, order))
        await unit.arm(order.incident, order.timer("expire"), order.expires_at)

    def lock_kind(self, known: Known) -> Kind:
        """Lost mode where the phone takes it, else the screen lock."""
        takes = self._target(known.device, known.account is not None).takes_lost_mode
        return Kind.LOST_MODE if takes else Kind.LOCK

    async def stop_line(self, unit: Unit, case: Case, trigger: SuspensionTrigger, cause: str | None) -> Hold | None:
        """Stop the line of the lost phone when its time has come; the reason when it stays open."""
        phone = await self.device(unit, case)
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
        order = new_order(
            case,
            kind,
            await store.commands_of(unit, case.incident, kind),
            unit.now,
            provider=device.line.carrier,
            target=device.line.sim_id or "",
            cause=cause,
            device=device.device,
            line=device.line.line,
            trigger=trigger,
        )
        await self._give(unit, case, order)

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
            for order in orders:
                if order.kind is Kind.SUSPEND_LINE and order.state in _ON_SOMEBODYS_LIST:
                    await unit.arm(case.incident, order.timer("disarm"), unit.now)
            if state is LineState.SUSPENDED and not tried:
                await self._to_line(unit, case, Kind.RESUME_LINE, phone, cause=cause)
                return
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
            order = new_order(
                case,
                Kind.UNLOCK,
                commands,
                unit.now,
                provider=phone.mdm,
                target=phone.udid,
                cause=cause,
                device=phone.device,
            )
            await self._give(unit, case, order)

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
        await self.to_device(unit, case, Kind.LOST_MODE, await self.known(unit, case), cause)

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
