"""Events in: what the notifier hears, and what it does about it."""

from datetime import datetime, timedelta

from services.notifier import store
from services.notifier.alerts import Alerts
from services.notifier.domain.case import Case
from services.notifier.duties import POLICE_TOLD, Duties
from services.notifier.store import Incident
from shared.events import Event, reporter
from shared.events import mdm_actions as mdm
from shared.events.payload import Payload
from shared.messaging import Dispatch, Scope, Timer, Unit, Units

_ASSESS_WITHIN = timedelta(hours=24)

_ALERTS: dict[type[Payload], str] = {
    mdm.LockFailed: "lock_failed",
    mdm.WipeFailed: "wipe_failed",
    mdm.WipeExpired: "wipe_expired",
    mdm.SessionRevocationFailed: "session_revocation_failed",
    mdm.CarrierSuspensionFailed: "carrier_suspension_failed",
    mdm.MisuseSuspected: "misuse_suspected",
    mdm.ManualTaskOpened: "manual_task_opened",
    mdm.CommandRejected: "command_rejected",
    mdm.BreakerOpened: "breaker_opened",
    reporter.DeviceRecovered: "device_recovered",
}
_FACTS: tuple[type[Payload], ...] = (
    reporter.DeviceLost,
    reporter.LossReportAmended,
    reporter.ReportVerified,
    reporter.IncidentTriaged,
    reporter.LeakAssessed,
    reporter.PoliceReportFiled,
    reporter.FacilityContacted,
    reporter.PreventionActionRecorded,
    reporter.DeviceRecovered,
    reporter.IncidentClosed,
    reporter.IncidentCancelled,
    reporter.IncidentReopened,
    mdm.DeviceLocked,
    mdm.DeviceLocated,
    mdm.WipeSent,
    mdm.WipeConfirmed,
    mdm.WipeFailed,
    mdm.WipeExpired,
    mdm.WipeDisarmed,
    mdm.CarrierSuspended,
    mdm.CarrierResumed,
    mdm.SessionsRevoked,
)


class Handlers:
    """Hears the log."""

    def __init__(self, units: Units, duties: Duties, alerts: Alerts) -> None:
        self._units = units
        self._duties = duties
        self._alerts = alerts

    def sink(self) -> Dispatch:
        """For the kit's consumer."""
        heard = dict.fromkeys((*_FACTS, *_ALERTS), self.hear)
        return Dispatch({**heard, reporter.PersonalDataErased: self.erased}, patient=True)

    async def hear(self, unit: Unit, payload: Payload, event: Event) -> None:
        """Fold the event into the case, then alert, open or meet what follows from it."""
        envelope = event.envelope
        scope = Scope(envelope.subject, envelope.organisation, envelope.drill)
        if isinstance(payload, _FACTS):
            before = await store.incident(unit.connection, scope.subject)
            known = Incident(before.scope if before else scope, (before.case if before else Case()).hear(payload))
            await store.save(unit, known)
            await self._follow(unit, payload, known, at=envelope.time, cause=envelope.id)
        kind = _ALERTS.get(type(payload))
        if kind is not None:
            await self._alerts.open(unit, scope, kind)

    async def _follow(self, unit: Unit, payload: Payload, known: Incident, *, at: datetime, cause: str) -> None:
        match payload:
            case reporter.DeviceLost():
                kind = "device_lost" if known.case.genuine else "report_not_verified"
                await self._alerts.open(unit, known.scope, kind)
                await self._run(unit, known, known.case.missed_at, cause)
                await self._await_assessment(unit, known)
            case reporter.ReportVerified():
                await self._run(unit, known, known.case.missed_at, cause)
                await self._await_assessment(unit, known)
            case reporter.LossReportAmended():
                await self._run(unit, known, known.case.known_at, cause)
            case reporter.IncidentTriaged():
                # What the desk found out is known since it said so, not since the phone was missed.
                await self._run(unit, known, at, cause)
            case reporter.LeakAssessed():
                await unit.disarm(known.id, "assess")
                await self._run(unit, known, known.case.known_at, cause)
            case reporter.PoliceReportFiled():
                await self._duties.meet_recipient(
                    unit, known, "police", how=POLICE_TOLD, at=payload.filed_at, cause=cause
                )
            case reporter.IncidentReopened():
                # The day to assess may have passed while the case was ended.
                await self._await_assessment(unit, known)
            case reporter.IncidentClosed() | reporter.IncidentCancelled():
                await self._alerts.end(unit, known.id)

    async def _run(self, unit: Unit, known: Incident, known_at: datetime | None, cause: str) -> None:
        """Rules on the report wait until it counts as genuine; an assessment makes it so."""
        case = known.case
        if not case.genuine and case.assessment is None:
            return
        await self._duties.run(unit, known, known_at=known_at or case.reported_at or unit.now, cause=cause)

    async def _await_assessment(self, unit: Unit, known: Incident) -> None:
        case = known.case
        if case.genuine and case.assessment is None:
            await unit.arm(known.id, "assess", (case.missed_at or unit.now) + _ASSESS_WITHIN)

    async def erased(self, unit: Unit, payload: reporter.PersonalDataErased, event: Event) -> None:
        """The vault no longer knows the person; neither does the list of people concerned."""
        if not payload.on_hold:
            await store.forget_contact(unit, payload.person, event.envelope.organisation)

    async def on_assess_timer(self, timer: Timer) -> None:
        """Nobody assessed the leak in time: unknown never suppresses a duty."""
        async with self._units.begin() as unit:
            await unit.lock(timer.subject)
            known = await store.incident(unit.connection, timer.subject)
            if known is not None and known.case.assessment is None and known.case.genuine and known.case.live:
                at = known.case.missed_at or unit.now
                await self._duties.run(unit, known, known_at=at, overdue_assessment=True, cause=None)
                await self._alerts.open(unit, known.scope, "assessment_missing")
            await unit.finish(timer)
