"""The notifier's own view of a case: folded from events, and from nothing else."""

from datetime import date, datetime
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict

from shared.events import mdm_actions, reporter
from shared.events.payload import YEARS, Answer, Payload, ProofLevel, SeenInstant
from shared.events.reporter import Attached, Cause, DataItem, Door, LeakAssessed, Place


class CaseState(StrEnum):
    """What this service has heard about the case as a whole."""

    OPEN = "open"
    RECOVERED = "recovered"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class Police(_Fact):
    """One report to the police."""

    kind: str
    filed_at: datetime
    number: str | None = None


class Facility(_Fact):
    """One place that was asked."""

    facility: Place
    outcome: str
    contacted_at: datetime


class Prevention(_Fact):
    """One measure against the next time."""

    action: str
    measure: str
    state: str
    due: date | None = None


class Case(_Fact):
    """What the notifier knows of one incident. `hear` makes the next view; views are never changed in place."""

    state: CaseState = CaseState.OPEN
    door: Door = Door.OTHER
    device: str | None = None
    holder: str | None = None
    verified: bool = False
    noticed_at: SeenInstant = None
    reported_at: datetime | None = None
    known_at: SeenInstant = None
    cause: Cause = Cause.UNKNOWN
    intoxication: Answer = Answer.UNKNOWN
    malicious_intent: Answer = Answer.UNKNOWN
    place: Place = Place.UNKNOWN
    passcode_attached: Answer = Answer.UNKNOWN
    attached: tuple[Attached, ...] = ()
    data_items: tuple[DataItem, ...] = ()
    locked_at: datetime | None = None
    lock_proof: ProofLevel = ProofLevel.P0
    located_at: datetime | None = None
    wipe_sent_at: datetime | None = None
    wiped_at: datetime | None = None
    wipe_proof: ProofLevel = ProofLevel.P0
    line_stopped_at: datetime | None = None
    line_resumed_at: datetime | None = None
    sessions_ended_at: datetime | None = None
    sessions_holder: str | None = None
    """Whose they were, where that was said."""
    police: tuple[Police, ...] = ()
    facilities: tuple[Facility, ...] = ()
    recovered_at: datetime | None = None
    assessment: LeakAssessed | None = None
    prevention: tuple[Prevention, ...] = ()
    unreached: int = 0
    """People of settled notices who could not be reached."""

    @property
    def genuine(self) -> bool:
        """Whether the report counts as genuine: signed in, or verified by the desk."""
        return self.verified or self.door is Door.SIGNED_IN

    @property
    def missed_at(self) -> datetime | None:
        """Since when the company knows of the loss itself, whatever it learned about it later: since the holder did."""
        return self.noticed_at or self.reported_at

    @property
    def live(self) -> bool:
        """Whether the case still asks for work."""
        return self.state in (CaseState.OPEN, CaseState.RECOVERED)

    def hear(self, payload: Payload) -> Self:  # noqa: C901, PLR0911, PLR0912 - one line per event
        """The view after one more event. What is heard of another phone than the lost one changes nothing."""
        if isinstance(payload, _OF_ONE_PHONE) and self.device and payload.device not in (None, self.device):
            return self
        match payload:
            case reporter.DeviceLost():
                first = {"door": payload.door, "reported_at": payload.reported_at}
                return self._with(**_loss(payload), **first, known_at=payload.noticed_at or payload.reported_at)
            case reporter.LossReportAmended():
                return self._with(**self._not_lost(payload), **_loss(payload), known_at=payload.known_at)
            case reporter.IncidentTriaged():
                return self._with(cause=payload.cause)
            case reporter.ReportVerified():
                return self._with(verified=True)
            case reporter.LeakAssessed():
                return self._assessed(payload)
            case reporter.PoliceReportFiled():
                return self._with(police=(*self.police, _police(payload)))
            case reporter.FacilityContacted():
                return self._with(facilities=(*self.facilities, _facility(payload)))
            case reporter.PreventionActionRecorded():
                return self._with(prevention=_prevention(self.prevention, payload))
            case reporter.DeviceRecovered():
                return self._with(state=CaseState.RECOVERED, recovered_at=payload.recovered_at)
            case reporter.IncidentClosed():
                return self._with(state=CaseState.CLOSED)
            case reporter.IncidentCancelled():
                return self._with(state=CaseState.CANCELLED)
            case reporter.IncidentReopened():
                return self._with(state=CaseState.RECOVERED if self.recovered_at else CaseState.OPEN)
            case mdm_actions.DeviceLocked():
                return self._with(locked_at=payload.acknowledged_at, lock_proof=payload.proof)
            case mdm_actions.DeviceLocated():
                return self._with(located_at=payload.located_at)
            case mdm_actions.WipeSent():
                # Heard after the confirmation it is old news; it never lowers or lifts a proof beyond "sent".
                return self if self.wiped_at else self._with(wipe_sent_at=payload.sent_at, wipe_proof=_sent(payload))
            case mdm_actions.WipeConfirmed():
                return self._with(wiped_at=payload.confirmed_at, wipe_proof=payload.proof)
            case mdm_actions.WipeFailed() | mdm_actions.WipeExpired() | mdm_actions.WipeDisarmed():
                return self if self.wiped_at else self._with(wipe_proof=self._after_end())
            case mdm_actions.CarrierSuspended():
                return self._with(line_stopped_at=payload.effective_at, line_resumed_at=None)
            case mdm_actions.CarrierResumed():
                return self._with(line_resumed_at=payload.effective_at)
            case mdm_actions.SessionsRevoked():
                if None not in (payload.holder, self.holder) and payload.holder != self.holder:
                    return self
                return self._with(sessions_ended_at=payload.effective_at, sessions_holder=payload.holder)
            case _:
                return self

    def _assessed(self, assessment: LeakAssessed) -> Self:
        if self.assessment is not None and assessment.version <= self.assessment.version:
            return self
        # What no calendar shows, and earlier releases took, is not known.
        known_at = assessment.known_at if assessment.known_at.year in YEARS else self.known_at
        return self._with(assessment=assessment, known_at=known_at)

    def _not_lost(self, amended: reporter.LossReportAmended) -> dict[str, object]:
        """What was done to a phone or a holder's sessions, forgotten when the report is about others now."""
        others = "holder" in amended.changed and (self.sessions_holder or "") != amended.holder
        names = (
            *(_OF_THE_PHONE if "device" in amended.changed else ()),
            *(("sessions_ended_at", "sessions_holder") if others else ()),
        )
        return {name: Case.model_fields[name].default for name in names}

    def _after_end(self) -> ProofLevel:
        return ProofLevel.P1 if self.wipe_sent_at else ProofLevel.P0

    def _with(self, **changes: object) -> Self:
        return self.model_copy(update=changes)


_OF_ONE_PHONE = (
    mdm_actions.DeviceLocked,
    mdm_actions.DeviceLocated,
    mdm_actions.WipeSent,
    mdm_actions.WipeConfirmed,
    mdm_actions.WipeFailed,
    mdm_actions.WipeExpired,
    mdm_actions.WipeDisarmed,
    mdm_actions.CarrierSuspended,
    mdm_actions.CarrierResumed,
)
_OF_THE_PHONE = (
    "locked_at", "lock_proof", "located_at", "wipe_sent_at", "wiped_at", "wipe_proof", "line_stopped_at",
    "line_resumed_at",
)  # fmt: skip


def _loss(report: reporter.LossFacts) -> dict[str, object]:
    return {
        "device": report.device,
        "holder": report.holder,
        "noticed_at": report.noticed_at,
        "cause": report.cause,
        "intoxication": report.intoxication,
        "malicious_intent": report.malicious_intent,
        "place": report.place,
        "passcode_attached": report.passcode_attached,
        "attached": tuple(report.attached),
        "data_items": tuple(report.data_items),
    }


def _sent(sent: mdm_actions.WipeSent) -> ProofLevel:
    return sent.proof if sent.proof in (ProofLevel.P1, ProofLevel.P2) else ProofLevel.P1


def _police(report: reporter.PoliceReportFiled) -> Police:
    number = report.acceptance_number or report.reception_number
    return Police(kind=report.kind, filed_at=report.filed_at, number=number)


def _facility(contact: reporter.FacilityContacted) -> Facility:
    return Facility(facility=contact.facility, outcome=contact.outcome, contacted_at=contact.contacted_at)


def _prevention(stands: tuple[Prevention, ...], recorded: reporter.PreventionActionRecorded) -> tuple[Prevention, ...]:
    new = Prevention(action=recorded.action, measure=recorded.measure, state=recorded.state, due=recorded.due)
    return (*(item for item in stands if item.action != new.action), new)
