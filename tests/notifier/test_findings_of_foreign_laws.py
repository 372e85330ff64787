"""What the laws of other countries leave to judgement is judged with the assessment, and starts their clocks."""

from typing import Any

from services.notifier.domain.facts import facts_of
from services.notifier.domain.rules import decide
from services.notifier.rulebook import Rulebook
from shared.events.notifier import DutyOpened
from tests.notifier.cases import INCIDENT, NOTICED, RULES, assessed, case_of, lost

_BOOK = Rulebook(RULES, {"acme-kk": ["eu-gdpr", "sg-pdpa", "us"]})
_LIVING = {"residency": ["EU", "SG"]}


def _owed(standing: dict[str, DutyOpened] | None = None, **findings: Any) -> dict[str, DutyOpened]:
    case = case_of(lost(), assessed(**_LIVING | findings))
    found = decide(
        _BOOK.of("acme-kk"),
        INCIDENT,
        facts_of(case),
        known_at=NOTICED,
        reported_at=case.reported_at,
        assessment=case.assessment,
        only_report=False,
        standing=standing or {},
    )
    return {duty.rule: duty for duty in found}


def test_what_nobody_has_judged_is_provisional_and_has_no_day_where_the_judgement_starts_the_clock() -> None:
    owed = _owed()
    assert set(owed) == {"EU-GDPR-33", "EU-GDPR-34", "SG-PDPA-1", "US-SEC-105"}
    assert [rule for rule, duty in owed.items() if duty.provisional] == ["EU-GDPR-34", "SG-PDPA-1", "US-SEC-105"]
    assert [(owed[rule].soft_due, owed[rule].due) for rule in ("SG-PDPA-1", "US-SEC-105")] == [(None, None)] * 2
    assert "high_risk_unknown" in owed["SG-PDPA-1"].reasons
    assert "material_unknown" in owed["US-SEC-105"].reasons


def test_what_was_judged_not_to_be_so_is_not_owed() -> None:
    assert set(_owed(high_risk="no", material="no")) == {"EU-GDPR-33"}


def test_singapores_three_days_run_from_the_assessment_and_the_four_of_form_8_k_from_the_determination() -> None:
    first = {duty.duty: duty for duty in _owed().values()}
    at = "2026-11-25T12:00:00-05:00"
    owed = _owed(first, high_risk="yes", material="yes", version=2, assessed_at=at)
    assert {rule: duty.provisional for rule, duty in owed.items()} == dict.fromkeys(
        ("EU-GDPR-34", "SG-PDPA-1", "US-SEC-105"), False
    )
    days = [duty.due.isoformat() for duty in owed.values() if duty.due is not None]
    assert days == ["2026-11-29T23:59:59+08:00", "2026-12-02T23:59:59-05:00"]
