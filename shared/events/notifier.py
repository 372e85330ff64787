"""Events that the notifier writes: who must be told, who was told, and what was published."""

from pydantic import Field

from shared.events.payload import Code, Count, Id, Instant, Payload, PersonRef, Reference, Sha256
from shared.events.registry import event

_ID = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e70"
_PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"
_OTHER_PERSON = "person-9a8b7c6d5e4f30211203f4e5d6c7b8a9"
_HASH = "5cfdbd10dfab15c1cc5ee84f10b3f1db459218da4dff4957fdde3108ef405b34"
_AT = "2026-11-24T23:41:07.000+09:00"
_DUTY = {"duty": _ID, "rule": "JP-APPI-1", "phase": "preliminary"}


@event("notifier", {"alert": _ID, "kind": "device_lost", "role": "security_desk", "channels": ["desk"], "attempt": 1})
class AlertSent(Payload):
    """People inside were alerted."""

    alert: Id
    kind: Code
    role: Code
    channels: list[Code]
    attempt: int = Field(ge=1)


@event(
    "notifier",
    {"alert": _ID, "kind": "device_lost", "acknowledged_by": _PERSON, "acknowledged_at": _AT},
    data_class="pseudonymous",
)
class AlertAcknowledged(Payload):
    """Somebody took it."""

    alert: Id
    kind: Code
    acknowledged_by: PersonRef
    acknowledged_at: Instant


@event(
    "notifier",
    _DUTY
    | {
        "rule_version": 1,
        "jurisdiction": "JP",
        "recipient": "ppc",
        "provisional": False,
        "reasons": ["more_than_1000_people", "exemption_not_satisfied"],
        "assessment_version": 1,
        "known_at": _AT,
        "soft_due": "2026-11-26T23:59:59.000+09:00",
        "due": "2026-11-28T23:59:59.000+09:00",
    },
)
class DutyOpened(Payload):
    """A rule found that somebody must be told, by when, and why."""

    duty: Id
    rule: str = Field(pattern=r"^[A-Z0-9-]{1,40}$")
    phase: Code
    rule_version: int
    jurisdiction: str
    recipient: Code
    provisional: bool = Field(description="A fact that decides is still unknown.")
    reasons: list[Code]
    assessment_version: int | None = None
    known_at: Instant
    soft_due: Instant | None = None
    due: Instant | None = Field(None, description="Absent where the law names no day.")


@event("notifier", _DUTY | {"due": _AT})
class DutyDueSoon(Payload):
    """The soft alarm of a duty."""

    duty: Id
    rule: str
    phase: Code
    due: Instant


@event("notifier", _DUTY | {"due": _AT})
class DutyOverdue(Payload):
    """The deadline passed and nothing was filed."""

    duty: Id
    rule: str
    phase: Code
    due: Instant


@event(
    "notifier",
    _DUTY
    | {"filed_at": _AT, "receipt": "PPC-2026-118842", "receipt_hash": _HASH, "assessment_version": 1, "late": False},
)
class DutyFiled(Payload):
    """A person filed with the authority and stored the receipt; Lostphone files nothing by itself."""

    duty: Id
    rule: str
    phase: Code
    filed_at: Instant
    receipt: Reference
    receipt_hash: Sha256 | None = None
    assessment_version: int | None = None
    late: bool


@event("notifier", _DUTY | {"how": "all_principals_told", "met_at": _AT})
class DutyMet(Payload):
    """The duty is fulfilled without a filing, such as when everybody was told."""

    duty: Id
    rule: str
    phase: Code
    how: Code
    met_at: Instant


@event(
    "notifier",
    _DUTY | {"reason": "strong_protection", "waived_by": [_PERSON, _OTHER_PERSON]},
    data_class="pseudonymous",
)
class DutyWaived(Payload):
    """Two people found that the duty does not apply, and say why."""

    duty: Id
    rule: str
    phase: Code
    reason: Code
    waived_by: list[PersonRef]


@event(
    "notifier",
    {
        "batch": _ID,
        "template": "jp-loss-v1",
        "assessment_version": 1,
        "people": 1240,
        "by_channel": {"mail": 1180, "line": 60},
        "ledger": _HASH,
        "started_at": _AT,
    },
)
class NoticesSent(Payload):
    """One batch of notices was handed to the providers. The ledger has one row per person; this is its hash."""

    batch: Id
    template: Code
    assessment_version: int | None = None
    people: Count
    by_channel: dict[Code, Count]
    ledger: Sha256
    started_at: Instant


@event(
    "notifier",
    {
        "batch": _ID,
        "people": 1240,
        "by_state": {"accepted": 1237, "bounced": 2, "uncertain": 1},
        "ledger": _HASH,
        "settled_at": _AT,
    },
)
class NoticesSettled(Payload):
    """Every person of the batch has an outcome."""

    batch: Id
    people: Count
    by_state: dict[Code, Count]
    ledger: Sha256
    settled_at: Instant


_DISCLOSURE = {"disclosure": _ID, "version": 1, "assessment_version": 1, "text": _HASH}


@event("notifier", _DISCLOSURE | {"languages": ["ja", "en"]})
class DisclosureDrafted(Payload):
    """A draft was made from one assessment version."""

    disclosure: Id
    version: int
    assessment_version: int
    text: Sha256 = Field(description="SHA-256 of the canonical text in all languages.")
    languages: list[str]


@event("notifier", _DISCLOSURE | {"approved_by": [_PERSON, _OTHER_PERSON]}, data_class="pseudonymous")
class DisclosureApproved(Payload):
    """Privacy officer and executive approved exactly this text."""

    disclosure: Id
    version: int
    assessment_version: int
    text: Sha256
    approved_by: list[PersonRef]


@event(
    "notifier",
    _DISCLOSURE
    | {
        "edition": "first",
        "channels": ["web"],
        "url": "https://notice.example/disclosures/2026-11-25",
        "people": 1240,
        "contact_desk_checked_at": _AT,
        "issued_at": _AT,
    },
)
class DisclosureIssued(Payload):
    """The apology and notice is public."""

    disclosure: Id
    version: int
    assessment_version: int
    text: Sha256
    edition: Code
    channels: list[Code]
    url: str | None = Field(None, max_length=400)
    people: Count | None = None
    contact_desk_checked_at: Instant | None = None
    issued_at: Instant


@event("notifier", _DISCLOSURE | {"edition": "second", "reason": "headcount_changed", "issued_at": _AT})
class DisclosureRevised(Payload):
    """A new edition replaced the public text; the old one stays readable."""

    disclosure: Id
    version: int
    assessment_version: int
    text: Sha256
    edition: Code
    reason: Code
    issued_at: Instant


@event("notifier", {"disclosure": _ID, "version": 1, "reason": "issued_in_error", "retracted_at": _AT})
class DisclosureRetracted(Payload):
    """The public text was taken back, visibly."""

    disclosure: Id
    version: int
    reason: Code
    retracted_at: Instant
