"""Who must be told: the rule packs of Japan against the regulator's thresholds, and against chance."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.case import Case
from services.notifier.domain.facts import facts_of
from services.notifier.domain.rules import RulePack
from services.notifier.rulebook import Rulebook
from shared.events.notifier import DutyOpened
from shared.events.reporter import LossReportAmended
from tests.notifier.cases import (
    BOOK,
    NOTICED,
    OFFICER,
    PROTECTED,
    RULES,
    SECOND,
    UNPROTECTED,
    assessed,
    case_of,
    duties,
    lost,
    rules,
)

MANDATORY = {"JP-APPI-1", "JP-APPI-2", "JP-APPI-3"}


def _of(case: Any) -> set[str]:
    return rules(duties(case))


def test_eighty_contacts_left_in_a_taxi_owe_no_report_but_one_is_possible() -> None:
    assert _of(case_of(lost(), assessed())) == {"JP-POLICE-1", "JP-APPI-V"}


def test_the_same_eighty_on_a_stolen_phone_owe_a_report_within_sixty_days() -> None:
    known = "2026-11-24T23:20:00+09:00"
    found = {duty.rule: duty for duty in duties(case_of(lost(cause="theft"), assessed(known_at=known)))}
    assert set(found) >= MANDATORY
    final = found["JP-APPI-2"].due
    assert final is not None
    assert final.date().isoformat() == "2027-01-22"


def test_a_phone_that_was_missed_in_the_year_1_is_owed_for_as_one_of_which_nobody_said_when() -> None:
    case = case_of(lost(noticed_at="0001-01-01T00:00:00+14:00"), assessed())
    unknown = case_of(lost(noticed_at=None), assessed())
    assert case == unknown
    assert duties(case) == duties(unknown)
    kept = case.model_dump() | {"noticed_at": "0001-01-01T00:00:00+14:00", "known_at": "0001-01-01T00:00:00+14:00"}
    assert Case.model_validate(kept).noticed_at is None, "as an earlier release kept it"
    assert Case.model_validate(kept).known_at is None


@pytest.mark.parametrize("known_at", ["0001-01-01T00:00:00+14:00", "2016-11-24T23:20:00+09:00"])
def test_a_mistyped_year_of_knowledge_puts_no_case_before_the_law(known_at: str) -> None:
    assert _of(case_of(lost(cause="theft"), assessed(known_at=known_at))) >= MANDATORY


@pytest.mark.parametrize(("people", "owed"), [(1000, False), (1001, True)])
def test_more_than_a_thousand_people_means_a_thousand_and_one(people: int, owed: bool) -> None:
    assert (_of(case_of(lost(), assessed(people=people))) >= MANDATORY) is owed


@pytest.mark.parametrize(("people", "owed"), [(100, False), (101, True)])
def test_my_number_data_of_more_than_a_hundred_people_means_a_hundred_and_one(people: int, owed: bool) -> None:
    found = _of(case_of(lost(), assessed(my_number="yes", my_number_people=people)))
    assert ("JP-MYN-1" in found) is owed


def test_an_unknown_headcount_opens_the_duty_as_provisional_and_says_why() -> None:
    found = {duty.rule: duty for duty in duties(case_of(lost(), assessed(people=None, people_certain=False)))}
    assert found["JP-APPI-1"].provisional
    assert "people_unknown" in found["JP-APPI-1"].reasons
    assert "JP-APPI-V" not in found


def test_an_estimate_below_the_threshold_is_not_a_no() -> None:
    found = {duty.rule: duty for duty in duties(case_of(lost(), assessed(people=900, people_certain=False)))}
    assert found["JP-APPI-1"].provisional
    assert "people_uncertain" in found["JP-APPI-1"].reasons


@pytest.mark.parametrize("item", ["special_care", "property_damage", "wrongful_purpose"])
def test_one_person_is_enough_in_the_other_categories(item: str) -> None:
    found = duties(case_of(lost(), assessed(people=1, **{item: "yes"})))
    assert rules(found) >= MANDATORY
    assert not any(duty.provisional for duty in found)


def test_strong_protection_frees_from_the_duty_only_with_two_peoples_signatures() -> None:
    stolen = lost(cause="theft")
    unsigned = {d.rule: d for d in duties(case_of(stolen, assessed(protection=PROTECTED)))}
    assert unsigned["JP-APPI-1"].provisional
    assert "exemption_undetermined" in unsigned["JP-APPI-1"].reasons
    signed = assessed(protection=PROTECTED | {"signed_off_by": OFFICER, "seconded_by": SECOND})
    assert _of(case_of(stolen, signed)) == {"JP-POLICE-1"}


@pytest.mark.parametrize("note", [{"passcode_attached": "yes"}, {"attached": ["passcode_note"]}])
def test_a_passcode_in_the_case_voids_the_exemption_whatever_was_signed(note: dict[str, Any]) -> None:
    signed = assessed(protection=PROTECTED | {"signed_off_by": OFFICER, "seconded_by": SECOND})
    found = {duty.rule: duty for duty in duties(case_of(lost(cause="theft", **note), signed))}
    assert not found["JP-APPI-1"].provisional
    assert "exemption_not_satisfied" in found["JP-APPI-1"].reasons


def test_a_passcode_without_encryption_is_no_protection() -> None:
    signed = assessed(protection=UNPROTECTED | {"signed_off_by": OFFICER, "seconded_by": SECOND})
    assert _of(case_of(lost(cause="theft"), signed)) >= MANDATORY


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"place": "home"}, set()),
        ({"place": "office"}, set()),
        ({"place": "abroad"}, set()),
        ({"cause": "on_premises_misplaced"}, set()),
        ({"place": "office", "cause": "theft"}, {"JP-POLICE-1"}),
        ({"place": "unknown"}, {"JP-POLICE-1"}),
        ({"place": "train"}, {"JP-POLICE-1"}),
    ],
)
def test_the_police_are_owed_a_report_where_they_take_one(changes: dict[str, Any], asked: set[str]) -> None:
    assert _of(case_of(lost(**changes))) == asked


def test_entrusted_data_owes_the_contracts_hours() -> None:
    found = {d.rule: d for d in duties(case_of(lost(), assessed(entrusted="yes", entrusted_notice_hours=24)))}
    due = found["JP-CONTRACT-1"].due
    assert due is not None
    assert due == NOTICED + timedelta(hours=24)
    unknown = {d.rule: d for d in duties(case_of(lost(), assessed(entrusted="yes")))}
    assert unknown["JP-CONTRACT-1"].provisional


def test_no_number_of_contract_hours_keeps_the_duties_from_being_opened() -> None:
    found = {
        d.rule: d.due for d in duties(case_of(lost(), assessed(entrusted="yes", entrusted_notice_hours=2**53 - 1)))
    }
    due = found["JP-CONTRACT-1"]
    assert due is not None
    assert due > NOTICED + timedelta(days=365)


def test_a_theft_learned_later_starts_the_clock_when_it_is_learned() -> None:
    first = case_of(lost(noticed_at="2027-01-12T10:00:00+09:00"), assessed(known_at="2027-01-12T10:00:00+09:00"))
    standing = {duty.duty: duty for duty in duties(first)}
    theft = LossReportAmended.model_validate(
        lost(cause="theft").model_dump(include=set(LossReportAmended.model_fields))
        | {"changed": ["cause"], "known_at": "2027-01-15T09:10:00+09:00"}
    )
    second = first.hear(theft)
    opened = {duty.rule: duty for duty in duties(second, standing)}
    assert set(opened) == MANDATORY
    assert opened["JP-APPI-1"].known_at == theft.known_at
    assert str(opened["JP-APPI-1"].due)[:10] == "2027-01-19"
    assert str(opened["JP-APPI-2"].due)[:10] == "2027-03-15"


@pytest.mark.parametrize(
    ("wrongful_purpose", "day"), [("yes", "2027-03-12"), ("no", "2027-02-10"), ("unknown", "2027-02-10")]
)
def test_a_longer_limit_is_granted_only_when_its_ground_is_sure(wrongful_purpose: str, day: str) -> None:
    known_at = "2027-01-12T10:00:00+09:00"
    found = assessed(people=1240, wrongful_purpose=wrongful_purpose, known_at=known_at)
    opened = {duty.rule: duty for duty in duties(case_of(lost(noticed_at=known_at), found))}
    assert str(opened["JP-APPI-2"].due)[:10] == day


def test_a_provisional_duty_that_becomes_certain_is_stated_again_and_its_date_does_not_move_away() -> None:
    vague = case_of(lost(), assessed(people=None, people_certain=False))
    standing = {duty.duty: duty for duty in duties(vague)}
    counted = vague.hear(assessed(version=2, people=1240, known_at=NOTICED + timedelta(days=3)))
    again = {duty.rule: duty for duty in duties(counted, standing)}
    assert set(again) == MANDATORY
    for duty in again.values():
        assert not duty.provisional
        assert duty.due == standing[duty.duty].due


def test_a_rule_does_not_hold_before_its_day() -> None:
    early = "2024-03-31T12:00:00+09:00"
    case = case_of(lost(noticed_at=early, reported_at=early, cause="theft"), assessed(known_at=early))
    assert _of(case) == {"JP-POLICE-1"}


def test_packs_of_other_jurisdictions_are_off_until_an_organisation_chooses_them() -> None:
    case = case_of(lost(), assessed(residency=["JP", "EU"]))
    assert not {rule for rule in _of(case) if rule.startswith("EU")}
    chosen = Rulebook(RULES, {"globex": ["eu-gdpr"]})
    assert [item.pack.pack for item in chosen.of("globex")] == ["eu-gdpr"]
    assert [item.pack.pack for item in chosen.of("acme-kk")] == [item.pack.pack for item in BOOK.of("acme-kk")]


def test_two_versions_of_a_rule_cannot_hold_on_one_day() -> None:
    pack = next(item.pack for item in BOOK.of("acme-kk") if item.pack.pack == "jp-police")
    document = pack.model_dump(by_alias=True)
    with pytest.raises(ValueError, match="two versions of JP-POLICE-1"):
        RulePack.model_validate(document | {"rules": [*document["rules"], document["rules"][0] | {"version": 2}]})


answers = st.sampled_from(["yes", "no", "unknown"])
assessments = st.fixed_dictionaries(
    {
        "leak": st.sampled_from(["none", "suspected", "confirmed"]),
        "left_organisation": answers,
        "special_care": answers,
        "property_damage": answers,
        "wrongful_purpose": answers,
        "my_number": answers,
        "my_number_people": st.none() | st.integers(0, 300),
        "entrusted": answers,
        "entrusted_notice_hours": st.none() | st.integers(1, 72),
        "people": st.none() | st.integers(0, 2500),
        "people_certain": st.booleans(),
        "protection": st.fixed_dictionaries(
            dict.fromkeys(PROTECTED, answers)
            | {"signed_off_by": st.none() | st.just(OFFICER), "seconded_by": st.none() | st.just(SECOND)}
        ),
    }
)
reports = st.fixed_dictionaries(
    {
        "cause": st.sampled_from(["left_behind", "theft", "unknown"]),
        "passcode_attached": answers,
        "place": st.sampled_from(["taxi", "home", "unknown"]),
    }
)


@given(reports, assessments)
def test_the_same_facts_open_nothing_twice(report: dict[str, Any], facts: dict[str, Any]) -> None:
    case = case_of(lost(**report), assessed(**facts))
    assert duties(case, {duty.duty: duty for duty in duties(case)}) == []


@given(reports, assessments)
def test_whatever_an_unknown_turns_out_to_be_its_duty_was_open_already(
    report: dict[str, Any], facts: dict[str, Any]
) -> None:
    """Kleene's logic is right: if some way of filling in the unknown facts owes a duty, it is open before."""
    open_now = _of(case_of(lost(**report), assessed(**facts)))
    unknown = [
        name for name in ("special_care", "property_damage", "my_number", "entrusted") if facts[name] == "unknown"
    ]
    for filled in product(["yes", "no"], repeat=len(unknown)):
        later = facts | dict(zip(unknown, filled, strict=True))
        found = duties(case_of(lost(**report), assessed(**later)))
        assert rules([duty for duty in found if duty.rule != "JP-APPI-V"]) <= open_now


@given(assessments)
def test_more_people_never_owe_less(facts: dict[str, Any]) -> None:
    counted = facts | {"people_certain": True}
    fewer = _mandatory(duties(case_of(lost(), assessed(**counted | {"people": 1000}))))
    more = _mandatory(duties(case_of(lost(), assessed(**counted | {"people": 1001}))))
    assert fewer <= more


def _mandatory(found: list[DutyOpened]) -> set[str]:
    return {duty.rule for duty in found if duty.rule != "JP-APPI-V"}


@given(reports, assessments)
def test_losing_a_protection_never_frees_from_a_duty(report: dict[str, Any], facts: dict[str, Any]) -> None:
    bare = facts | {"protection": dict.fromkeys(PROTECTED, "no")}
    assert _mandatory(duties(case_of(lost(**report), assessed(**facts)))) <= _mandatory(
        duties(case_of(lost(**report), assessed(**bare)))
    )


def test_a_value_from_a_later_version_counts_as_unknown() -> None:
    assert facts_of(case_of(lost(), assessed(special_care="perhaps"))).special_care.value == "unknown"
