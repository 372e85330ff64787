"""Duty rules as versioned data: who must be told, when a rule fires, and by when.

A rule's trigger is a condition over `Facts`, evaluated in three values. `unknown` never suppresses a duty: it opens
it as provisional, with the reason.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Literal, Self
from uuid import UUID, uuid5

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from services.notifier.domain.deadline import Calendar, Deadline
from services.notifier.domain.facts import NO, UNKNOWN, YES, Facts, both, either, opposite
from shared.events.notifier import DutyOpened
from shared.events.payload import Answer, in_zone
from shared.events.reporter import LeakAssessed

_NAMESPACE = UUID("3b0e8f6e-52ad-5f2b-9d4e-7c1f0a9b6d21")
_MOST_HOURS = 10_000
"""A contract asks for hours. What somebody typed beyond this counts as so many, for no calendar reaches further."""


@dataclass(frozen=True)
class Verdict:
    """What a condition came to, and why."""

    answer: Answer
    reasons: tuple[str, ...] = ()


def _fact_name(name: str) -> str:
    if name not in Facts.answers():
        raise ValueError(f"unknown fact {name}; known are {', '.join(sorted(Facts.answers()))}")
    return name


FactName = Annotated[str, AfterValidator(_fact_name)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class AllOf(_Part):
    """Every condition holds."""

    all: list["Condition"] = Field(min_length=1)


class AnyOf(_Part):
    """At least one condition holds."""

    any: list["Condition"] = Field(min_length=1)


class Not(_Part):
    """The condition does not hold."""

    condition: "Condition" = Field(alias="not")


class PeopleOver(_Part):
    """More people are concerned than this."""

    people_over: int = Field(ge=0)


class MyNumberPeopleOver(_Part):
    """The My Number data of more people is concerned than this."""

    my_number_people_over: int = Field(ge=0)


class Resident(_Part):
    """Somebody concerned lives there."""

    resident: str


class ChangedSinceFiled(_Part):
    """The final report under this rule was filed, and something that it says is known otherwise now."""

    changed_since_filed: str = Field(pattern=r"^[A-Z0-9-]{1,40}$")


type Condition = FactName | AllOf | AnyOf | Not | PeopleOver | MyNumberPeopleOver | Resident | ChangedSinceFiled


def evaluate(condition: Condition, facts: Facts) -> Verdict:  # noqa: PLR0911 - one per kind of condition
    """The condition's answer. Reasons are the facts that made it yes, or the ones whose being unknown left it open."""
    match condition:
        case str():
            answer = getattr(facts, condition)
            return Verdict(answer, {YES: (condition,), UNKNOWN: (f"{condition}_unknown",)}.get(answer, ()))
        case AllOf():
            verdicts = [evaluate(part, facts) for part in condition.all]
            return _joined(both(*(verdict.answer for verdict in verdicts)), verdicts, (YES, UNKNOWN))
        case AnyOf():
            verdicts = [evaluate(part, facts) for part in condition.any]
            answer = either(*(verdict.answer for verdict in verdicts))
            return _joined(answer, verdicts, (answer,))
        case Not():
            inner = evaluate(condition.condition, facts)
            return Verdict(opposite(inner.answer), inner.reasons if inner.answer is UNKNOWN else ())
        case PeopleOver():
            limit = condition.people_over
            return _over(facts.people, facts.people_certain, limit, "people")
        case MyNumberPeopleOver():
            limit = condition.my_number_people_over
            return _over(facts.my_number_people, facts.people_certain, limit, "my_number_people")
        case Resident():
            where = condition.resident
            if facts.residency is None:
                return Verdict(UNKNOWN, ("residency_unknown",))
            return Verdict(YES, (f"resident_{where.lower()}",)) if where in facts.residency else Verdict(NO)
        case ChangedSinceFiled():
            changed = facts.changed_since_filed.get(condition.changed_since_filed, ())
            return Verdict(YES if changed else NO, changed)


def _over(count: int | None, certain: bool, limit: int, name: str) -> Verdict:
    if count is not None and count > limit:
        return Verdict(YES, (f"more_than_{limit}_{name}",))
    if count is not None and certain:
        return Verdict(NO)
    return Verdict(UNKNOWN, (f"{name}_unknown" if count is None else f"{name}_uncertain",))


def _joined(answer: Answer, verdicts: Iterable[Verdict], wanted: tuple[Answer, ...]) -> Verdict:
    if answer is NO:
        return Verdict(NO)
    reasons = [reason for verdict in verdicts if verdict.answer in wanted for reason in verdict.reasons]
    return Verdict(answer, tuple(dict.fromkeys(reasons)))


class Longer(_Part):
    """A longer time limit, which holds only when its condition surely does."""

    when: Condition
    deadline: Deadline


class Source(_Part):
    """Where a rule stands, and how surely it was read (S statute seen, G guide seen, C to be confirmed by counsel)."""

    text: str
    seen: date
    confidence: Literal["S", "G", "C"]


class Rule(_Part):
    """One duty. Never edited in place: a change is a new version with its own dates."""

    id: str = Field(pattern=r"^[A-Z0-9-]{1,40}$")
    phase: str = Field(pattern=r"^[a-z_]{1,40}$")
    version: int = Field(ge=1)
    effective_from: date
    effective_to: date | None = Field(None, description="The first day on which it no longer holds.")
    title: dict[Literal["ja", "en"], str]
    basis: Literal["report", "assessment"] = Field(
        "assessment", description="What it needs: rules on the assessment wait for one, within limits."
    )
    trigger: Condition
    exemption: FactName | None = Field(None, description="Frees from the duty only when surely satisfied.")
    voluntary: bool = Field(False, description="Not owed: opens only when its trigger surely holds.")
    clock: Literal["knowledge", "determination"] = Field(
        "knowledge", description="determination: from the assessment that makes the trigger sure; no date until then."
    )
    deadline: Deadline | None = Field(None, description="Absent where the law names no day.")
    longer: Longer | None = None
    hours_from: Literal["contract_hours"] | None = Field(None, description="The fact that names the hours.")
    soft: Deadline | None = None
    recipient: str
    contents: list[int] = Field([], description="Items of the report that the recipient gets.")
    source: Source

    def holds_on(self, day: date) -> bool:
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)

    def verdict(self, facts: Facts) -> Verdict:
        """Whether the duty is owed: yes, no, or unknown (then it is opened as provisional)."""
        trigger = evaluate(self.trigger, facts)
        if trigger.answer is NO or (self.voluntary and trigger.answer is not YES):
            return Verdict(NO)
        if self.exemption is None:
            return trigger
        exempt = getattr(facts, self.exemption)
        if exempt is YES:
            return Verdict(NO)
        word = "exemption_not_satisfied" if exempt is NO else "exemption_undetermined"
        answer = trigger.answer if exempt is NO else UNKNOWN
        return Verdict(answer, (*trigger.reasons, word))

    def due(self, known_at: datetime, facts: Facts, calendar: Calendar) -> datetime | None:
        """The last moment. A longer limit is granted only when its ground is sure."""
        if self.hours_from is not None:
            hours = getattr(facts, self.hours_from)
            limit = Deadline(count=min(hours, _MOST_HOURS), unit="hours") if hours else None
            return limit.due(known_at, calendar) if limit else None
        if self.longer is not None and evaluate(self.longer.when, facts).answer is YES:
            return self.longer.deadline.due(known_at, calendar)
        return self.deadline.due(known_at, calendar) if self.deadline else None


class RulePack(_Part):
    """The rules of one jurisdiction or scheme."""

    pack: str = Field(pattern=r"^[a-z0-9-]{1,40}$")
    jurisdiction: str
    zone: str
    calendar: str = Field(description="Whose closed days count, as an ISO 3166 country code.")
    default: bool = Field(description="On for every organisation that did not choose otherwise.")
    rules: list[Rule] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_version_a_day(self) -> Self:
        for rule in self.rules:
            same = [other for other in self.rules if (other.id, other.phase) == (rule.id, rule.phase)]
            if any(other is not rule and other.holds_on(rule.effective_from) for other in same):
                raise ValueError(f"two versions of {rule.id} ({rule.phase}) hold on {rule.effective_from}")
        return self


@dataclass(frozen=True)
class Jurisdiction:
    """A rule pack with the calendar it counts in."""

    pack: RulePack
    calendar: Calendar


def duty_id(incident: str, rule: Rule) -> str:
    """The same rule in the same incident is always the same duty."""
    return str(uuid5(_NAMESPACE, f"{incident}/{rule.id}/{rule.phase}"))


def decide(
    jurisdictions: Iterable[Jurisdiction],
    incident: str,
    facts: Facts,
    *,
    known_at: datetime,
    reported_at: datetime | None,
    assessment: LeakAssessed | None,
    only_report: bool,
    standing: Mapping[str, DutyOpened],
) -> list[DutyOpened]:
    """The duties to open or to state anew, given those that stand already.

    A duty that stands is stated anew only when it becomes certain, another ground for it is sure, or its date comes
    closer; its date never moves away, and nothing here ever closes one: that takes a filing, a fact that fulfils it, or
    two people, who have to see every ground.
    `only_report`: no assessment yet, so only rules that rest on the report itself are run. The law is that of the day
    of the report, or of a later knowledge: a year that somebody mistyped puts no case before the law.
    """
    opened = []
    law_of = max(known_at, reported_at or known_at)
    for jurisdiction in jurisdictions:
        day = in_zone(law_of, jurisdiction.calendar.zone).date()
        for rule in jurisdiction.pack.rules:
            if not rule.holds_on(day) or (only_report and rule.basis == "assessment"):
                continue
            duty = _found(
                rule,
                jurisdiction,
                incident=incident,
                facts=facts,
                known_at=known_at,
                assessment=assessment,
            )
            if duty is not None:
                opened.append(_against(duty, standing.get(duty.duty)))
    return [duty for duty in opened if duty is not None]


def exempted(jurisdictions: Iterable[Jurisdiction], incident: str, facts: Facts) -> dict[str, str]:
    """The duties from which an exemption frees that two people found satisfied, each with that exemption's name."""
    rules = (rule for jurisdiction in jurisdictions for rule in jurisdiction.pack.rules)
    return {
        duty_id(incident, rule): rule.exemption
        for rule in rules
        if rule.exemption is not None and getattr(facts, rule.exemption) is YES
    }


def _found(
    rule: Rule,
    jurisdiction: Jurisdiction,
    *,
    incident: str,
    facts: Facts,
    known_at: datetime,
    assessment: LeakAssessed | None,
) -> DutyOpened | None:
    verdict = rule.verdict(facts)
    if verdict.answer is NO:
        return None
    calendar = jurisdiction.calendar
    start: datetime | None = known_at
    if rule.clock == "determination":
        start = assessment.assessed_at if assessment and verdict.answer is YES else None
    due = rule.due(start, facts, calendar) if start else None
    soft = rule.soft.due(start, calendar) if rule.soft and start else None
    return DutyOpened(
        duty=duty_id(incident, rule),
        rule=rule.id,
        phase=rule.phase,
        rule_version=rule.version,
        jurisdiction=jurisdiction.pack.jurisdiction,
        recipient=rule.recipient,
        provisional=verdict.answer is UNKNOWN,
        reasons=list(verdict.reasons),
        assessment_version=assessment.version if assessment else None,
        known_at=in_zone(known_at, calendar.zone),
        # A contract may name fewer hours than the alarm.
        soft_due=_earlier(soft, due) if soft else None,
        due=due,
    )


def _against(found: DutyOpened, stands: DutyOpened | None) -> DutyOpened | None:
    """`found` as it is to be stated beside what stands; None when that says it already."""
    if stands is None:
        return found
    stated = found.model_copy(
        update={
            "provisional": found.provisional and stands.provisional,
            "known_at": min(found.known_at, stands.known_at),
            "soft_due": _earlier(found.soft_due, stands.soft_due),
            "due": _earlier(found.due, stands.due),
        }
    )
    news = (stated.provisional, stated.due) != (stands.provisional, stands.due)
    another_ground = not found.provisional and not set(found.reasons) <= set(stands.reasons)
    return stated if news or another_ground else None


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    moments = [moment for moment in (one, other) if moment is not None]
    return min(moments) if moments else None
