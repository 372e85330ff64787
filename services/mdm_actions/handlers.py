"""Events in: what the reporter says about a case, and what it asks for."""

from dataclasses import replace
from datetime import timedelta

import structlog

from services.mdm_actions import breaker, fleet, store
from services.mdm_actions.approvers import ApproversFile, ApproversFileError
from services.mdm_actions.containment import ACTOR, LINE_TIMER, LOCATE_TIMER, Containment, Refusal
from services.mdm_actions.domain import wipe
from services.mdm_actions.domain.breaker import Trip, judge
from services.mdm_actions.domain.command import Kind
from services.mdm_actions.domain.line import IncidentState, named_trigger
from services.mdm_actions.domain.wipe import WipeRefusedError
from services.mdm_actions.playbooks import Playbooks
from services.mdm_actions.store import Case
from shared.events import Event
from shared.events.mdm_actions import BreakerOpened, CommandRejected
from shared.events.reporter import (
    ContainmentStep,
    DeviceLost,
    DeviceRecovered,
    Door,
    IncidentCancelled,
    IncidentClosed,
    IncidentReopened,
    IncidentTriaged,
    LineResumptionRequested,
    LineSuspensionRequested,
    LossReportAmended,
    PersonalDataErased,
    ReportVerified,
    StepRequested,
    WipeRequested,
    WipeWithdrawn,
)
from shared.messaging import Dispatch, Scope, Unit

_log = structlog.get_logger()


class Handlers:
    """Decides what each event means for phone, line and sessions."""

    def __init__(self, containment: Containment, playbooks: Playbooks, approvers: ApproversFile) -> None:
        self._containment = containment
        self._playbooks = playbooks
        self._approvers = approvers

    def dispatch(self) -> Dispatch:
        """The sink of this service."""
        return Dispatch(
            {
                DeviceLost: self.on_device_lost,
                ReportVerified: self.on_report_verified,
                LossReportAmended: self.on_loss_report_amended,
                IncidentTriaged: self.on_incident_triaged,
                StepRequested: self.on_step_requested,
                WipeRequested: self.on_wipe_requested,
                WipeWithdrawn: self.on_wipe_withdrawn,
                LineSuspensionRequested: self.on_line_suspension_requested,
                LineResumptionRequested: self.on_line_resumption_requested,
                DeviceRecovered: self.on_device_recovered,
                IncidentClosed: self.on_incident_closed,
                IncidentReopened: self.on_incident_reopened,
                IncidentCancelled: self.on_incident_cancelled,
                PersonalDataErased: on_personal_data_erased,
            }
        )

    async def on_device_lost(self, unit: Unit, lost: DeviceLost, event: Event) -> None:
        """An incident begins. A signed-in report starts containment; the emergency door waits for the desk."""
        envelope = event.envelope
        case = Case(
            incident=envelope.subject,
            organisation=envelope.organisation,
            drill=envelope.drill,
            state=IncidentState.OPEN,
            verified=lost.door is Door.SIGNED_IN,
            decision_version=1,
            device=lost.device,
            holder=lost.holder,
            reported_at=lost.reported_at,
            playbook=self._playbooks.of(envelope.organisation),
        )
        known = await self._containment.known(unit, case)
        if known.heard:
            return
        case = replace(case, device=_in_inventory(known.device, lost.device, case))
        await self._containment.begin(unit, case, envelope.id, known)

    async def on_report_verified(self, unit: Unit, _verified: ReportVerified, event: Event) -> None:
        """An emergency report is genuine: what waited starts."""
        case = await self._case(unit, event)
        if case is None or case.verified:
            return
        case = replace(case, verified=True)
        await store.save_case(unit, case)
        if case.state is IncidentState.OPEN:
            await self._containment.begin(unit, case, event.envelope.id)

    async def on_loss_report_amended(self, unit: Unit, amended: LossReportAmended, event: Event) -> None:
        """Perhaps phone or holder are known now, or are others."""
        case = await self._case(unit, event)
        if case is None:
            return
        moved = bool({"device", "holder"} & set(amended.changed))
        await self._named(unit, case, amended.device, amended.holder, event, moved=moved)

    async def on_incident_triaged(self, unit: Unit, triaged: IncidentTriaged, event: Event) -> None:
        """The desk put phone and holder on record."""
        case = await self._case(unit, event)
        if case is not None:
            await self._named(unit, case, triaged.device, triaged.holder, event, moved=False)

    async def _named(
        self, unit: Unit, before: Case, device: str | None, holder: str | None, event: Event, *, moved: bool
    ) -> None:
        """Plan again for another phone or holder. `moved`: people who signed decided about something else."""
        found = await fleet.device(unit, device, before.organisation) if device else None
        device = _in_inventory(found, device, before) or before.device
        after = replace(before, device=device, holder=holder or before.holder)
        changed = (after.device, after.holder) != (before.device, before.holder)
        if not (moved or changed):
            return
        after = replace(after, decision_version=before.decision_version + 1)
        await store.save_case(unit, after)
        await self._containment.disarm_wipes(unit, after)
        if not changed or after.state is not IncidentState.OPEN:
            return
        if before.device and before.device != after.device:
            await self._containment.release(unit, after, event.envelope.id, before.device)
        await self._containment.begin(unit, after, event.envelope.id)

    async def on_step_requested(self, unit: Unit, requested: StepRequested, event: Event) -> None:
        """The desk orders one reversible step outside the plan."""
        case = await self._case(unit, event)
        if case is None:
            return
        try:
            await self._step(unit, case, requested.step, event.envelope.id)
        except Refusal as refusal:
            await self._reject(unit, case, requested.step.value, refusal.reason, event)

    async def _step(self, unit: Unit, case: Case, step: ContainmentStep, cause: str) -> None:
        if not case.verified:
            raise Refusal("report_not_verified")
        if case.state is not IncidentState.OPEN and step is not ContainmentStep.UNLOCK:
            raise Refusal("incident_not_open")
        known = await self._containment.known(unit, case)
        lost_mode = self._containment.lock_kind(known)
        match step:
            case ContainmentStep.REVOKE_SESSIONS:
                await self._containment.revoke(unit, case, known, cause)
            case ContainmentStep.LOCK:
                await self._containment.to_device(unit, case, lost_mode, known, cause)
            case _ if step not in _NEED_LOST_MODE:
                raise Refusal("step_unknown")
            case _ if lost_mode is not Kind.LOST_MODE:
                raise Refusal("not_supervised")
            case ContainmentStep.UNLOCK:
                await self._containment.may_unlock(unit, case)
                await self._containment.to_device(unit, case, Kind.UNLOCK, known, cause)
            case _:
                await self._containment.to_device(unit, case, _NEED_LOST_MODE[step], known, cause)

    async def on_wipe_requested(self, unit: Unit, order: WipeRequested, event: Event) -> None:
        """Two people signed. Check everything again, by our own files and rows; then send it, once."""
        case = await self._case(unit, event)
        if case is None:
            return
        nonce = order.statement.nonce
        try:
            facts = await self._containment.facts(unit, case, order.statement)
            authorised = wipe.authorise(order, self._approvers.load(), facts, unit.now)
            await self._past_breaker(unit, case, authorised.people, event)
            await breaker.use_nonce(unit, case, nonce, authorised.people)
            known = await self._containment.known(unit, case)
            await self._containment.to_device(
                unit, case, Kind.WIPE, known, event.envelope.id, statement=order.statement
            )
        except (WipeRefusedError, Refusal) as refused:
            await self._reject(unit, case, "wipe", refused.reason, event, nonce=nonce)
        except ApproversFileError as error:
            # Without a file that can be trusted nobody's signature counts; the desk asks again when it is mended.
            _log.exception("approvers_file_broken", incident=case.incident, reason=str(error))
            await self._reject(unit, case, "wipe", "approvers_file_broken", event, nonce=nonce)

    async def _past_breaker(self, unit: Unit, case: Case, people: list[str], event: Event) -> None:
        await unit.lock(f"org-{case.organisation}")
        if (await breaker.load(unit, case.organisation, case.drill)).open:
            raise WipeRefusedError("breaker_open")
        rule = case.playbook.breaker
        longest = max(
            timedelta(minutes=rule.window_minutes),
            timedelta(hours=rule.approver_window_hours),
            timedelta(hours=rule.fleet_window_hours),
        )
        past = await breaker.past_wipes(unit, case, unit.now - longest)
        trip = judge(rule, past, people, await fleet.fleet_size(unit, case.organisation), unit.now)
        if trip is None:
            return
        await breaker.trip(unit, case.organisation, case.drill, trip.reason)
        scope = Scope(f"org-{case.organisation}", case.organisation, case.drill)
        await unit.emit(_opened(trip), scope, actor=ACTOR, cause=event.envelope.id)
        raise WipeRefusedError("breaker_open")

    async def on_wipe_withdrawn(self, unit: Unit, withdrawn: WipeWithdrawn, event: Event) -> None:
        """A wipe is taken back. Every signature from before this decision is stale."""
        case = await self._case(unit, event)
        if case is None:
            return
        version = max(withdrawn.decision_version, case.decision_version)
        await store.save_case(unit, replace(case, decision_version=version))
        await self._containment.disarm_wipes(unit, case)

    async def on_line_suspension_requested(self, unit: Unit, requested: LineSuspensionRequested, event: Event) -> None:
        """A named person has the line stopped before its turn."""
        case = await self._case(unit, event)
        if case is None:
            return
        hold = await self._containment.stop_line(unit, case, named_trigger(requested.reason), event.envelope.id)
        if hold:
            await self._reject(unit, case, "suspend_line", hold.reason, event)

    async def on_line_resumption_requested(self, unit: Unit, _requested: LineResumptionRequested, event: Event) -> None:
        """The line is wanted again."""
        case = await self._case(unit, event)
        if case is None:
            return
        hold = await self._containment.resume_line(unit, case, event.envelope.id)
        if hold:
            await self._reject(unit, case, "resume_line", hold.reason, event)

    async def on_device_recovered(self, unit: Unit, _recovered: DeviceRecovered, event: Event) -> None:
        """The phone is back: disarm the wipe, resume the line, then unlock."""
        case = await self._case(unit, event)
        if case is not None:
            moved = replace(case, state=IncidentState.RECOVERED, decision_version=case.decision_version + 1)
            await self._let_go(unit, moved, event)

    async def on_incident_cancelled(self, unit: Unit, _cancelled: IncidentCancelled, event: Event) -> None:
        """It was never lost: the same, in the same order. One that came back before stays so if the case goes on."""
        case = await self._case(unit, event)
        if case is not None:
            state = case.state if case.over else IncidentState.CANCELLED
            await self._let_go(unit, replace(case, state=state), event)

    async def _let_go(self, unit: Unit, case: Case, event: Event) -> None:
        await store.save_case(unit, case)
        await self._containment.release(unit, case, event.envelope.id)

    async def on_incident_closed(self, unit: Unit, _closed: IncidentClosed, event: Event) -> None:
        """The case is ended. An armed wipe stays armed until its validity ends; nothing new is started."""
        case = await self._case(unit, event)
        if case is None or case.over:
            return
        await store.save_case(unit, replace(case, state=IncidentState.CLOSED))
        await unit.disarm(case.incident, LOCATE_TIMER)

    async def on_incident_reopened(self, unit: Unit, _reopened: IncidentReopened, event: Event) -> None:
        """The case goes on: a phone that was let go is locked again, a locked one located, an open line gets its
        timer back.

        A phone that was recovered stays so; should it be lost once more, that is another incident.
        """
        case = await self._case(unit, event)
        if case is None or case.state in (IncidentState.OPEN, IncidentState.RECOVERED):
            return
        case = replace(case, state=IncidentState.OPEN)
        await store.save_case(unit, case)
        if case.verified and case.device:
            await self._containment.lock_again(unit, case, event.envelope.id)
            await unit.arm(case.incident, LOCATE_TIMER, unit.now)
            await unit.arm(case.incident, LINE_TIMER, unit.now + case.playbook.line_timer)

    async def _case(self, unit: Unit, event: Event) -> Case | None:
        case = await store.case(unit, event.envelope.subject)
        if case is None or case.organisation != event.envelope.organisation:
            _log.warning("incident_unknown", incident=event.envelope.subject, event_type=event.envelope.type)
            return None
        return case

    async def _reject(
        self, unit: Unit, case: Case, what: str, reason: str, event: Event, *, nonce: str | None = None
    ) -> None:
        rejected = CommandRejected(what=what, reason=reason, nonce=nonce)
        await unit.emit(rejected, case.scope, actor=ACTOR, cause=event.envelope.id)


async def on_personal_data_erased(unit: Unit, erased: PersonalDataErased, event: Event) -> None:
    """The vault no longer knows the person; neither does what is kept here in the clear."""
    if not erased.on_hold:
        await fleet.forget(unit, event.envelope.organisation, erased.person, erased.devices)


_NEED_LOST_MODE = {
    ContainmentStep.LOCATE: Kind.LOCATE,
    ContainmentStep.PLAY_SOUND: Kind.PLAY_SOUND,
    ContainmentStep.UNLOCK: Kind.UNLOCK,
}


def _in_inventory(found: fleet.Device | None, named: str | None, case: Case) -> str | None:
    """The device when the organisation's inventory has it: no event can name somebody else's phone."""
    if named and found is None:
        _log.warning("device_not_in_inventory", device=named, organisation=case.organisation)
    return found.device if found else None


def _opened(trip: Trip) -> BreakerOpened:
    return BreakerOpened(
        scope="organisation",
        reason=trip.reason,
        count=trip.count,
        limit=trip.limit,
        window_seconds=int(trip.window.total_seconds()),
    )
