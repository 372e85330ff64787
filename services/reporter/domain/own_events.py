"""A case again, from what the reporter itself had told of it: after a restore the log knows more than the database.

Events say everything about a case but people's words, which lay in the vault. So the case that follows from them is the
one that was; moments are those of the events, in milliseconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import singledispatch

from services.reporter.domain import desk, report, tracks, wipe
from services.reporter.domain.incident import Approval, Incident, Proposal, ProposalState, Status
from shared.events import reporter as said
from shared.events.payload import Payload


@dataclass(frozen=True)
class Saying:
    """Of which case the reporter spoke, who acted, and when."""

    incident: str
    organisation: str
    drill: bool
    person: str | None
    """None for somebody who had not signed in."""
    at: datetime


def opened(payload: said.DeviceLost, saying: Saying) -> Incident:
    """The case that this report opened."""
    signed_in = payload.door is said.Door.SIGNED_IN
    return Incident(
        id=saying.incident,
        organisation=saying.organisation,
        drill=saying.drill,
        door=payload.door,
        reported_as=payload.reported_as,
        reporter=payload.reporter,
        reported_at=payload.reported_at,
        locale=payload.locale,
        facts=report.facts_of(payload),
        verified_at=payload.reported_at if signed_in else None,
        verified_by="signed_in" if signed_in else None,
    )


def again(incident: Incident, payload: Payload, saying: Saying) -> Incident:
    """The case after the decision that this event told. Raises `RefusedError` when it is about an unknown proposal."""
    return _again(payload, incident, saying)


@singledispatch
def _again(payload: Payload, incident: Incident, saying: Saying) -> Incident:
    """What says nothing of the case itself, such as that the glass was broken."""
    return incident


@_again.register
def _(payload: said.LossReportAmended, incident: Incident, saying: Saying) -> Incident:
    if payload.changed == [report.FOUND_CLAIMED]:
        return _with(incident, found_claimed_at=saying.at, amendments=incident.amendments + 1)
    return report.amended(
        _with(incident, reports=incident.reports + payload.merged), report.facts_of(payload), payload.changed
    )


@_again.register
def _(payload: said.ReportVerified, incident: Incident, saying: Saying) -> Incident:
    return _with(incident, verified_at=payload.verified_at, verified_by=payload.method)


@_again.register
def _(payload: said.IncidentTriaged, incident: Incident, saying: Saying) -> Incident:
    return _with(incident, triaged_at=incident.triaged_at or saying.at, severity=payload.severity)


@_again.register
def _(payload: said.StepRequested, incident: Incident, saying: Saying) -> Incident:
    return tracks.ordered(incident, payload.step, saying.at)


@_again.register
def _(payload: said.LineSuspensionRequested, incident: Incident, saying: Saying) -> Incident:
    return tracks.line_ordered(incident, "suspend_requested", saying.at)


@_again.register
def _(payload: said.LineResumptionRequested, incident: Incident, saying: Saying) -> Incident:
    return tracks.line_ordered(incident, "resume_requested", saying.at)


@_again.register
def _(payload: said.WipeProposed, incident: Incident, saying: Saying) -> Incident:
    proposal = Proposal(
        statement=payload.statement,
        proposed=payload.proposed,
        proposer=saying.person or "",
        reason=payload.reason,
        proposed_at=saying.at,
    )
    return wipe.with_proposal(incident, proposal)


@_again.register
def _(payload: said.WipeApproved, incident: Incident, saying: Saying) -> Incident:
    approval = Approval(person=saying.person or "", approved=payload.approved, at=saying.at)
    return _proposal(incident, payload.nonce, lambda before: {"approvals": (*before.approvals, approval)})


@_again.register
def _(payload: said.WipeRequested, incident: Incident, saying: Saying) -> Incident:
    return _proposal(incident, payload.statement.nonce, lambda _: {"state": ProposalState.REQUESTED})


@_again.register
def _(payload: said.WipeDeclined, incident: Incident, saying: Saying) -> Incident:
    declined = {"state": ProposalState.DECLINED, "end_reason": payload.reason}
    return _proposal(incident, payload.nonce, lambda _: declined)


@_again.register
def _(payload: said.WipeWithdrawn, incident: Incident, saying: Saying) -> Incident:
    withdrawn = {"state": ProposalState.WITHDRAWN, "end_reason": payload.reason}
    after = _proposal(incident, payload.nonce, lambda _: withdrawn)
    return _with(after, decision_version=payload.decision_version)


@_again.register
def _(payload: said.PoliceReportFiled, incident: Incident, saying: Saying) -> Incident:
    return _with(incident, police=(*incident.police, payload))


@_again.register
def _(payload: said.FacilityContacted, incident: Incident, saying: Saying) -> Incident:
    return _with(incident, facilities=(*incident.facilities, payload))


@_again.register
def _(payload: said.LeakAssessed, incident: Incident, saying: Saying) -> Incident:
    return _with(incident, assessments=(*incident.assessments, payload), reassess=False)


@_again.register
def _(payload: said.DeviceRecovered, incident: Incident, saying: Saying) -> Incident:
    return desk.recovered(incident, payload)


@_again.register
def _(payload: said.DeviceWrittenOff, incident: Incident, saying: Saying) -> Incident:
    return _with(incident, written_off=payload.reason)


@_again.register
def _(payload: said.PreventionActionRecorded, incident: Incident, saying: Saying) -> Incident:
    return _with(incident, prevention={**incident.prevention, payload.action: payload})


@_again.register
def _(payload: said.IncidentClosed, incident: Incident, saying: Saying) -> Incident:
    return desk.ended(incident, Status.CLOSED, payload.outcome, saying.at)


@_again.register
def _(payload: said.IncidentCancelled, incident: Incident, saying: Saying) -> Incident:
    return desk.ended(incident, Status.CANCELLED, payload.reason, saying.at)


@_again.register
def _(payload: said.IncidentReopened, incident: Incident, saying: Saying) -> Incident:
    return report.open_again(incident)


def _with(incident: Incident, **changes: object) -> Incident:
    return incident.model_copy(update=changes)


def _proposal(incident: Incident, nonce: str, changes: Callable[[Proposal], Mapping[str, object]]) -> Incident:
    before = wipe.find(incident, nonce)
    return wipe.with_proposal(incident, before.model_copy(update=changes(before)))
