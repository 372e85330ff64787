"""What the desk decides about a case besides the wipe: triage, steps, line, recovery, prevention, the end.

Each rule raises `RefusedError` when it may not be taken now.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from services.reporter.domain.incident import By, Decision, Incident, RefusedError, Status
from services.reporter.domain.report import CLOCK_SKEW, amend, verify
from services.reporter.domain.tracks import line_ordered, ordered
from shared.events.payload import Answer, Payload
from shared.events.reporter import (
    BreakGlassUsed,
    Cause,
    ContainmentStep,
    DeviceRecovered,
    DeviceWrittenOff,
    FacilityContacted,
    IncidentCancelled,
    IncidentClosed,
    IncidentTriaged,
    LineResumptionRequested,
    LineSuspensionRequested,
    PoliceReportFiled,
    PreventionActionRecorded,
    StepRequested,
)

REVIEW_BREAK_GLASS_WITHIN = timedelta(hours=12)
LEEWAY = timedelta(days=1)
"""When the phone was missed is often remembered wrongly by hours."""
MAX_RECORDS = 100
"""Police reports, facilities and measures per case."""

type Act = str

MAY: Mapping[Act, tuple[str, ...]] = {
    "see": (
        "security_desk",
        "incident_lead",
        "approver",
        "privacy_officer",
        "executive",
        "disclosure_owner",
        "auditor",
    ),
    "see_contact": ("security_desk", "incident_lead", "privacy_officer"),
    "verify": ("security_desk", "incident_lead"),
    "triage": ("security_desk", "incident_lead"),
    "order_step": ("security_desk", "incident_lead"),
    "propose_wipe": ("security_desk", "incident_lead", "approver"),
    "approve_wipe": ("approver",),
    "withdraw_wipe": ("security_desk", "incident_lead", "approver"),
    "order_line": ("security_desk", "incident_lead"),
    "record_police": ("security_desk", "incident_lead"),
    "record_facility": ("security_desk", "incident_lead"),
    "assess": ("privacy_officer",),
    "second_exemption": ("privacy_officer", "executive"),
    "recover": ("security_desk", "incident_lead"),
    "write_off": ("incident_lead",),
    "record_prevention": ("security_desk", "incident_lead"),
    "close": ("incident_lead",),
    "reopen": ("incident_lead", "security_desk"),
    "cancel": ("incident_lead",),
    "erase": ("privacy_officer",),
    "disclose": ("privacy_officer",),
    "drill": ("security_desk", "incident_lead"),
}
"""Who may do what, by role; the first role that a person has is the one in which they act."""


def break_glass(incident: Incident, reason: str, by: By) -> Decision:
    """Verify a report without having called back, because waiting is worse. It will be reviewed."""
    decision = verify(incident, "break_glass", by)
    used = BreakGlassUsed(what="verify_without_call_back", reason=reason, review_by=by.at + REVIEW_BREAK_GLASS_WITHIN)
    return Decision(decision.incident, (used, *decision.events))


def triage(
    incident: Incident, cause: Cause, severity: str, by: By, *, changes: Mapping[str, Any] | None = None
) -> Decision:
    """Holder, device and cause are on record; what differs from the report is amended first."""
    incident.must_be_open()
    incident.must_be_verified()
    amended = amend(incident, {**(changes or {}), "cause": cause}, by)
    facts = amended.incident.facts
    after = amended.incident.model_copy(
        update={"triaged_at": amended.incident.triaged_at or by.at, "severity": severity}
    )
    told = IncidentTriaged(device=facts.device, holder=facts.holder, cause=facts.cause, severity=severity)
    return amended.then(Decision(after, (told,)))


def order_step(incident: Incident, step: ContainmentStep, reason: str, by: By) -> Decision:
    """One reversible step outside the plan."""
    incident.must_be_open()
    incident.must_be_verified()
    if step is not ContainmentStep.REVOKE_SESSIONS and incident.facts.device is None:
        raise RefusedError("device_unknown")
    if step is ContainmentStep.UNLOCK and incident.recovered is None:
        raise RefusedError("not_recovered")
    return Decision(ordered(incident, step, by.at), (StepRequested(step=step, reason=reason),))


def suspend_line(incident: Incident, reason: str, by: By, *, named: bool) -> Decision:
    """Stop the line now. Before the wipe has ended this cuts the way to the phone, so it must be ordered by name."""
    incident.must_be_open()
    if incident.recovered is not None:
        raise RefusedError("already_recovered")
    if incident.tracks.line.state in ("suspended", "suspend_requested", "resume_failed"):
        raise RefusedError("line_already_suspended")
    if incident.wipe.state not in ("confirmed", "failed", "expired") and not named:
        raise RefusedError("line_before_wipe", wipe=incident.wipe.state)
    ordered_now = line_ordered(incident, "suspend_requested", by.at)
    return Decision(ordered_now, (LineSuspensionRequested(reason=reason, named_by=by.name()),))


def resume_line(incident: Incident, reason: str, by: By) -> Decision:
    """The line is wanted again."""
    if incident.tracks.line.state not in ("suspended", "suspend_requested", "resume_failed"):
        raise RefusedError("line_not_suspended")
    return Decision(line_ordered(incident, "resume_requested", by.at), (LineResumptionRequested(reason=reason),))


def record_police(incident: Incident, report: PoliceReportFiled, by: By) -> Decision:
    """The police have the report, or have given its acceptance number."""
    incident.must_be_open()
    _must_be_since_the_loss(incident, report.filed_at, "filed_at", by)
    _must_have_room(incident.police)
    return Decision(incident.model_copy(update={"police": (*incident.police, report)}), (report,))


def record_facility(incident: Incident, contact: FacilityContacted, by: By) -> Decision:
    """The taxi company, station or shop was asked."""
    incident.must_be_open()
    _must_be_since_the_loss(incident, contact.contacted_at, "contacted_at", by)
    _must_have_room(incident.facilities)
    return Decision(incident.model_copy(update={"facilities": (*incident.facilities, contact)}), (contact,))


def recover(incident: Incident, told: DeviceRecovered, by: By) -> Decision:
    """The phone is in hand and is the right one."""
    incident.must_be_open()
    if incident.recovered is not None:
        raise RefusedError("already_recovered")
    if told.identity_checked is not Answer.YES:
        raise RefusedError("identity_not_checked")
    _must_be_since_the_loss(incident, told.recovered_at, "recovered_at", by)
    return Decision(recovered(incident, told), (told,))


def recovered(incident: Incident, told: DeviceRecovered) -> Incident:
    """The case with its phone back. Statements to wipe it are out of date, the assessment opens again."""
    return incident.model_copy(
        update={
            "recovered": told,
            "reassess": True,
            "written_off": None,
            "decision_version": incident.decision_version + 1,
        }
    )


def write_off(incident: Incident, reason: str) -> Decision:
    """The company gives up on this phone."""
    incident.must_be_open()
    if incident.recovered is not None:
        raise RefusedError("already_recovered")
    if incident.written_off is not None:
        raise RefusedError("already_written_off")
    return Decision(incident.model_copy(update={"written_off": reason}), (DeviceWrittenOff(reason=reason),))


def record_prevention(incident: Incident, action: PreventionActionRecorded) -> Decision:
    """A measure against the next time, or its new state. It may be recorded after the end as well."""
    if action.action not in incident.prevention:
        _must_have_room(incident.prevention)
    prevention = {**incident.prevention, action.action: action}
    return Decision(incident.model_copy(update={"prevention": prevention}), (action,))


def missing_for_closing(incident: Incident) -> list[str]:
    """What stands between this case and its end, as codes; empty when it may be closed."""
    gaps = (
        ("report_not_verified", not incident.verified),
        ("not_triaged", incident.triaged_at is None),
        ("wipe_open", bool(incident.live_wipes)),
        ("assessment_missing", not incident.assessments),
        ("assessment_outdated", incident.reassess),
        ("duties_open", bool(incident.open_duties)),
        ("prevention_missing", not incident.prevention),
    )
    return [name for name, is_missing in gaps if is_missing]


def close(incident: Incident, outcome: str, by: By) -> Decision:
    """The case is ended: every duty heard has ended, and what prevents the next one is recorded."""
    incident.must_be_open()
    missing = missing_for_closing(incident)
    if missing:
        raise RefusedError("not_ready_to_close", missing=missing)
    told = IncidentClosed(
        outcome=outcome,
        prevention_actions=len(incident.prevention),
        assessment_version=incident.assessments[-1].version,
    )
    return Decision(ended(incident, Status.CLOSED, outcome, by.at), (told,))


def cancel(incident: Incident, reason: str, by: By) -> Decision:
    """A false alarm. An open duty or an armed wipe is ended by itself first; nothing is dropped silently."""
    incident.must_be_open()
    missing = [
        name
        for name, is_open in (("duties_open", bool(incident.open_duties)), ("wipe_open", bool(incident.live_wipes)))
        if is_open
    ]
    if missing:
        raise RefusedError("not_ready_to_cancel", missing=missing)
    told: Payload = IncidentCancelled(reason=reason)
    return Decision(ended(incident, Status.CANCELLED, reason, by.at), (told,))


def ended(incident: Incident, status: Status, outcome: str, at: datetime) -> Incident:
    """The case with its end."""
    return incident.model_copy(update={"ended": status, "ended_at": at, "outcome": outcome})


def _must_be_since_the_loss(incident: Incident, moment: datetime, field: str, by: By) -> None:
    """A mistyped year would stand in the documents, and hide that something was late."""
    if moment > by.at + CLOCK_SKEW:
        raise RefusedError("moment_in_future", field=field)
    noticed_at = incident.facts.noticed_at
    if noticed_at is not None and moment < noticed_at - LEEWAY:
        raise RefusedError("moment_before_loss", field=field)


def _must_have_room(records: Any) -> None:
    if len(records) >= MAX_RECORDS:
        raise RefusedError("too_many_records", limit=MAX_RECORDS)
