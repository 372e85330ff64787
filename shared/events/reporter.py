"""Events that the reporter writes: what is true about the case."""

from datetime import date

from pydantic import Field

from shared.events.payload import (
    Answer,
    Code,
    Count,
    DeviceId,
    Digest,
    EncryptionLevel,
    Id,
    Instant,
    OpenEnum,
    Part,
    Payload,
    PersonRef,
    ProofLevel,
    Reference,
    SeenInstant,
    Sha256,
)
from shared.events.registry import event
from shared.events.wipe import StatementSignature, WipeStatement

_DEVICE = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f"
_PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"
_OTHER_PERSON = "person-9a8b7c6d5e4f30211203f4e5d6c7b8a9"
_DIGEST = "Hq0yqvY3mXkz1h2Z3b4C5d6E7f8G9h0I1j2K3l4M5n6"
_HASH = "5cfdbd10dfab15c1cc5ee84f10b3f1db459218da4dff4957fdde3108ef405b34"
_SIGNATURE = {"keyid": "desk-1", "signature": "A" * 86 + "=="}
_STATEMENT = {
    "organisation": "acme-kk",
    "incident": "0192f0c1-0000-7000-8000-000000000001",
    "device": _DEVICE,
    "ownership": "company",
    "action": "erase",
    "drill": False,
    "decision_version": 1,
    "accept_by": "2026-11-25T23:40:00.000+09:00",
    "valid_until": "2026-12-24T23:40:00.000+09:00",
    "nonce": "00112233445566778899aabbccddeeff",
}


class Door(OpenEnum):
    """How a report came in."""

    SIGNED_IN = "signed_in"
    EMERGENCY = "emergency"
    OTHER = "other"


class ReportedAs(OpenEnum):
    """Who speaks: the one who held the phone, or somebody for them."""

    HOLDER = "holder"
    PROXY = "proxy"
    OTHER = "other"


class Cause(OpenEnum):
    """Why the phone is gone. It changes the legal category, so it is a fact of its own."""

    LOST_WHILE_OUT = "lost_while_out"
    LEFT_BEHIND = "left_behind"
    THEFT = "theft"
    INTOXICATION = "intoxication"
    ON_PREMISES_MISPLACED = "on_premises_misplaced"
    UNKNOWN = "unknown"
    OTHER = "other"


class Place(OpenEnum):
    """The kind of place; the place itself lies in the vault."""

    TAXI = "taxi"
    TRAIN = "train"
    BUS = "bus"
    AIRCRAFT = "aircraft"
    RESTAURANT = "restaurant"
    SHOP = "shop"
    HOTEL = "hotel"
    STREET = "street"
    OFFICE = "office"
    HOME = "home"
    ABROAD = "abroad"
    UNKNOWN = "unknown"
    OTHER = "other"


class Attached(OpenEnum):
    """What was in the case with the phone."""

    CARDS = "cards"
    PAPERS = "papers"
    KEY_CARD = "key_card"
    PASSCODE_NOTE = "passcode_note"
    OTHER = "other"


class DataItem(OpenEnum):
    """What kind of data the phone holds or reaches."""

    CONTACTS = "contacts"
    MAIL = "mail"
    CHAT = "chat"
    CALL_LOG = "call_log"
    PHOTOS = "photos"
    DOCUMENTS = "documents"
    CUSTOMER_RECORDS = "customer_records"
    CREDENTIALS = "credentials"
    PAYMENT = "payment"
    HEALTH = "health"
    LOCATION = "location"
    MY_NUMBER = "my_number"
    OTHER = "other"


class LossFacts(Payload):
    """What the report says. Three answers are enough to accept it; the rest may be unknown."""

    device: DeviceId | None = Field(None, description="Unknown when the phone could not be found in the inventory.")
    phone_hint: Digest | None = Field(None, description="What the reporter typed to say which phone or line it was.")
    holder: PersonRef | None = Field(None, description="Who held it, when the inventory or the sign-in says.")
    holder_name: Digest | None = Field(None, description="Who held it, as typed.")
    callback: Digest = Field(description="A way to reach the reporter that is not the lost phone.")
    noticed_at: SeenInstant = None
    last_seen_from: SeenInstant = None
    last_seen_to: SeenInstant = None
    cause: Cause = Cause.UNKNOWN
    intoxication: Answer = Answer.UNKNOWN
    malicious_intent: Answer = Answer.UNKNOWN
    place: Place = Place.UNKNOWN
    place_detail: Digest | None = None
    circumstances: Digest | None = None
    passcode_set: Answer = Answer.UNKNOWN
    passcode_attached: Answer = Field(Answer.UNKNOWN, description="A passcode written on or in the case.")
    attached: list[Attached] = Field([])
    data_items: list[DataItem] = Field([])


_LOSS_EXAMPLE = {
    "device": _DEVICE,
    "holder": _PERSON,
    "callback": _DIGEST,
    "noticed_at": "2026-11-24T23:20:00.000+09:00",
    "cause": "left_behind",
    "intoxication": "yes",
    "malicious_intent": "unknown",
    "place": "taxi",
    "passcode_set": "yes",
    "passcode_attached": "yes",
    "attached": ["passcode_note"],
    "data_items": ["contacts", "mail"],
}


@event(
    "reporter",
    {"door": "signed_in", "reported_as": "proxy", "reporter": _OTHER_PERSON}
    | _LOSS_EXAMPLE
    | {"reported_at": "2026-11-24T23:40:00.000+09:00", "locale": "ja"},
    data_class="pseudonymous",
)
class DeviceLost(LossFacts):
    """A report was accepted: an incident begins. Containment starts at once for a signed-in report and
    after `ReportVerified` for the emergency door."""

    door: Door
    reported_as: ReportedAs
    reporter: PersonRef | None = None
    reported_at: Instant
    locale: str = Field("ja", pattern=r"^(ja|en)$")


@event(
    "reporter",
    _LOSS_EXAMPLE
    | {"cause": "theft", "changed": ["cause"], "merged": False, "known_at": "2026-11-25T09:10:00.000+09:00"},
    data_class="pseudonymous",
)
class LossReportAmended(LossFacts):
    """The facts of the report after a change. `merged` marks a second report of the same loss that was joined to
    this incident; both are kept."""

    changed: list[Code]
    merged: bool = False
    known_at: Instant = Field(description="When the changed facts became known: clocks that depend on them start here.")


@event("reporter", {"method": "call_back", "verified_at": "2026-11-24T23:48:00.000+09:00"})
class ReportVerified(Payload):
    """The desk made sure that an emergency report is genuine: reversible steps may start."""

    method: Code
    verified_at: Instant


@event(
    "reporter",
    {"device": _DEVICE, "holder": _PERSON, "cause": "left_behind", "severity": "high"},
    data_class="pseudonymous",
)
class IncidentTriaged(Payload):
    """Holder, device and cause are on record."""

    device: DeviceId | None = None
    holder: PersonRef | None = None
    cause: Cause
    severity: Code


class ContainmentStep(OpenEnum):
    """A step that the desk may order outside the plan."""

    REVOKE_SESSIONS = "revoke_sessions"
    LOCK = "lock"
    LOCATE = "locate"
    PLAY_SOUND = "play_sound"
    UNLOCK = "unlock"
    OTHER = "other"


@event("reporter", {"step": "locate", "reason": "holder_remembers_taxi_company"})
class StepRequested(Payload):
    """The desk orders one reversible step outside the plan."""

    step: ContainmentStep
    reason: Code


@event("reporter", {"statement": _STATEMENT, "proposed": _SIGNATURE, "reason": "no_contact_and_passcode_note"})
class WipeProposed(Payload):
    """One person proposed to wipe the phone, and signed the statement."""

    statement: WipeStatement
    proposed: StatementSignature
    reason: Code
    reason_text: Digest | None = None


@event("reporter", {"nonce": _STATEMENT["nonce"], "approved": _SIGNATURE})
class WipeApproved(Payload):
    """Another person signed the same statement."""

    nonce: str
    approved: StatementSignature


@event("reporter", {"statement": _STATEMENT, "proposed": _SIGNATURE, "approved": [_SIGNATURE]})
class WipeRequested(Payload):
    """Enough people signed: the order to wipe. `mdm_actions` verifies every signature again, by its own key file."""

    statement: WipeStatement
    proposed: StatementSignature
    approved: list[StatementSignature] = Field(min_length=1, max_length=8)


@event("reporter", {"nonce": _STATEMENT["nonce"], "reason": "wait_for_taxi_company"})
class WipeDeclined(Payload):
    """An approver said no."""

    nonce: str
    reason: Code


@event("reporter", {"nonce": _STATEMENT["nonce"], "reason": "device_found", "decision_version": 2})
class WipeWithdrawn(Payload):
    """A proposed or requested wipe is taken back; an armed command is disarmed where the provider can."""

    nonce: str
    reason: Code
    decision_version: int = Field(ge=2)


@event("reporter", {"reason": "misuse_of_line", "named_by": _PERSON}, data_class="pseudonymous")
class LineSuspensionRequested(Payload):
    """A named person orders the line stopped before the wipe has ended, because misuse of it is the larger risk."""

    reason: Code
    named_by: PersonRef


@event("reporter", {"reason": "device_found"})
class LineResumptionRequested(Payload):
    """The line is wanted again."""

    reason: Code


class PoliceReportKind(OpenEnum):
    """遺失届 for a loss, 被害届 for a crime; they can both be filed."""

    LOST_PROPERTY = "lost_property"
    CRIME = "crime"
    OTHER = "other"


@event(
    "reporter",
    {
        "kind": "lost_property",
        "channel": "online",
        "prefecture": "tokyo",
        "filed_at": "2026-11-25T00:30:00.000+09:00",
        "reception_number": "R-20261125-0042",
    },
)
class PoliceReportFiled(Payload):
    """The police have the report. The online flow gives a reception number first and an acceptance number later."""

    kind: PoliceReportKind
    channel: Code
    prefecture: Code | None = None
    filed_at: Instant
    reception_number: Reference | None = None
    acceptance_number: Reference | None = None
    filed_by: PersonRef | None = None
    evidence: Sha256 | None = Field(None, description="SHA-256 of the copy that is kept.")


@event(
    "reporter",
    {
        "facility": "taxi",
        "outcome": "contacted",
        "contacted_at": "2026-11-25T00:40:00.000+09:00",
        "reference": "TX-118",
    },
)
class FacilityContacted(Payload):
    """The taxi company, station or shop was asked."""

    facility: Place
    name: Digest | None = None
    outcome: Code = Field(description="contacted, holding, not_found or handed_to_police.")
    contacted_at: Instant
    reference: Reference | None = None


class Leak(OpenEnum):
    """漏えい. `suspected` carries the same duties as `confirmed`."""

    NONE = "none"
    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    OTHER = "other"


class ProtectionFacts(Part):
    """The predicates of the exemption for strong protection (APPI Enforcement Rules, Article 7)."""

    encrypted: Answer = Field(description="X1: storage encrypted by a listed algorithm, shown by the snapshot.")
    key_apart: Answer = Field(description="X2a: key or passcode kept apart from the phone.")
    remote_erase_ready: Answer = Field(description="X2b: a function to erase remotely existed before the loss.")
    attempts_limited: Answer = Field(description="X2c: a third party cannot exercise the key.")
    locked_at_loss: Answer = Field(description="X3: locked when it was lost.")
    signed_off_by: PersonRef | None = Field(None, description="The privacy officer who found the exemption satisfied.")
    seconded_by: PersonRef | None = Field(
        None, description="The second person who found so; with one alone the exemption is undetermined."
    )


@event(
    "reporter",
    {
        "version": 1,
        "leak": "suspected",
        "left_organisation": "yes",
        "people": 1240,
        "people_certain": True,
        "records": 1310,
        "counting": "address_book_export",
        "data_items": ["contacts", "mail"],
        "special_care": "no",
        "property_damage": "no",
        "wrongful_purpose": "unknown",
        "my_number": "no",
        "entrusted": "no",
        "residency": ["JP"],
        "protection": {
            "encrypted": "yes",
            "key_apart": "no",
            "remote_erase_ready": "yes",
            "attempts_limited": "yes",
            "locked_at_loss": "yes",
        },
        "encryption_level": "E2",
        "lock_proof": "P3",
        "wipe_proof": "P3",
        "misuse_seen": "no",
        "known_at": "2026-11-24T23:20:00.000+09:00",
        "assessed_at": "2026-11-25T10:00:00.000+09:00",
        "final": False,
    },
    data_class="pseudonymous",
)
class LeakAssessed(Payload):
    """One version of the leak assessment. Regulator's report, notices and apology are fed by the same version."""

    version: int = Field(ge=1)
    leak: Leak
    left_organisation: Answer
    people: Count | None = Field(None, description="People concerned; absent when not known.")
    people_certain: bool = Field(False, description="False: an estimate, or a lower bound.")
    records: Count | None = None
    counting: Code | None = Field(None, description="How it was counted.")
    data_items: list[DataItem]
    special_care: Answer
    property_damage: Answer
    wrongful_purpose: Answer
    my_number: Answer
    my_number_people: Count | None = None
    entrusted: Answer
    entrusted_notice_hours: Count | None = None
    residency: list[str] = Field(["JP"])
    protection: ProtectionFacts
    encryption_level: EncryptionLevel
    lock_proof: ProofLevel
    wipe_proof: ProofLevel
    misuse_seen: Answer = Answer.UNKNOWN
    high_risk: Answer = Field(
        Answer.UNKNOWN, description="High risk to people, or significant harm likely: GDPR Art. 34, PDPA section 26B."
    )
    material: Answer = Field(Answer.UNKNOWN, description="Determined as material to investors: Form 8-K Item 1.05.")
    known_at: Instant = Field(description="When the facts that decide became known to the organisation.")
    assessed_at: Instant
    final: bool = False


@event(
    "reporter",
    {
        "recovered_at": "2026-11-26T11:00:00.000+09:00",
        "from_whom": "police",
        "identity_checked": "yes",
        "viewed": "unknown",
    },
)
class DeviceRecovered(Payload):
    """The phone is back. The assessment is opened again; no duty is cancelled by this."""

    recovered_at: Instant
    from_whom: Code
    identity_checked: Answer
    viewed: Answer = Field(Answer.UNKNOWN, description="Whether somebody looked inside.")


@event("reporter", {"reason": "not_found_after_three_months"})
class DeviceWrittenOff(Payload):
    """The company gave up on this phone."""

    reason: Code


@event(
    "reporter",
    {
        "action": "0192f0c1-0000-7000-8000-0000000000aa",
        "measure": "no_company_phone_at_drinking_events",
        "kind": "rule",
        "owner": _PERSON,
        "due": "2026-12-20",
        "state": "planned",
    },
    data_class="pseudonymous",
)
class PreventionActionRecorded(Payload):
    """A measure against the next time: a rule, a device setting or a managed service, with owner and date."""

    action: Id
    measure: Code
    kind: Code
    owner: PersonRef | None = None
    due: date | None = None
    state: Code = "planned"


@event(
    "reporter",
    {
        "what": "verify_without_call_back",
        "reason": "reporter_unreachable",
        "review_by": "2026-11-25T12:00:00.000+09:00",
    },
)
class BreakGlassUsed(Payload):
    """Somebody went ahead without the second person; it will be reviewed."""

    what: Code
    reason: Code
    review_by: Instant


@event(
    "reporter",
    {"person": _PERSON, "ground": "request_of_the_person", "fields": 4, "on_hold": False},
    data_class="pseudonymous",
)
class PersonalDataErased(Payload):
    """The key and the boxes of one person were destroyed in the vault. Every proof stays whole."""

    person: PersonRef
    ground: Code
    fields: Count
    on_hold: bool = Field(False, description="True: a legal hold kept the data, and nothing was erased.")
    devices: list[DeviceId] = Field(
        default_factory=list,
        description="Phones that the person was the last to hold and that left the inventory: their numbers went, too.",
    )


@event("reporter", {"outcome": "wiped_not_recovered", "prevention_actions": 3, "assessment_version": 1})
class IncidentClosed(Payload):
    """The case is ended; the timeline is sealed after this entry."""

    outcome: Code
    prevention_actions: Count
    assessment_version: int | None = None


@event("reporter", {"reason": "phone_handed_in"})
class IncidentReopened(Payload):
    """New facts: the case goes on."""

    reason: Code


@event("reporter", {"reason": "found_in_bag_before_exposure"})
class IncidentCancelled(Payload):
    """False alarm. Duties that were already opened are ended one by one, never dropped."""

    reason: Code
