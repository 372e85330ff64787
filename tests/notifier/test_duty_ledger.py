"""Duties as the service keeps them: opened once, warned of, ended only by people or by what fulfils them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.events.notifier import DutyOpened
from shared.events.reporter import (
    DeviceRecovered,
    IncidentCancelled,
    IncidentTriaged,
    LossReportAmended,
    ReportVerified,
)
from tests.notifier.cases import (
    BIG,
    INCIDENT,
    LOCKED,
    NOTICED,
    POLICE,
    SENT,
    WIPED,
    after,
    assessed,
    case_of,
    duties,
    lost,
)
from tests.notifier.running import Notifier

VERIFIED = ReportVerified(method="call_back", verified_at=after(28))


async def _opened(notifier: Notifier, incident: str) -> dict[str, dict[str, Any]]:
    return {event["rule"]: event for event in await notifier.said(incident, "duty-opened")}


async def _duty(notifier: Notifier, incident: str, rule: str) -> dict[str, Any]:
    privacy = await notifier.someone("privacy")
    found = (await privacy.get(f"/v1/incidents/{incident}/duties"))["duties"]
    duty: dict[str, Any] = next(duty for duty in found if duty["rule"] == rule)
    return duty


async def test_an_assessment_of_many_people_opens_the_duties_with_their_dates(
    notifier: Notifier, incident: str
) -> None:
    heard = [lost(passcode_attached="yes"), LOCKED, SENT, WIPED, assessed(**BIG)]
    await notifier.hear(incident, *heard)
    opened = await _opened(notifier, incident)
    assert set(opened) == {"JP-POLICE-1", "JP-APPI-1", "JP-APPI-2", "JP-APPI-3"}
    for owed in duties(case_of(*heard)):
        assert _dates(opened[owed.rule]) == (owed.known_at, owed.soft_due, owed.due)
    first = opened["JP-APPI-1"]
    assert first["reasons"] == ["leak", "more_than_1000_people", "exemption_not_satisfied"]
    assert "due" not in opened["JP-APPI-3"]
    assert first["actor"] == "service/notifier"


def _dates(opened: dict[str, Any]) -> tuple[datetime | None, ...]:
    stated = DutyOpened.model_validate({name: opened[name] for name in opened.keys() & DutyOpened.model_fields.keys()})
    return stated.known_at, stated.soft_due, stated.due


async def test_the_same_assessment_again_opens_nothing_new(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    before = await notifier.said(incident, "duty-opened")
    await notifier.hear(incident, assessed(**BIG | {"version": 2}))
    assert await notifier.said(incident, "duty-opened") == before


async def test_theft_learned_later_opens_duties_known_from_that_day(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), assessed())
    assert "JP-APPI-1" not in await _opened(notifier, incident)
    theft = LossReportAmended.model_validate(
        lost(cause="theft").model_dump(include=set(LossReportAmended.model_fields))
        | {"changed": ["cause"], "known_at": NOTICED + timedelta(days=3)}
    )
    await notifier.hear(incident, theft)
    opened = await _opened(notifier, incident)
    owed = {duty.rule: duty for duty in duties(case_of(lost(), assessed(), theft))}
    for rule in ("JP-APPI-1", "JP-APPI-2"):
        assert _dates(opened[rule]) == (theft.known_at, owed[rule].soft_due, owed[rule].due)


async def test_an_emergency_report_owes_nothing_until_it_is_verified(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(door="emergency"))
    assert await _opened(notifier, incident) == {}
    await notifier.hear(incident, VERIFIED)
    assert set(await _opened(notifier, incident)) == {"JP-POLICE-1"}


async def test_the_police_report_meets_its_duty(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), POLICE)
    (met,) = await notifier.said(incident, "duty-met")
    assert (met["rule"], met["how"]) == ("JP-POLICE-1", "police_report_filed")


@pytest.mark.parametrize(
    "payload",
    [
        DeviceRecovered.model_validate({"recovered_at": after(100), "from_whom": "police", "identity_checked": "yes"}),
        IncidentCancelled(reason="found_in_bag_before_exposure"),
        assessed(version=2, people=80),
    ],
)
async def test_neither_recovery_nor_false_alarm_nor_a_smaller_number_cancels_a_duty(
    notifier: Notifier, incident: str, payload: Any
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG), payload)
    assert (await _duty(notifier, incident, "JP-APPI-1"))["state"] == "open"


async def test_a_filing_is_stored_with_its_receipt_and_says_whether_it_was_late(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    privacy = await notifier.someone("privacy")
    duty = await _duty(notifier, incident, "JP-APPI-1")
    body = {"receipt": "PPC-2026-118842"}
    desk = await notifier.someone("desk")
    await desk.post(f"/v1/duties/{duty['duty']}/file", body, expect=403)
    filed = await privacy.post(f"/v1/duties/{duty['duty']}/file", body)
    assert (filed["state"], filed["receipt"]) == ("filed", "PPC-2026-118842")
    await privacy.post(f"/v1/duties/{duty['duty']}/file", body, expect=409)
    (event,) = await notifier.said(incident, "duty-filed")
    assert (event["late"], event["assessment_version"]) == (False, 1)
    assert event["actor"].endswith("/privacy_officer")


async def test_a_late_filing_says_so(notifier: Notifier, incident: str) -> None:
    old = "2024-06-03T10:00:00+09:00"
    await notifier.hear(incident, lost(noticed_at=old, reported_at=old), assessed(**BIG | {"known_at": old}))
    privacy = await notifier.someone("privacy")
    duty = await _duty(notifier, incident, "JP-APPI-1")
    await privacy.post(f"/v1/duties/{duty['duty']}/file", {"receipt": "PPC-1"})
    (event,) = await notifier.said(incident, "duty-filed")
    assert event["late"] is True


async def test_a_filing_may_be_dated_by_a_clock_that_is_a_little_ahead_and_not_by_tomorrow(
    notifier: Notifier, incident: str
) -> None:
    now = datetime.now(UTC)
    await notifier.hear(incident, lost(), assessed(**BIG))
    privacy = await notifier.someone("privacy")
    path = f"/v1/duties/{(await _duty(notifier, incident, 'JP-APPI-1'))['duty']}/file"
    body = {"receipt": "PPC-1", "filed_at": (now + timedelta(days=1)).isoformat()}
    await privacy.post(path, body, expect=422)
    await privacy.post(path, body | {"filed_at": (now + timedelta(minutes=2)).isoformat()})
    (event,) = await notifier.said(incident, "duty-filed")
    assert datetime.fromisoformat(event["filed_at"]) < now + timedelta(minutes=1)


async def test_waiving_takes_two_people_with_the_same_reason(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    duty = await _duty(notifier, incident, "JP-APPI-1")
    path = f"/v1/duties/{duty['duty']}/waive"
    privacy, executive = await notifier.someone("privacy"), await notifier.someone("executive")
    first = await privacy.post(path, {"reason": "exemption_satisfied"})
    assert (first["state"], first["waiver_reason"]) == ("open", "exemption_satisfied")
    assert (await privacy.post(path, {"reason": "exemption_satisfied"}, expect=409))["code"] == "same_person"
    assert (await executive.post(path, {"reason": "not_a_leak"}, expect=409))["code"] == "other_reason"
    assert await notifier.said(incident, "duty-waived") == []
    assert (await executive.post(path, {"reason": "exemption_satisfied"}))["state"] == "waived"
    (event,) = await notifier.said(incident, "duty-waived")
    assert len(set(event["waived_by"])) == 2


async def test_a_waiver_given_while_the_facts_were_unknown_ends_when_they_are_known(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(people=None, people_certain=False))
    duty = await _duty(notifier, incident, "JP-APPI-1")
    assert duty["provisional"]
    path = f"/v1/duties/{duty['duty']}/waive"
    for who in ("privacy", "executive"):
        waived = await (await notifier.someone(who)).post(path, {"reason": "not_a_category"})
    assert waived["state"] == "waived"
    await notifier.hear(incident, assessed(version=2, people=None, people_certain=False, known_at=after(60)))
    assert (await _duty(notifier, incident, "JP-APPI-1"))["state"] == "waived"

    learned = after(100)
    await notifier.hear(incident, assessed(**BIG, version=3, known_at=learned))
    owed = await _duty(notifier, incident, "JP-APPI-1")
    assert (owed["state"], owed["provisional"], owed["waiver_reason"]) == ("open", False, None)
    assert datetime.fromisoformat(owed["known_at"]) == learned
    await notifier.fire(incident, "duty_due")
    assert "JP-APPI-1" in {event["rule"] for event in await notifier.heard_of(incident, "duty-overdue", 3)}


async def test_alarms_come_before_the_deadline_and_after_it(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    await notifier.fire(incident, "duty_soft")
    await notifier.heard_of(incident, "duty-due-soon", 3)
    await notifier.fire(incident, "duty_due")
    late = await notifier.heard_of(incident, "duty-overdue", 3)
    assert {event["rule"] for event in late} == {"JP-POLICE-1", "JP-APPI-1", "JP-APPI-2"}
    assert (await _duty(notifier, incident, "JP-APPI-1"))["overdue"] is True


async def test_a_duty_that_is_met_is_never_overdue(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), POLICE)
    armed = "SELECT count(*) FROM timer WHERE name LIKE 'duty%' AND subject = $1"
    assert await notifier.kit.pool.fetchval(armed, incident) == 0


async def test_a_leak_that_nobody_assesses_opens_the_duties_as_provisional(notifier: Notifier, incident: str) -> None:
    old = "2024-06-03T10:00:00+09:00"
    await notifier.hear(incident, lost(noticed_at=old, reported_at=old, malicious_intent="unknown"))
    await notifier.heard_of(incident, "duty-opened", 5)
    opened = await _opened(notifier, incident)
    assert opened["JP-APPI-1"]["provisional"]
    assert opened["JP-APPI-1"]["known_at"] == "2024-06-03T10:00:00.000+09:00"
    assert {"leak_unknown", "people_unknown"} <= set(opened["JP-APPI-1"]["reasons"])


async def test_what_is_told_later_moves_no_clock_of_the_loss_itself(notifier: Notifier, incident: str) -> None:
    told = lost().model_dump(include=set(LossReportAmended.model_fields))
    amended = LossReportAmended.model_validate(told | {"changed": ["circumstances"], "known_at": after(110)})
    await notifier.hear(incident, lost(), amended)
    await notifier.fire(incident, "assess")
    await notifier.heard_of(incident, "duty-opened", 4)
    opened = await _opened(notifier, incident)
    assert datetime.fromisoformat(opened["JP-APPI-1"]["known_at"]) == NOTICED


async def test_the_day_to_assess_counts_for_an_emergency_report_too_once_it_is_verified(
    notifier: Notifier, incident: str
) -> None:
    old = "2024-06-03T10:00:00+09:00"
    await notifier.hear(incident, lost(door="emergency", noticed_at=old, reported_at=old), VERIFIED)
    await notifier.heard_of(incident, "duty-opened", 5)
    assert (await _opened(notifier, incident))["JP-APPI-1"]["provisional"]


async def test_a_cause_that_triage_finds_is_known_since_the_triage(notifier: Notifier, incident: str) -> None:
    old = "2024-06-03T10:00:00+09:00"
    # Missed of late: one that was missed then and not assessed within hours opens the duty by itself.
    await notifier.hear(incident, lost(), assessed(known_at=old))
    await notifier.hear(incident, IncidentTriaged.model_validate({"cause": "theft", "severity": "high"}))
    opened = await _opened(notifier, incident)
    assert opened["JP-APPI-1"]["known_at"] > "2025"


async def test_the_filing_pack_says_that_a_person_files(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), LOCKED, SENT, WIPED, POLICE, assessed(**BIG))
    privacy = await notifier.someone("privacy")
    pack = await privacy.get(f"/v1/incidents/{incident}/filing")
    assert len(pack["items"]) == 9
    assert "提出を行いません" in pack["notice"]["ja"]
    headers = {"Authorization": f"Bearer {privacy.token}", "Accept": "text/html"}
    page = await notifier.http.get(f"/incidents/{incident}/filing", headers=headers)
    assert page.status_code == 200
    assert "1,240名" in page.text
    board = await notifier.http.get(f"/incidents/{incident}/duties", headers=headers)
    assert "個人情報保護委員会への速報" in board.text


async def test_another_organisation_sees_and_ends_nothing(notifier: Notifier, incident: str, beta: str) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    duty = await _duty(notifier, incident, "JP-APPI-1")
    stranger = await notifier.someone("privacy", beta)
    assert (await stranger.get("/v1/duties"))["duties"] == []
    await stranger.get(f"/v1/incidents/{incident}/duties", expect=404)
    await stranger.get(f"/v1/incidents/{incident}/filing", expect=404)
    for step, body in (("file", {"receipt": "X"}), ("meet", {"how": "x"}), ("waive", {"reason": "x"})):
        await stranger.post(f"/v1/duties/{duty['duty']}/{step}", body, expect=404)


async def test_two_organisations_keep_their_own_cases(notifier: Notifier, incident: str, beta: str) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    await notifier.hear(INCIDENT, lost(), assessed(), organisation=beta)
    ours, theirs = await notifier.someone("privacy"), await notifier.someone("privacy", beta)
    assert {duty["incident"] for duty in (await ours.get("/v1/duties"))["duties"]} == {incident}
    assert {duty["incident"] for duty in (await theirs.get("/v1/duties"))["duties"]} == {INCIDENT}
