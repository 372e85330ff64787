"""A supplement is owed once something that the filed final report says is known otherwise (追完)."""

from typing import Any

import pytest

from services.notifier.domain.filing import stated
from tests.notifier.cases import BIG, after, assessed, case_of, lost
from tests.notifier.running import Notifier

_SAID: dict[str, Any] = BIG | {"wrongful_purpose": "unknown"}


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ({"people": 1250}, ("people_changed",)),
        ({"people": 80}, ("people_changed",)),
        (
            {"data_items": ["contacts", "mail", "health"], "special_care": "yes"},
            ("data_items_changed", "special_care_changed"),
        ),
        ({"property_damage": "yes"}, ("property_damage_changed",)),
        ({"my_number": "yes", "my_number_people": 3}, ("my_number_people_changed", "my_number_changed")),
        ({"misuse_seen": "yes"}, ("misuse_seen_changed",)),
        ({"wrongful_purpose": "no"}, ()),
        ({"people_certain": False}, ()),
        ({"data_items": ["mail", "contacts"]}, ()),
    ],
)
def test_what_weighs_in_a_report_and_is_otherwise_now_is_named(now: dict[str, Any], changed: tuple[str, ...]) -> None:
    said = stated(case_of(lost(), assessed(**_SAID)))
    assert said.changes(stated(case_of(lost(), assessed(**_SAID | now)))) == changed


def test_a_cause_that_was_unknown_and_another_one_are_told() -> None:
    unknown, left, stolen = (
        stated(case_of(lost(cause=cause), assessed(**_SAID))) for cause in ("unknown", "left_behind", "theft")
    )
    assert unknown.changes(left) == ("cause_changed",)
    assert left.changes(stolen) == ("cause_changed", "wrongful_purpose_changed")


async def _duty(notifier: Notifier, incident: str, phase: str, rule: str = "JP-APPI-2") -> dict[str, Any] | None:
    privacy = await notifier.someone("privacy")
    found = (await privacy.get(f"/v1/incidents/{incident}/duties"))["duties"]
    return next((duty for duty in found if (duty["rule"], duty["phase"]) == (rule, phase)), None)


async def _file(notifier: Notifier, incident: str, phase: str, receipt: str, rule: str = "JP-APPI-2") -> None:
    duty = await _duty(notifier, incident, phase, rule)
    assert duty is not None
    privacy = await notifier.someone("privacy")
    await privacy.post(f"/v1/duties/{duty['duty']}/file", {"receipt": receipt})


async def test_more_people_after_the_final_report_ask_for_a_supplement_without_a_day(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    await _file(notifier, incident, "preliminary", "PPC-1", "JP-APPI-1")
    await notifier.hear(incident, assessed(**BIG | {"people": 1245}, version=2, known_at=after(30)))
    assert await _duty(notifier, incident, "supplement") is None, "the final report is yet to come"
    await _file(notifier, incident, "final", "PPC-1-F")
    await notifier.hear(incident, assessed(**BIG | {"people": 1245}, version=3, known_at=after(40)))
    assert await _duty(notifier, incident, "supplement") is None, "nothing is otherwise"
    await notifier.hear(incident, assessed(**BIG | {"people": 1250}, version=4, known_at=after(50)))
    owed = await _duty(notifier, incident, "supplement")
    assert owed is not None
    assert (owed["state"], owed["reasons"], owed["provisional"]) == ("open", ["people_changed"], False)
    assert (owed["due"], owed["soft_due"], owed["recipient"]) == (None, None, "ppc")
    assert owed["title"] == {
        "ja": "個人情報保護委員会への確報の追完",
        "en": "Supplement to the final report to the PPC",
    }


async def test_a_supplement_is_filed_as_the_reports_are_and_asked_for_again_by_the_next_change(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    await _file(notifier, incident, "final", "PPC-1-F")
    await notifier.hear(incident, assessed(**BIG | {"people": 1250}, version=2))
    await _file(notifier, incident, "supplement", "PPC-1-S1")
    filed = (await notifier.said(incident, "duty-filed"))[-1]
    assert (filed["rule"], filed["phase"], filed["late"]) == ("JP-APPI-2", "supplement", False)
    await notifier.hear(incident, assessed(**BIG | {"people": 1250}, version=3))
    told = await _duty(notifier, incident, "supplement")
    assert told is not None
    assert (told["state"], told["receipt"]) == ("filed", "PPC-1-S1")
    await notifier.hear(incident, assessed(**BIG | {"people": 1251}, version=4))
    again = await _duty(notifier, incident, "supplement")
    assert again is not None
    assert (again["state"], again["receipt"], again["assessment_version"]) == ("open", None, 4)


async def test_a_supplement_that_two_people_waived_is_asked_for_again_by_the_next_change(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    await _file(notifier, incident, "final", "PPC-1-F")
    await notifier.hear(incident, assessed(**BIG | {"people": 1241}, version=2))
    duty = await _duty(notifier, incident, "supplement")
    assert duty is not None
    for who in ("privacy", "executive"):
        waived = await (await notifier.someone(who)).post(
            f"/v1/duties/{duty['duty']}/waive", {"reason": "requirements_not_met"}
        )
    assert waived["state"] == "waived"
    await notifier.hear(incident, assessed(**BIG | {"people": 1241, "records": 1320}, version=3))
    assert (await _duty(notifier, incident, "supplement") or {})["state"] == "waived"
    await notifier.hear(incident, assessed(**BIG | {"people": 1242}, version=4))
    assert (await _duty(notifier, incident, "supplement") or {})["state"] == "open"


async def test_the_report_on_my_number_data_has_a_supplement_of_its_own(notifier: Notifier, incident: str) -> None:
    facts: dict[str, Any] = {"special_care": "yes", "my_number": "yes", "my_number_people": 101}
    await notifier.hear(incident, lost(), assessed(**facts))
    await _file(notifier, incident, "final", "PPC-2-F", "JP-MYN-1")
    await notifier.hear(incident, assessed(**facts | {"my_number_people": 102}, version=2))
    owed = await _duty(notifier, incident, "supplement", "JP-MYN-1")
    assert owed is not None
    assert owed["reasons"] == ["my_number_people_changed"]
    assert await _duty(notifier, incident, "supplement") is None, "the other report is not filed"
