"""Which OCSF event each domain event becomes: one row per event of the registry.

`docs/ocsf-mapping.md` is generated from this table. A row is an allow-list: what it does not name stays inside.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.audit.feeds import ocsf_parts as parts
from services.audit.feeds.ocsf_classes import (
    CLOSE,
    CLOSED,
    COLLECT,
    COMPLIANCE,
    CREATE,
    CRITICAL,
    DATA_SECURITY,
    DELETE,
    DETECTION,
    ENTITY,
    EVICT,
    FAILURE,
    HIGH,
    IN_PROGRESS,
    INCIDENT,
    INFORMATIONAL,
    INVENTORY,
    ISOLATE,
    LOG,
    LOW,
    MEDIUM,
    NEW,
    OTHER,
    REMEDIATION,
    RESOLVED,
    RESTORE,
    RESUME,
    SUCCESS,
    SUPPRESSED,
    SUSPEND,
    UPDATE,
    EventClass,
)
from services.audit.feeds.ocsf_parts import Part, Told


@dataclass(frozen=True, slots=True)
class Row:
    """How one event is told. `status`: an id of the class, or a wording of ours, which is status 99.

    `keep`: facts of the payload that go into `unmapped`, by name, or by path inside a part. `more`: the attributes
    of the class; what it gives for activity, severity or status stands over the row's. `activity_varies`: it may give
    another activity.
    """

    event_class: EventClass
    activity: int
    severity: int
    status: int | str
    message: str
    keep: tuple[str, ...] = ()
    more: Callable[[Told], Part] = parts.nothing
    activity_varies: bool = False

    @property
    def status_id(self) -> int:
        return self.status if isinstance(self.status, int) else OTHER

    @property
    def type_uid(self) -> int:
        """By OCSF's own arithmetic."""
        return self.event_class.uid * 100 + self.activity


def _incident(severity: int, message: str, *keep: str, **other: Any) -> Row:
    return Row(INCIDENT, UPDATE, severity, IN_PROGRESS, message, keep, **other)


def _closing(activity: int, severity: int, status: int, message: str, *keep: str, verdict: int | None = None) -> Row:
    return Row(INCIDENT, activity, severity, status, message, keep, parts.verdict(verdict))


def _remedy(activity: int, severity: int, status: int | str, message: str, *keep: str, **other: Any) -> Row:
    return Row(REMEDIATION, activity, severity, status, message, keep, **other)


def _duty(activity: int, severity: int, status: int, message: str, *keep: str, compliance: int | str) -> Row:
    keep = ("duty", "rule", "phase", *keep)
    return Row(COMPLIANCE, activity, severity, status, message, keep, parts.duty(compliance))


def _detection(severity: int, message: str, *keep: str, **other: Any) -> Row:
    return Row(DETECTION, CREATE, severity, NEW, message, keep, **other)


_LOSS = (
    "cause", "place", "intoxication", "malicious_intent", "passcode_set", "passcode_attached", "attached", "data_items",
)  # fmt: skip
_DEVICE_FACTS = ("asset_tag", "ownership", "mdm", "storage_encrypted", "passcode_set")
_DISCLOSURE = ("disclosure", "version", "assessment_version", "text")
_CARRIER = ("line", "carrier", "command", "assurance", "effective_at", "reference")

# fmt: off
ROWS: Mapping[str, Row] = {
    # reporter
    "DeviceLost": Row(
        INCIDENT, CREATE, HIGH, NEW, "A phone was reported lost", ("door", "reported_as", *_LOSS), parts.lost
    ),
    "LossReportAmended": _incident(LOW, "The loss report changed", "changed", "merged", "known_at", *_LOSS),
    "ReportVerified": _incident(LOW, "The desk verified an emergency report", "method", "verified_at"),
    "IncidentTriaged": _incident(LOW, "Holder, phone and cause are on record", "cause", "severity"),
    "StepRequested": _incident(MEDIUM, "The desk ordered a step outside the plan", "step", "reason"),
    "WipeProposed": _remedy(
        EVICT,
        MEDIUM,
        "Proposed",
        "A wipe was proposed; another person has to approve it",
        "reason", "statement.decision_version", "statement.accept_by", "statement.valid_until", "proposed.keyid",
        more=parts.wipe_statement,
    ),
    "WipeApproved": _remedy(EVICT, MEDIUM, "Approved", "A wipe was approved", "approved.keyid", more=parts.wipe),
    "WipeRequested": _remedy(
        EVICT,
        CRITICAL,
        "Requested",
        "A wipe was ordered by people who signed for it",
        "statement.ownership", "statement.decision_version", "statement.valid_until", "proposed.keyid",
        more=parts.wipe_requested,
    ),
    "WipeDeclined": _remedy(EVICT, LOW, "Declined", "An approver declined a wipe", "reason", more=parts.wipe),
    "WipeWithdrawn": _remedy(
        EVICT, MEDIUM, "Withdrawn", "A wipe was taken back", "reason", "decision_version", more=parts.wipe
    ),
    "LineSuspensionRequested": _incident(
        MEDIUM, "A named person ordered the line stopped before the wipe has ended", "reason", "named_by"
    ),
    "LineResumptionRequested": _incident(MEDIUM, "The line is wanted again", "reason"),
    "PoliceReportFiled": _incident(
        MEDIUM, "The police have the report", "kind", "channel", "prefecture", "filed_at", "evidence",
        more=parts.police_tickets,
    ),
    "FacilityContacted": _incident(
        INFORMATIONAL, "The place of the loss was asked", "facility", "outcome", "contacted_at",
        more=parts.facility_ticket,
    ),
    "LeakAssessed": Row(
        DATA_SECURITY,
        CREATE,
        HIGH,
        NEW,
        "A version of the leak assessment was made",
        (
            "version", "leak", "left_organisation", "people", "people_certain", "records", "counting", "data_items",
            "special_care", "property_damage", "wrongful_purpose", "my_number", "my_number_people", "entrusted",
            "residency", "protection.encrypted", "protection.key_apart", "protection.remote_erase_ready",
            "protection.attempts_limited", "protection.locked_at_loss", "encryption_level", "lock_proof", "wipe_proof",
            "misuse_seen", "high_risk", "material", "known_at", "final",
        ),
        parts.leak,
        activity_varies=True,
    ),
    "DeviceRecovered": _incident(
        LOW, "The phone is back; the assessment is opened again", "recovered_at", "from_whom", "identity_checked",
        "viewed",
    ),
    "DeviceWrittenOff": _incident(LOW, "The company gave up on the phone", "reason"),
    "PreventionActionRecorded": _incident(
        INFORMATIONAL, "A measure against the next time was recorded", "action", "measure", "kind", "owner", "due",
        "state",
    ),
    "BreakGlassUsed": _detection(
        HIGH, "Somebody went ahead without the second person", "what", "reason", "review_by",
        more=parts.detection("break-glass", "Second person bypassed", "Control bypassed", alert=True),
    ),
    "PersonalDataErased": Row(
        ENTITY, DELETE, MEDIUM, SUCCESS, "One person's data was destroyed in the vault",
        ("ground", "fields", "on_hold"), parts.erased,
    ),
    "IncidentClosed": _closing(
        CLOSE, INFORMATIONAL, CLOSED, "The incident was closed", "outcome", "prevention_actions", "assessment_version",
        verdict=2,
    ),
    "IncidentReopened": _closing(UPDATE, MEDIUM, IN_PROGRESS, "The incident was opened again", "reason"),
    "IncidentCancelled": _closing(CLOSE, INFORMATIONAL, CLOSED, "False alarm", "reason", verdict=1),
    # mdm_actions
    "DeviceRegistered": Row(
        INVENTORY, LOG, INFORMATIONAL, SUCCESS, "A phone came into the inventory", _DEVICE_FACTS, parts.inventory
    ),
    "DeviceChanged": Row(
        INVENTORY, LOG, INFORMATIONAL, SUCCESS, "A phone's facts changed", ("changed", *_DEVICE_FACTS), parts.inventory
    ),
    "DeviceRetired": Row(
        ENTITY, DELETE, INFORMATIONAL, SUCCESS, "A phone left the inventory", ("reason",), parts.retired
    ),
    "ProtectionSnapshotTaken": Row(
        INVENTORY,
        COLLECT,
        INFORMATIONAL,
        SUCCESS,
        "The phone's protection from before the loss was put on record",
        (
            "taken_at", "last_check_in", "encrypted", "passcode_set", "mdm_enrolled", "remote_erase_ready",
            "attempts_limited", "encryption_level", "snapshot",
        ),
        parts.snapshot,
    ),
    "ContainmentPlanned": _incident(
        MEDIUM, "Containment was planned", "playbook", "playbook_version", "line", "steps", "waits_for_verification"
    ),
    "SessionsRevoked": _remedy(
        EVICT, MEDIUM, SUCCESS, "The holder's sign-in sessions end", "provider", "effective_at", more=parts.sessions
    ),
    "SessionRevocationFailed": _remedy(
        EVICT, HIGH, FAILURE, "The holder's sign-in sessions were not ended", "provider", more=parts.sessions
    ),
    "DeviceLocked": _remedy(
        ISOLATE, MEDIUM, SUCCESS, "The phone acknowledged the lock", "mode", "proof", "acknowledged_at", more=parts.lock
    ),
    "LockFailed": _remedy(ISOLATE, HIGH, FAILURE, "The phone was not locked", more=parts.lock),
    "DeviceUnlocked": _remedy(
        RESTORE, LOW, SUCCESS, "Lost mode was taken off", "acknowledged_at", more=parts.unlock
    ),
    "DeviceLocated": Row(
        INVENTORY, COLLECT, INFORMATIONAL, SUCCESS, "A position was obtained; it lies in the vault",
        ("command", "located_at", "accuracy_m", "source"), parts.located,
    ),
    "LocateFailed": Row(
        INVENTORY, COLLECT, LOW, FAILURE, "No position could be obtained", ("command",), parts.located
    ),
    "WipeSent": _remedy(
        EVICT, MEDIUM, "Sent", "The erase command was sent; the phone is not wiped by this", "command", "proof",
        "sent_at", more=parts.wipe,
    ),
    "WipeConfirmed": _remedy(
        EVICT, HIGH, SUCCESS, "The phone acknowledged the erase", "command", "proof", "confirmed_at", "evidence",
        more=parts.wipe,
    ),
    "WipeFailed": _remedy(
        EVICT, CRITICAL, FAILURE, "The phone or its server refused the erase", "command", more=parts.wipe
    ),
    "WipeExpired": _remedy(
        EVICT, CRITICAL, FAILURE, "The time for the erase passed without the phone's word", "command", "expired_at",
        more=parts.wipe,
    ),
    "WipeDisarmed": _remedy(
        EVICT, LOW, "Disarmed", "An armed wipe will not be handed out again", "command", "method", more=parts.wipe
    ),
    "WipeNotCancellable": _remedy(
        EVICT, HIGH, "Not cancellable", "It was too late to take the wipe back", "command", more=parts.wipe
    ),
    "CarrierSuspended": Row(
        ENTITY, SUSPEND, MEDIUM, SUCCESS, "The line is stopped", (*_CARRIER, "action", "trigger", "read_back"),
        parts.line(before=True, after=False),
    ),
    "CarrierSuspensionFailed": Row(
        ENTITY, SUSPEND, HIGH, FAILURE, "The line is still open", _CARRIER, parts.line(before=True)
    ),
    "CarrierResumed": Row(
        ENTITY, RESUME, LOW, SUCCESS, "The line works again", _CARRIER, parts.line(before=False, after=True)
    ),
    "MisuseSuspected": _detection(
        HIGH, "A sign that somebody uses the phone or its line", "signal",
        more=parts.detection("misuse", "Lost phone may be in use", "Misuse of a lost phone", alert=True),
    ),
    "ManualTaskOpened": _incident(
        LOW, "A person has to do what no interface can", "task", "kind", "carrier", "due_at"
    ),
    "ManualTaskDone": _incident(
        LOW, "A manual task was done", "task", "kind", "done_by", "confirmed_by", "reference", "evidence", "done_at"
    ),
    "CommandRejected": _detection(
        CRITICAL, "An order was refused before it reached any device", "what", "reason", "nonce", more=parts.rejected
    ),
    "BreakerOpened": _detection(
        CRITICAL, "Too many wipes: no more until two people reset the breaker", "scope", "reason", "count", "limit",
        "window_seconds", more=parts.breaker,
    ),
    "BreakerReset": Row(
        DETECTION, CLOSE, HIGH, RESOLVED, "Two people closed the breaker again", ("reset_by", "reason"), parts.breaker
    ),
    # notifier
    "AlertSent": _incident(INFORMATIONAL, "People inside were alerted", "alert", "kind", "role", "channels", "attempt"),
    "AlertAcknowledged": _incident(
        INFORMATIONAL, "Somebody took an alert", "alert", "kind", "acknowledged_by", "acknowledged_at"
    ),
    "DutyOpened": _duty(
        CREATE, MEDIUM, NEW, "Somebody must be told, by law or contract", "rule_version", "jurisdiction", "recipient",
        "provisional", "reasons", "assessment_version", "known_at", "soft_due", "due", compliance="Open",
    ),
    "DutyDueSoon": _duty(UPDATE, MEDIUM, IN_PROGRESS, "A duty is due soon", "due", compliance=2),
    "DutyOverdue": _duty(CREATE, CRITICAL, NEW, "A deadline passed and nothing was filed", "due", compliance=3),
    "DutyFiled": _duty(
        CLOSE, LOW, RESOLVED, "A person filed with the authority", "filed_at", "receipt", "receipt_hash",
        "assessment_version", "late", compliance=1,
    ),
    "DutyMet": _duty(CLOSE, LOW, RESOLVED, "A duty is fulfilled", "how", "met_at", compliance=1),
    "DutyWaived": _duty(
        CLOSE, MEDIUM, SUPPRESSED, "Two people found that a duty does not apply", "reason", "waived_by",
        compliance="Waived",
    ),
    "NoticesSent": _incident(
        LOW, "A batch of notices was handed to the providers", "batch", "template", "assessment_version", "people",
        "by_channel", "ledger", "started_at",
    ),
    "NoticesSettled": _incident(
        LOW, "Every person of a batch of notices has an outcome", "batch", "people", "by_state", "ledger", "settled_at"
    ),
    "DisclosureDrafted": _incident(INFORMATIONAL, "A public notice was drafted", *_DISCLOSURE, "languages"),
    "DisclosureApproved": _incident(MEDIUM, "A public notice was approved", *_DISCLOSURE, "approved_by"),
    "DisclosureIssued": _incident(
        HIGH, "The apology and notice is public", *_DISCLOSURE, "edition", "channels", "url", "people", "issued_at"
    ),
    "DisclosureRevised": _incident(
        MEDIUM, "A new edition replaced the public notice", *_DISCLOSURE, "edition", "reason", "issued_at"
    ),
    "DisclosureRetracted": _incident(
        HIGH, "The public notice was taken back", "disclosure", "version", "reason", "retracted_at"
    ),
    # audit
    "TimelineSealed": Row(
        INCIDENT, UPDATE, INFORMATIONAL, CLOSED, "The incident's timeline was sealed",
        ("entries", "head", "seal_seq", "size"),
    ),
    "IntegrityFinding": _detection(
        CRITICAL, "Something in the log does not verify, or its order is broken", "finding", "topic", "partition",
        "offset", "seq", more=parts.integrity,
    ),
}
# fmt: on

REFUSED: Mapping[str, Row] = {
    "unverified": _detection(
        HIGH, "A record on the log is signed by nobody of ours; it acts nowhere", more=parts.refused
    ),
    "unparsed": _detection(MEDIUM, "A record on the log is no event; it acts nowhere", more=parts.refused),
}
"""Entries of the timeline that are no domain event, by kind."""

LEFT_OUT: Mapping[str, str] = {
    "duplicate": "The same event sent once more; it is on the feed already, and a repeat says nothing new.",
    "gap": "Offsets that a partition does not give; told by the IntegrityFinding that is raised for it.",
    "seal": "Told by TimelineSealed.",
    "erasure": "Told by PersonalDataErased, behind which it stands.",
    "hold": "Told by PersonalDataErased, behind which it stands.",
    "index": "Says nothing that happened: the root of the index of all chains.",
    "anchor": "Says nothing that happened: a third party's timestamp of a checkpoint.",
    "export": "Has no time of its own; it is on lostphone.timeline.v1.",
    "key": "Has no time of its own; it is on lostphone.timeline.v1.",
    "restore": "Has no time of its own; it is on lostphone.timeline.v1, first of the log that goes on.",
}
"""Kinds of entries that give no OCSF event, and why."""
