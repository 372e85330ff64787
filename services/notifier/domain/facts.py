"""The facts that duty rules ask for, three-valued: yes, no, unknown."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from services.notifier.domain.case import Case
from shared.events.payload import Answer
from shared.events.reporter import Attached, Cause, Leak, LeakAssessed, Place, ProtectionFacts

YES, NO, UNKNOWN = Answer.YES, Answer.NO, Answer.UNKNOWN


def known(answer: Answer) -> Answer:
    """A value that this version does not know counts as unknown."""
    return UNKNOWN if answer is Answer.OTHER else answer


def either(*answers: Answer) -> Answer:
    """Kleene's or."""
    if YES in answers:
        return YES
    return NO if all(answer is NO for answer in answers) else UNKNOWN


def both(*answers: Answer) -> Answer:
    """Kleene's and."""
    if NO in answers:
        return NO
    return YES if all(answer is YES for answer in answers) else UNKNOWN


def opposite(answer: Answer) -> Answer:
    """Kleene's not."""
    return {YES: NO, NO: YES}.get(answer, UNKNOWN)


class Facts(BaseModel):
    """What is known about one case when the rules are run. Names are those that rule packs use."""

    model_config = ConfigDict(frozen=True)

    leak: Answer = UNKNOWN
    special_care: Answer = UNKNOWN
    property_damage: Answer = UNKNOWN
    wrongful_purpose: Answer = UNKNOWN
    my_number: Answer = UNKNOWN
    entrusted: Answer = UNKNOWN
    contract_clause: Answer = UNKNOWN
    strong_protection: Answer = UNKNOWN
    police_scheme: Answer = UNKNOWN
    notice_difficult: Answer = NO
    high_risk: Answer = UNKNOWN
    material: Answer = UNKNOWN
    people: int | None = None
    people_certain: bool = False
    my_number_people: int | None = None
    contract_hours: int | None = None
    residency: frozenset[str] | None = None
    changed_since_filed: Mapping[str, tuple[str, ...]] = {}
    """By rule whose final report was filed: what is known otherwise now than that report says."""

    @classmethod
    def answers(cls) -> frozenset[str]:
        """The names that a rule may use as a condition."""
        return frozenset(name for name, field in cls.model_fields.items() if field.annotation is Answer)


def facts_of(case: Case) -> Facts:
    """What the case knows now. Everything that was not assessed is unknown."""
    report = {
        "police_scheme": _police_scheme(case),
        "notice_difficult": YES if case.unreached else NO,
    }
    assessment = case.assessment
    if assessment is None:
        return Facts.model_validate(report | {"wrongful_purpose": _wrongful(case, UNKNOWN)})
    return Facts.model_validate(
        report
        | {
            "leak": _leak(assessment),
            "special_care": known(assessment.special_care),
            "property_damage": known(assessment.property_damage),
            "wrongful_purpose": _wrongful(case, known(assessment.wrongful_purpose)),
            "my_number": known(assessment.my_number),
            "entrusted": known(assessment.entrusted),
            "high_risk": known(assessment.high_risk),
            "material": known(assessment.material),
            "contract_clause": YES if assessment.entrusted_notice_hours else UNKNOWN,
            "strong_protection": strong_protection(assessment.protection, passcode_with_phone(case)),
            "people": assessment.people,
            "people_certain": assessment.people_certain,
            "my_number_people": assessment.my_number_people,
            "contract_hours": assessment.entrusted_notice_hours,
            "residency": frozenset(assessment.residency),
        }
    )


def strong_protection(protection: ProtectionFacts, passcode_attached: Answer) -> Answer:
    """高度な暗号化その他の措置: yes = satisfied, no = not satisfied, unknown = undetermined.

    X1 and one of X2a-c and X3, nothing that hands the key to the finder, and two signatures: the privacy officer's and
    another person's (APPI Enforcement Rules, Article 7; PPC Q&A 17-14 states the tests for My Number data).
    """
    key_given_away = either(passcode_attached, opposite(known(protection.key_apart)))
    tests = both(
        known(protection.encrypted),
        either(known(protection.key_apart), known(protection.remote_erase_ready), known(protection.attempts_limited)),
        known(protection.locked_at_loss),
        opposite(key_given_away),
    )
    signed = {protection.signed_off_by, protection.seconded_by} - {None}
    return UNKNOWN if tests is YES and len(signed) < 2 else tests


def passcode_with_phone(case: Case) -> Answer:
    """Whether the finder holds the passcode too."""
    if Attached.PASSCODE_NOTE in case.attached:
        return YES
    return known(case.passcode_attached)


def _leak(assessment: LeakAssessed) -> Answer:
    match assessment.leak:
        case Leak.SUSPECTED | Leak.CONFIRMED:
            return YES
        case Leak.NONE if assessment.left_organisation in (YES, NO):
            return NO
        case _:
            return UNKNOWN


def _wrongful(case: Case, assessed: Answer) -> Answer:
    """Theft is the regulator's own example of an act with wrongful purpose (Guideline 3-5-3-1)."""
    theft = YES if case.cause is Cause.THEFT else NO
    return either(assessed, theft, YES if case.malicious_intent is YES else NO)


def _police_scheme(case: Case) -> Answer:
    """Not accepted as lost property: lost at home, in one's own company, or abroad (National Police Agency)."""
    if case.cause is Cause.THEFT:
        return YES
    if case.cause is Cause.ON_PREMISES_MISPLACED or case.place in (Place.HOME, Place.OFFICE, Place.ABROAD):
        return NO
    return UNKNOWN if case.place in (Place.UNKNOWN, Place.OTHER) else YES
