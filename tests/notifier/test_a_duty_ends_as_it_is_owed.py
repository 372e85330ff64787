"""One person ends a duty only in the way in which it is fulfilled; two may waive it, on what both have seen."""

from datetime import timedelta
from typing import Any

import pytest

from tests.notifier.cases import BIG, NOTICED, after, assessed, lost
from tests.notifier.running import Notifier


async def _duty(notifier: Notifier, incident: str, rule: str) -> dict[str, Any]:
    privacy = await notifier.someone("privacy")
    found = (await privacy.get(f"/v1/incidents/{incident}/duties"))["duties"]
    duty: dict[str, Any] = next(duty for duty in found if duty["rule"] == rule)
    return duty


@pytest.mark.parametrize(
    ("rule", "how"),
    [
        ("JP-APPI-1", "told_by_post_or_phone"),
        ("JP-APPI-3", "all_principals_told"),
        ("JP-APPI-P", "published_in_place"),
        ("JP-POLICE-1", "police_report_filed"),
    ],
)
async def test_no_duty_is_met_in_a_way_that_is_not_its_own(
    notifier: Notifier, incident: str, rule: str, how: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG, entrusted="yes"))
    path = f"/v1/duties/{(await _duty(notifier, incident, rule))['duty']}/meet"
    refused = await (await notifier.someone("privacy")).post(path, {"how": how}, expect=409)
    assert refused["code"] == "duty_not_met_like_this"
    assert (await _duty(notifier, incident, rule))["state"] == "open"


@pytest.mark.parametrize("rule", ["JP-APPI-3", "JP-APPI-P", "JP-POLICE-1"])
async def test_a_receipt_ends_no_duty_towards_somebody_who_gives_none(
    notifier: Notifier, incident: str, rule: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG, entrusted="yes"))
    path = f"/v1/duties/{(await _duty(notifier, incident, rule))['duty']}/file"
    refused = await (await notifier.someone("privacy")).post(path, {"receipt": "PPC-1"}, expect=409)
    assert refused["code"] == "duty_takes_no_receipt"


async def test_a_waiver_is_proposed_anew_when_a_ground_has_come_up_that_its_proposer_did_not_see(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    path = f"/v1/duties/{(await _duty(notifier, incident, 'JP-APPI-1'))['duty']}/waive"
    privacy, executive = await notifier.someone("privacy"), await notifier.someone("executive")
    await privacy.post(path, {"reason": "requirements_not_met"})
    await notifier.hear(incident, assessed(**BIG | {"people": 1241}, version=2, known_at=after(40)))
    assert (await _duty(notifier, incident, "JP-APPI-1"))["waiver_proposed_by"], "a number that weighs nothing"
    await notifier.hear(incident, assessed(**BIG, version=3, special_care="yes", known_at=after(50)))
    now = await _duty(notifier, incident, "JP-APPI-1")
    assert (now["waiver_proposed_by"], "special_care" in now["reasons"]) == (None, True)
    assert (await executive.post(path, {"reason": "requirements_not_met"}))["state"] == "open"
    assert (await privacy.post(path, {"reason": "requirements_not_met"}))["state"] == "waived"


async def test_a_receipt_on_the_wrong_duty_is_taken_back_and_the_duty_stands_by_its_dates(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    before = await _duty(notifier, incident, "JP-APPI-2")
    path = f"/v1/duties/{before['duty']}"
    privacy, executive = await notifier.someone("privacy"), await notifier.someone("executive")
    assert (await privacy.post(f"{path}/reopen", expect=409))["code"] == "duty_open"
    await privacy.post(f"{path}/file", {"receipt": "PPC-2026-118842"})
    await executive.post(f"{path}/reopen", expect=403)
    again = await privacy.post(f"{path}/reopen")
    assert (again["state"], again["receipt"], again["reasons"][-1]) == ("open", None, "ended_in_error")
    assert [again[name] for name in ("known_at", "soft_due", "due")] == [
        before[name] for name in ("known_at", "soft_due", "due")
    ]
    opened = (await notifier.said(incident, "duty-opened"))[-1]
    assert opened["actor"].endswith("/privacy_officer")
    await notifier.fire(incident, "duty_due")
    assert "JP-APPI-2" in {event["rule"] for event in await notifier.heard_of(incident, "duty-overdue", 3)}


@pytest.mark.parametrize(("rule", "act"), [("JP-APPI-1", "file"), ("JP-APPI-3", "meet")])
async def test_nothing_was_done_about_a_loss_a_year_before_it(
    notifier: Notifier, incident: str, rule: str, act: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    path = f"/v1/duties/{(await _duty(notifier, incident, rule))['duty']}/{act}"
    privacy = await notifier.someone("privacy")
    typed = {"file": {"receipt": "PPC-1"}, "meet": {"how": "told_by_post_or_phone"}}[act]
    moment = {"file": "filed_at", "meet": "met_at"}[act]
    refused = await privacy.post(path, typed | {moment: (NOTICED - timedelta(days=365)).isoformat()}, expect=422)
    assert refused["code"] == "moment_before_loss"
    await privacy.post(path, typed | {moment: after(30).isoformat()})


async def test_the_privacy_officer_is_told_of_a_duty_that_is_owed_again(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    path = f"/v1/duties/{(await _duty(notifier, incident, 'JP-APPI-2'))['duty']}/file"
    await (await notifier.someone("privacy")).post(path, {"receipt": "PPC-1-F"})
    assert "duty_again" not in await _alerts(notifier, incident)
    await notifier.hear(incident, assessed(**BIG | {"people": 1300}, version=2))
    assert "duty_again" in await _alerts(notifier, incident)


async def _alerts(notifier: Notifier, incident: str) -> set[str]:
    found = await (await notifier.someone("privacy")).get(f"/v1/alerts?incident={incident}")
    return {alert["kind"] for alert in found["alerts"]}
