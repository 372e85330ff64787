"""A duty is owed again on facts that its end did not rest on; one that was done before it opened is met."""

from typing import Any

import pytest

from shared.events.reporter import IncidentCancelled, IncidentReopened, ReportVerified
from tests.notifier.cases import BIG, DETAILS, LOCKED, POLICE, SENT, STOPPED, WIPED, after, assessed, lost
from tests.notifier.running import Notifier


async def _duty(notifier: Notifier, incident: str, rule: str) -> dict[str, Any]:
    privacy = await notifier.someone("privacy")
    found = (await privacy.get(f"/v1/incidents/{incident}/duties"))["duties"]
    duty: dict[str, Any] = next(duty for duty in found if duty["rule"] == rule)
    return duty


async def _waive(notifier: Notifier, incident: str, rule: str) -> None:
    duty = (await _duty(notifier, incident, rule))["duty"]
    for who in ("privacy", "executive"):
        person = await notifier.someone(who)
        waived = await person.post(f"/v1/duties/{duty}/waive", {"reason": "requirements_not_met"})
    assert waived["state"] == "waived"


async def test_a_duty_waived_when_its_ground_had_gone_is_owed_again_on_another_one(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG), assessed(version=2, people=80, known_at=after(40)))
    await _waive(notifier, incident, "JP-APPI-1")
    await notifier.hear(incident, assessed(version=3, people=80, misuse_seen="unknown", known_at=after(50)))
    assert (await _duty(notifier, incident, "JP-APPI-1"))["state"] == "waived"
    await notifier.hear(incident, assessed(version=4, people=80, special_care="yes", known_at=after(60)))
    owed = await _duty(notifier, incident, "JP-APPI-1")
    assert (owed["state"], owed["assessment_version"]) == ("open", 4)
    assert owed["reasons"] == ["leak", "special_care", "exemption_not_satisfied"]


async def test_a_duty_waived_when_its_ground_had_gone_is_owed_again_when_the_ground_is_back(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG), assessed(version=2, people=80))
    await _waive(notifier, incident, "JP-APPI-1")
    await notifier.hear(incident, assessed(**BIG, version=3))
    assert (await _duty(notifier, incident, "JP-APPI-1"))["state"] == "open"


async def test_a_duty_waived_on_grounds_that_stand_stays_so_while_nothing_new_comes_up(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    await _waive(notifier, incident, "JP-APPI-1")
    await notifier.hear(incident, assessed(**BIG | {"people": 2000}, version=2), assessed(**BIG, version=3))
    assert (await _duty(notifier, incident, "JP-APPI-1"))["state"] == "waived"


async def test_people_who_come_to_light_after_the_others_were_told_by_post_are_owed_their_notice(
    notifier: Notifier, incident: str
) -> None:
    many = BIG | {"people": 1100}
    await notifier.hear(incident, lost(), assessed(**many))
    duty = (await _duty(notifier, incident, "JP-APPI-3"))["duty"]
    await (await notifier.someone("privacy")).post(f"/v1/duties/{duty}/meet", {"how": "told_by_post_or_phone"})
    await notifier.hear(incident, assessed(**many, version=2))
    assert (await _duty(notifier, incident, "JP-APPI-3"))["state"] == "met"
    await notifier.hear(incident, assessed(**many | {"people": 1101}, version=3))
    assert (await _duty(notifier, incident, "JP-APPI-3"))["state"] == "open"


async def test_a_report_to_the_police_from_before_the_duty_opened_meets_it(notifier: Notifier, incident: str) -> None:
    verified = ReportVerified(method="call_back", verified_at=after(80))
    await notifier.hear(incident, lost(door="emergency"), POLICE)
    assert await notifier.said(incident, "duty-opened") == []
    await notifier.hear(incident, verified)
    duty = await _duty(notifier, incident, "JP-POLICE-1")
    assert (duty["state"], duty["how"]) == ("met", "police_report_filed")
    (met,) = await notifier.said(incident, "duty-met")
    assert met["met_at"] == POLICE.model_dump(mode="json")["filed_at"]


async def test_a_case_that_goes_on_unassessed_after_its_day_has_its_duties_opened(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), IncidentCancelled(reason="found_in_bag"))
    await notifier.fire(incident, "assess")
    await notifier.until_no_timer(incident, "assess")
    await notifier.hear(incident, IncidentReopened(reason="it_was_another_phone"))
    await notifier.fire(incident, "assess")
    await notifier.heard_of(incident, "duty-opened", 5)
    assert (await _duty(notifier, incident, "JP-APPI-1"))["provisional"]


@pytest.mark.parametrize("first", ["publication", "notices"])
async def test_whom_no_notice_reached_is_told_by_the_publication_whichever_came_first(
    notifier: Notifier, incident: str, first: str
) -> None:
    await notifier.outside.refuse("mail", {"address": "gone@example.jp", "code": 550})
    facts = assessed(**BIG | {"people": 2}, special_care="yes")
    await notifier.hear(incident, lost(), LOCKED, SENT, WIPED, STOPPED, POLICE, facts)
    privacy = await notifier.someone("privacy")
    people = b"name,mail\nA,gone@example.jp\nB,there@example.jp\n"
    headers = {"Content-Type": "text/csv"}
    await privacy.ask("POST", f"/v1/incidents/{incident}/principals", 200, content=people, headers=headers)
    if first == "publication":
        await notifier.published(incident, DETAILS)
    order = {"template": "jp-loss-v1", "assessment_version": 1, "issuer": DETAILS["issuer"]}
    await privacy.post(f"/v1/incidents/{incident}/notices", order, expect=202)
    await notifier.heard_of(incident, "notices-settled")
    if first == "notices":
        await notifier.published(incident, DETAILS)
    ends = {rule: (await _duty(notifier, incident, rule))["how"] for rule in ("JP-APPI-3", "JP-APPI-3S")}
    assert ends == {"JP-APPI-3": "told_and_published", "JP-APPI-3S": "published"}
