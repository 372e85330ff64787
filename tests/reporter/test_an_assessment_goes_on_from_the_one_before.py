"""What the privacy officer found once is not asked again: the next version goes on from it."""

from datetime import UTC, datetime, timedelta

import pytest

from services.reporter.domain import report
from services.reporter.domain.assessment import Findings, YesNo, assess, prefill, second
from services.reporter.domain.incident import By, Incident, RefusedError
from shared.events.payload import Answer
from shared.events.reporter import Cause, Door, LossFacts

_OFFICER = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"
_OTHER = "person-9a8b7c6d5e4f30211203f4e5d6c7b8a9"
_NOW = datetime(2026, 11, 24, 14, 40, tzinfo=UTC)


def _reported(**facts: object) -> Incident:
    answers = report.Report(reported_as="holder", phone="iPhone", callback="0312345678")
    told = LossFacts.model_validate({"callback": "H" * 43} | facts)
    by = By(_OFFICER, _NOW)
    incident = "0192f0c1-0000-7000-8000-000000000001"
    return report.accept(incident, "acme-kk", answers, told, by, door=Door.SIGNED_IN).incident


def _assessed(incident: Incident, **findings: object) -> Incident:
    later = By(_OFFICER, _NOW + timedelta(hours=len(incident.assessments)))
    return assess(incident, Findings.model_validate(findings), later).incident


@pytest.mark.parametrize("found", ["yes", "no"])
@pytest.mark.parametrize(
    "name", ["wrongful_purpose", "left_organisation", "special_care", "entrusted", "high_risk", "material"]
)
def test_a_finding_stands_in_the_next_version(name: str, found: YesNo) -> None:
    first = _assessed(_reported(malicious_intent="no"), **{name: found})
    second = _assessed(first, people=80, people_certain=True)
    assert len(second.assessments) == 2
    assert getattr(second.assessments[-1], name) is Answer(found)


def test_what_became_known_since_goes_before_an_earlier_finding() -> None:
    first = _assessed(_reported(), wrongful_purpose="no", left_organisation="no")
    stolen = report.amend(first, {"cause": Cause.THEFT}, By(_OFFICER, _NOW)).incident
    second = _assessed(stolen, people=80).assessments[-1]
    assert (second.wrongful_purpose, second.left_organisation) == (Answer.YES, Answer.YES)


def test_a_note_with_the_passcode_in_the_case_bars_the_exemption_whatever_else_was_answered() -> None:
    noted = _reported(passcode_set="yes", passcode_attached="no", attached=["passcode_note"])
    assert prefill(noted, _NOW).protection.key_apart is Answer.NO
    with pytest.raises(RefusedError, match="exemption_not_shown"):
        _assessed(noted, encrypted="yes", remote_erase_ready="yes", locked_at_loss="yes", exemption_signed_off=True)


_SHOWN = {"encrypted": "yes", "locked_at_loss": "yes", "key_apart": "yes"}


def test_an_exemption_is_signed_where_encryption_lock_and_key_are_shown() -> None:
    protection = _assessed(_reported(), **_SHOWN, exemption_signed_off=True).assessments[-1].protection
    assert protection.signed_off_by == _OFFICER


@pytest.mark.parametrize("found", ["no", "unknown"])
@pytest.mark.parametrize("name", _SHOWN)
def test_an_exemption_is_not_signed_on_what_is_not_shown(name: str, found: YesNo) -> None:
    with pytest.raises(RefusedError) as refused:
        _assessed(_reported(), **_SHOWN | {name: found}, exemption_signed_off=True)
    assert (refused.value.code, refused.value.facts) == ("exemption_not_shown", {"missing": [name]})


def _seconded(incident: Incident, person: str = _OTHER) -> Incident:
    return second(incident, len(incident.assessments), By(person, _NOW)).incident


def test_an_exemption_is_found_by_two_people_in_a_version_of_its_own() -> None:
    both = _seconded(_assessed(_reported(), **_SHOWN, exemption_signed_off=True))
    first, newest = both.assessments
    assert (first.protection.seconded_by, newest.protection.seconded_by) == (None, _OTHER)
    assert (
        newest.model_copy(update={"version": 1, "assessed_at": first.assessed_at, "protection": first.protection})
        == first
    )
    assert _seconded(both) == both, "asked again, it is the same"


def test_who_signs_again_after_the_second_takes_nothing_away() -> None:
    both = _seconded(_assessed(_reported(), **_SHOWN, exemption_signed_off=True))
    assert _assessed(both, **_SHOWN, exemption_signed_off=True) == both
    taken_back = _assessed(both, **_SHOWN).assessments[-1].protection
    assert (taken_back.signed_off_by, taken_back.seconded_by) == (None, None)


def test_the_second_signature_is_refused_where_it_is_no_second_one_or_comes_too_late() -> None:
    signed = _assessed(_reported(), **_SHOWN, exemption_signed_off=True)
    changed = report.amend(signed, {"cause": Cause.THEFT}, By(_OFFICER, _NOW)).incident
    refused = {
        "exemption_same_person": lambda: _seconded(signed, _OFFICER),
        "exemption_not_signed": lambda: _seconded(_assessed(_reported())),
        "assessment_outdated": lambda: _seconded(changed),
    }
    for code, act in refused.items():
        with pytest.raises(RefusedError, match=code):
            act()
