"""The leak assessment: what is proposed from what is known, and the version that people stand behind.

Proof levels are never typed by a person: they are what was heard from devices.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from services.reporter.domain.incident import By, Decision, Incident, RefusedError
from services.reporter.domain.report import CLOCK_SKEW
from shared.events.payload import Answer, Code, Count, EncryptionLevel, ToldInstant
from shared.events.reporter import Attached, Cause, DataItem, Leak, LeakAssessed, Place, ProtectionFacts

MAX_VERSIONS = 100

type YesNo = Literal["yes", "no", "unknown"]
type Region = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]


class Findings(BaseModel):
    """What the privacy officer finds. What is left out is taken from the prefill."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    leak: Literal["none", "suspected", "confirmed"] | None = None
    left_organisation: YesNo | None = None
    people: Count | None = None
    people_certain: StrictBool = False
    records: Count | None = None
    counting: Code | None = None
    data_items: list[DataItem] | None = Field(None, max_length=20)
    special_care: YesNo | None = None
    property_damage: YesNo | None = None
    wrongful_purpose: YesNo | None = None
    my_number: YesNo | None = None
    my_number_people: Count | None = None
    entrusted: YesNo | None = None
    entrusted_notice_hours: Count | None = None
    residency: list[Region] | None = Field(None, max_length=50)
    encrypted: YesNo | None = None
    key_apart: YesNo | None = None
    remote_erase_ready: YesNo | None = None
    attempts_limited: YesNo | None = None
    locked_at_loss: YesNo | None = None
    exemption_signed_off: StrictBool = Field(
        False, description="The privacy officer finds the protection exemption satisfied."
    )
    misuse_seen: YesNo | None = None
    high_risk: YesNo | None = None
    material: YesNo | None = None
    known_at: ToldInstant | None = None
    final: StrictBool = False


def prefill(incident: Incident, now: datetime) -> LeakAssessed:
    """The next version as far as intake, snapshot and proofs carry it; what those do not know comes from the last
    version. Protection is found anew each time, for the signature under the exemption stands for one version."""
    facts, tracks = incident.facts, incident.tracks
    last = incident.assessments[-1] if incident.assessments else None
    items = set(facts.data_items)
    snapshot = tracks.protection
    return LeakAssessed(
        version=len(incident.assessments) + 1,
        leak=last.leak if last else Leak.SUSPECTED,
        left_organisation=_known(_left_organisation(incident), last.left_organisation if last else None),
        people=last.people if last else None,
        people_certain=last.people_certain if last else False,
        records=last.records if last else None,
        counting=last.counting if last else None,
        data_items=sorted(items | set(last.data_items if last else ())),
        special_care=_held(DataItem.HEALTH in items, last.special_care if last else None),
        property_damage=_held(DataItem.PAYMENT in items, last.property_damage if last else None),
        wrongful_purpose=_known(_wrongful_purpose(incident), last.wrongful_purpose if last else None),
        my_number=_held(DataItem.MY_NUMBER in items, last.my_number if last else None),
        my_number_people=last.my_number_people if last else None,
        entrusted=last.entrusted if last else Answer.UNKNOWN,
        entrusted_notice_hours=last.entrusted_notice_hours if last else None,
        residency=last.residency if last else ["JP"],
        protection=ProtectionFacts(
            encrypted=snapshot.encrypted if snapshot else Answer.UNKNOWN,
            key_apart=_key_apart(incident),
            remote_erase_ready=snapshot.remote_erase_ready if snapshot else Answer.UNKNOWN,
            attempts_limited=snapshot.attempts_limited if snapshot else Answer.UNKNOWN,
            locked_at_loss=Answer.NO if facts.passcode_set is Answer.NO else Answer.UNKNOWN,
        ),
        encryption_level=snapshot.encryption_level if snapshot else EncryptionLevel.E0,
        lock_proof=tracks.lock.proof,
        wipe_proof=incident.wipe.proof,
        misuse_seen=Answer.YES if tracks.misuse else (last.misuse_seen if last else Answer.UNKNOWN),
        high_risk=last.high_risk if last else Answer.UNKNOWN,
        material=last.material if last else Answer.UNKNOWN,
        known_at=now if last else min(facts.noticed_at or incident.reported_at, now),
        assessed_at=now,
    )


def assess(incident: Incident, findings: Findings, by: By) -> Decision:
    """One more version, unless the newest one says the same already: whoever got no answer asks again, and what was
    written for a version must not be out of date by that. Raises `RefusedError` when it would claim what is not shown.
    """
    incident.must_be_open()
    incident.must_be_verified()
    if len(incident.assessments) >= MAX_VERSIONS:
        raise RefusedError("too_many_assessments", limit=MAX_VERSIONS)
    if findings.known_at is not None and findings.known_at > by.at + CLOCK_SKEW:
        raise RefusedError("moment_in_future", field="known_at")
    proposed = prefill(incident, by.at)
    given = findings.model_dump(exclude_none=True, exclude={"exemption_signed_off", *_PREDICATES})
    predicates = findings.model_dump(exclude_none=True, include=_PREDICATES)
    protection = proposed.protection.model_dump() | predicates
    if findings.exemption_signed_off:
        _must_support_exemption(ProtectionFacts.model_validate(protection))
        protection["signed_off_by"] = by.person
    if findings.people is not None:
        given["people_certain"] = findings.people_certain
    else:
        given.pop("people_certain", None)
    version = LeakAssessed.model_validate(proposed.model_dump() | given | {"protection": protection})
    if incident.assessments and not incident.reassess and _says_the_same(version, incident.assessments[-1], findings):
        return Decision(incident, ())
    after = incident.model_copy(update={"assessments": (*incident.assessments, version), "reassess": False})
    return Decision(after, (version,))


def second(incident: Incident, version: int, by: By) -> Decision:
    """Another person finds the exemption satisfied that was signed with this version: a version with both signatures.
    Raises `RefusedError` when it is not the newest one, facts have changed since, or the same person signed.

    Two people, because an exemption determined by one alone would free the company from every duty of the law at once
    (domain reference, sections 2 and 8.4).
    """
    incident.must_be_open()
    last = incident.assessments[-1] if incident.assessments else None
    if last is None or last.version != version or incident.reassess:
        raise RefusedError("assessment_outdated", version=last.version if last else None)
    shown = last.protection
    if shown.signed_off_by is None:
        raise RefusedError("exemption_not_signed", version=version)
    if shown.seconded_by is not None:
        return Decision(incident)
    if by.name() == shown.signed_off_by:
        raise RefusedError("exemption_same_person")
    if len(incident.assessments) >= MAX_VERSIONS:
        raise RefusedError("too_many_assessments", limit=MAX_VERSIONS)
    protection = shown.model_copy(update={"seconded_by": by.name()})
    after = last.model_copy(update={"version": version + 1, "assessed_at": by.at, "protection": protection})
    return Decision(incident.model_copy(update={"assessments": (*incident.assessments, after)}), (after,))


def _says_the_same(version: LeakAssessed, last: LeakAssessed, findings: Findings) -> bool:
    """Whether nothing is new but the number and the moment. Whoever signs again takes the second signature not away."""
    known = {"version": last.version, "assessed_at": last.assessed_at}
    if findings.known_at is None:
        known["known_at"] = last.known_at
    if version.protection.signed_off_by is not None:
        seconded = {"seconded_by": last.protection.seconded_by}
        known["protection"] = version.protection.model_copy(update=seconded)
    return version.model_copy(update=known) == last


_PREDICATES = {"encrypted", "key_apart", "remote_erase_ready", "attempts_limited", "locked_at_loss"}


def _must_support_exemption(shown: ProtectionFacts) -> None:
    """X1, X3 and one limb of X2 must be shown; a passcode that lay with the phone spoils it (domain reference 8.4)."""
    managed = Answer.YES in (shown.key_apart, shown.remote_erase_ready, shown.attempts_limited)
    missing = [
        name
        for name, holds in (
            ("encrypted", shown.encrypted is Answer.YES),
            ("locked_at_loss", shown.locked_at_loss is Answer.YES),
            ("key_apart", managed and shown.key_apart is not Answer.NO),
        )
        if not holds
    ]
    if missing:
        raise RefusedError("exemption_not_shown", missing=missing)


def _known(shown: Answer, before: Answer | None) -> Answer:
    """What the case shows, and else what was found before: what a reporter denies takes back no finding."""
    return shown if shown is Answer.YES or before in (None, Answer.UNKNOWN) else before


def _held(named: bool, before: Answer | None) -> Answer:
    # Not named is not absent: an unknown never suppresses a duty.
    return Answer.YES if named else before or Answer.UNKNOWN


def _left_organisation(incident: Incident) -> Answer:
    facts = incident.facts
    if facts.cause is Cause.ON_PREMISES_MISPLACED:
        return Answer.NO
    if facts.place in (Place.UNKNOWN, Place.OTHER, Place.OFFICE) and facts.cause is Cause.UNKNOWN:
        return Answer.UNKNOWN
    return Answer.YES


def _wrongful_purpose(incident: Incident) -> Answer:
    facts = incident.facts
    return Answer.YES if facts.cause is Cause.THEFT or incident.tracks.misuse else facts.malicious_intent


def _key_apart(incident: Incident) -> Answer:
    facts = incident.facts
    given_away = facts.passcode_attached is Answer.YES or Attached.PASSCODE_NOTE in facts.attached
    if given_away or facts.passcode_set is Answer.NO:
        return Answer.NO
    if facts.passcode_attached is Answer.NO and facts.passcode_set is Answer.YES:
        return Answer.YES
    return Answer.UNKNOWN
