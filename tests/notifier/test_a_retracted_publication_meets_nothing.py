"""What a publication had met is owed again once nothing is public any more."""

from typing import Any

from tests.notifier.cases import BIG, DETAILS, LOCKED, POLICE, SENT, STOPPED, WIPED, assessed, lost
from tests.notifier.running import Notifier

_RULES = ("JP-APPI-3", "JP-APPI-3S")


async def _duties(notifier: Notifier, incident: str) -> dict[str, dict[str, Any]]:
    privacy = await notifier.someone("privacy")
    return {duty["rule"]: duty for duty in (await privacy.get(f"/v1/incidents/{incident}/duties"))["duties"]}


async def _states(notifier: Notifier, incident: str) -> set[str]:
    return {(await _duties(notifier, incident))[rule]["state"] for rule in _RULES}


async def _met_by_publication(notifier: Notifier, incident: str) -> str:
    """One of two people could not be reached; a text is public in place of that notice."""
    await notifier.outside.refuse("mail", {"address": "gone@example.jp", "code": 550})
    facts = assessed(**BIG | {"people": 2}, special_care="yes")
    await notifier.hear(incident, lost(), LOCKED, SENT, WIPED, STOPPED, POLICE, facts)
    privacy = await notifier.someone("privacy")
    people = b"name,mail\nA,gone@example.jp\nB,there@example.jp\n"
    headers = {"Content-Type": "text/csv"}
    await privacy.ask("POST", f"/v1/incidents/{incident}/principals", 200, content=people, headers=headers)
    order = {"template": "jp-loss-v1", "assessment_version": 1, "issuer": DETAILS["issuer"]}
    await privacy.post(f"/v1/incidents/{incident}/notices", order, expect=202)
    await notifier.heard_of(incident, "notices-settled")
    path = await notifier.published(incident, DETAILS)
    assert await _states(notifier, incident) == {"met"}
    return path


async def test_a_retracted_text_leaves_notice_and_publication_owed_by_the_dates_they_had(
    notifier: Notifier, incident: str
) -> None:
    path = await _met_by_publication(notifier, incident)
    before = await _duties(notifier, incident)
    pr = await notifier.someone("pr")
    await pr.post(f"{path}/retract", {"reason": "facts_wrong"})
    now = await _duties(notifier, incident)
    for rule in _RULES:
        assert (now[rule]["state"], now[rule]["how"]) == ("open", None)
        assert [now[rule][name] for name in ("known_at", "soft_due")] == [
            before[rule][name] for name in ("known_at", "soft_due")
        ]
    await notifier.published(incident, DETAILS)
    assert await _states(notifier, incident) == {"met"}, "another text stands in again"


async def test_a_text_that_another_public_one_replaces_is_taken_back_without_a_new_duty(
    notifier: Notifier, incident: str
) -> None:
    path = await _met_by_publication(notifier, incident)
    await notifier.published(incident, DETAILS)
    pr = await notifier.someone("pr")
    await pr.post(f"{path}/retract", {"reason": "replaced"})
    assert await _states(notifier, incident) == {"met"}


async def test_notices_that_reached_everybody_stay_enough_without_the_publication(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost(), LOCKED, SENT, WIPED, STOPPED, POLICE, assessed(**BIG))
    duty = (await _duties(notifier, incident))["JP-APPI-3"]["duty"]
    privacy, pr = await notifier.someone("privacy"), await notifier.someone("pr")
    await privacy.post(f"/v1/duties/{duty}/meet", {"how": "told_by_post_or_phone"})
    path = await notifier.published(incident, DETAILS)
    await pr.post(f"{path}/retract", {"reason": "issued_in_error"})
    assert (await _duties(notifier, incident))["JP-APPI-3"]["state"] == "met"


async def test_what_a_person_recorded_as_published_is_owed_again_too(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), LOCKED, SENT, WIPED, STOPPED, POLICE, assessed(**BIG))
    path = await notifier.published(incident, DETAILS)
    duty = (await _duties(notifier, incident))["JP-APPI-3"]["duty"]
    privacy, pr = await notifier.someone("privacy"), await notifier.someone("pr")
    await privacy.post(f"/v1/duties/{duty}/meet", {"how": "published_in_place"})
    await pr.post(f"{path}/retract", {"reason": "facts_wrong"})
    assert (await _duties(notifier, incident))["JP-APPI-3"]["state"] == "open"
