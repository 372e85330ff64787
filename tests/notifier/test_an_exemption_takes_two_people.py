"""Strong protection frees from the duties once two people found it satisfied, and no longer than they did."""

from typing import Any

from shared.events.reporter import LossReportAmended
from tests.notifier.cases import OFFICER, PROTECTED, SECOND, after, assessed, lost
from tests.notifier.running import Notifier

_SIGNED = PROTECTED | {"signed_off_by": OFFICER}
_BOTH = _SIGNED | {"seconded_by": SECOND}
_OWED = ("JP-APPI-1", "JP-APPI-2", "JP-APPI-3")


async def _states(notifier: Notifier, incident: str) -> set[tuple[str, bool]]:
    privacy = await notifier.someone("privacy")
    found = (await privacy.get(f"/v1/incidents/{incident}/duties"))["duties"]
    return {(duty["state"], duty["provisional"]) for duty in found if duty["rule"] in _OWED}


async def _exempt(notifier: Notifier, incident: str) -> None:
    signed = assessed(special_care="yes", protection=_SIGNED)
    await notifier.hear(incident, lost(), signed)
    assert await _states(notifier, incident) == {("open", True)}
    await notifier.hear(incident, assessed(special_care="yes", protection=_BOTH, version=2))
    assert await _states(notifier, incident) == {("waived", True)}


async def test_the_second_signature_ends_what_the_first_left_undecided(notifier: Notifier, incident: str) -> None:
    await _exempt(notifier, incident)
    waived = await notifier.said(incident, "duty-waived")
    assert {event["rule"] for event in waived} >= set(_OWED)
    privacy = await notifier.someone("privacy")
    headers = {"Accept": "text/html", "Authorization": f"Bearer {privacy.token}"}
    page = await privacy.http.get(f"/incidents/{incident}/duties?lang=en", headers=headers)
    assert "two people found the exemption for strong protection satisfied" in page.text
    assert {(event["reason"], *event["waived_by"]) for event in waived} == {("strong_protection", OFFICER, SECOND)}


async def test_a_later_version_without_the_signatures_leaves_the_duties_open_again(
    notifier: Notifier, incident: str
) -> None:
    await _exempt(notifier, incident)
    await notifier.hear(incident, assessed(special_care="yes", protection=PROTECTED, version=3))
    assert await _states(notifier, incident) == {("open", True)}


async def test_a_passcode_that_was_found_with_the_phone_ends_the_exemption(notifier: Notifier, incident: str) -> None:
    await _exempt(notifier, incident)
    facts: dict[str, Any] = lost(attached=["passcode_note"]).model_dump(include=set(LossReportAmended.model_fields))
    noted = LossReportAmended.model_validate(facts | {"changed": ["attached"], "known_at": after(100)})
    await notifier.hear(incident, noted)
    assert await _states(notifier, incident) == {("open", False)}


async def test_an_exemption_ends_no_duty_that_it_does_not_concern(notifier: Notifier, incident: str) -> None:
    entrusted: dict[str, Any] = {"special_care": "yes", "entrusted": "yes", "entrusted_notice_hours": 24}
    await notifier.hear(incident, lost(), assessed(**entrusted, protection=_BOTH))
    privacy = await notifier.someone("privacy")
    found = (await privacy.get(f"/v1/incidents/{incident}/duties"))["duties"]
    assert {(duty["rule"], duty["state"]) for duty in found} == {("JP-POLICE-1", "open"), ("JP-CONTRACT-1", "open")}
