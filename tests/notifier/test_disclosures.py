"""The public apology: two approvals of exactly one text, a desk that answers, old editions kept, no drill outside."""

from typing import Any

import pytest

from shared.events.reporter import LeakAssessed
from tests.notifier.cases import BIG, DETAILS, LOCKED, POLICE, SENT, STOPPED, WIPED, assessed, lost
from tests.notifier.running import Notifier
from tests.stack.service import Someone

_PAGE = {"Accept": "text/html"}


async def _case(notifier: Notifier, incident: str, *, drill: bool = False) -> None:
    await notifier.hear(incident, lost(), LOCKED, SENT, WIPED, STOPPED, POLICE, assessed(**BIG), drill=drill)


async def _draft(notifier: Notifier, incident: str, **changes: Any) -> dict[str, Any]:
    pr = await notifier.someone("pr")
    drafted: dict[str, Any] = await pr.post(f"/v1/incidents/{incident}/disclosures", DETAILS | changes, expect=201)
    return drafted


async def _approve(notifier: Notifier, drafted: dict[str, Any]) -> None:
    for role in ("privacy", "executive"):
        person = await notifier.someone(role)
        await person.post(f"/v1/disclosures/{drafted['disclosure']}/approve", {"text": drafted["text"]})


async def _issue(notifier: Notifier, drafted: dict[str, Any]) -> dict[str, Any]:
    await _approve(notifier, drafted)
    pr = await notifier.someone("pr")
    await pr.post(f"/v1/disclosures/{drafted['disclosure']}/contact-desk-check")
    issued: dict[str, Any] = await pr.post(f"/v1/disclosures/{drafted['disclosure']}/issue")
    return issued


async def test_an_apology_goes_from_draft_to_a_public_page(notifier: Notifier, incident: str) -> None:
    await _case(notifier, incident)
    drafted = await _draft(notifier, incident)
    assert [finding["code"] for finding in drafted["findings"]] == ["contact_desk_not_checked"]
    assert (await notifier.http.get(f"/disclosures/{drafted['disclosure']}")).status_code == 404
    issued = await _issue(notifier, drafted)
    assert issued["state"] == "issued"
    page = await notifier.http.get(issued["url"], headers=_PAGE)
    assert page.status_code == 200
    assert "業務用携帯電話の紛失に関するお詫びとお知らせ" in page.text
    assert "1,240名" in page.text
    english = await notifier.http.get(f"{issued['url']}?lang=en", headers=_PAGE)
    assert "Apology and notice about a lost company phone" in english.text
    assert "1,240 people" in english.text
    names = [event["type"] for event in await notifier.said(incident) if event["type"].startswith("disclosure")]
    assert names == ["disclosure-drafted", "disclosure-approved", "disclosure-issued"]
    (event,) = await notifier.said(incident, "disclosure-issued")
    assert (event["people"], event["url"], event["edition"]) == (1240, issued["url"], "first")
    assert event["text"] == drafted["text"]
    assert "contact_desk_checked_at" in event


async def test_two_different_people_approve_exactly_this_text(notifier: Notifier, incident: str) -> None:
    await _case(notifier, incident)
    drafted = await _draft(notifier, incident)
    path = f"/v1/disclosures/{drafted['disclosure']}"
    privacy, pr = await notifier.someone("privacy"), await notifier.someone("pr")
    assert (await privacy.post(f"{path}/approve", {"text": "0" * 64}, expect=409))["code"] == "text_differs"
    await privacy.post(f"{path}/approve", {"text": drafted["text"]})
    assert (await privacy.post(f"{path}/approve", {"text": drafted["text"]}, expect=409))["code"] == "same_person"
    await pr.post(f"{path}/approve", {"text": drafted["text"]}, expect=403)
    await pr.post(f"{path}/contact-desk-check")
    assert (await pr.post(f"{path}/issue", expect=409))["code"] == "not_approved"
    assert await notifier.said(incident, "disclosure-approved") == []


async def test_a_draft_that_is_written_anew_has_to_be_approved_anew(notifier: Notifier, incident: str) -> None:
    await _case(notifier, incident)
    drafted = await _draft(notifier, incident)
    await _approve(notifier, drafted)
    pr = await notifier.someone("pr")
    changed = DETAILS | {"advice": [{"ja": "ご注意ください。", "en": "Please be careful."}]}
    body = {"reason": "wording", "details": changed}
    again = await pr.post(f"/v1/disclosures/{drafted['disclosure']}/revise", body)
    assert (again["version"], again["state"], again["approvals"]) == (1, "draft", [])
    assert again["text"] != drafted["text"]


async def test_an_untried_contact_desk_or_a_wrong_number_blocks_issue(notifier: Notifier, incident: str) -> None:
    await _case(notifier, incident)
    drafted = await _draft(notifier, incident)
    await _approve(notifier, drafted)
    pr, privacy = await notifier.someone("pr"), await notifier.someone("privacy")
    refused = await pr.post(f"/v1/disclosures/{drafted['disclosure']}/issue", expect=409)
    assert [finding["code"] for finding in refused["findings"]] == ["contact_desk_not_checked"]
    wrong = await _draft(notifier, incident, edits={"ja": {"closing": ["1,241名の皆さまにお詫びします。"]}})
    refused = await privacy.post(f"/v1/disclosures/{wrong['disclosure']}/approve", {"text": wrong["text"]}, expect=409)
    assert [finding["code"] for finding in refused["findings"]] == ["numbers_differ"]


async def test_a_new_assessment_between_approval_and_issue_blocks_issue(notifier: Notifier, incident: str) -> None:
    await _case(notifier, incident)
    drafted = await _draft(notifier, incident)
    await _approve(notifier, drafted)
    pr = await notifier.someone("pr")
    await pr.post(f"/v1/disclosures/{drafted['disclosure']}/contact-desk-check")
    await notifier.hear(incident, _counted(2, 1241))
    refused = await pr.post(f"/v1/disclosures/{drafted['disclosure']}/issue", expect=409)
    assert "assessment_superseded" in {finding["code"] for finding in refused["findings"]}
    assert await notifier.said(incident, "disclosure-issued") == []


def _counted(version: int, people: int) -> LeakAssessed:
    return assessed(**BIG | {"version": version, "people": people})


async def test_a_revision_replaces_the_public_text_and_the_old_edition_stays_readable(
    notifier: Notifier, incident: str
) -> None:
    await _case(notifier, incident)
    first = await _issue(notifier, await _draft(notifier, incident))
    await notifier.hear(incident, _counted(2, 1250))
    pr = await notifier.someone("pr")
    body = {"reason": "headcount_changed", "details": DETAILS}
    revised = await pr.post(f"/v1/disclosures/{first['disclosure']}/revise", body)
    assert "1,240名" in (await notifier.http.get(first["url"], headers=_PAGE)).text
    await _issue(notifier, revised)
    latest = (await notifier.http.get(first["url"], headers=_PAGE)).text
    assert "1,250名" in latest
    assert "第二報" in latest
    old = (await notifier.http.get(f"{first['url']}?edition=1", headers=_PAGE)).text
    assert "1,240名" in old
    assert "これは以前の版です" in old
    (event,) = await notifier.said(incident, "disclosure-revised")
    assert (event["edition"], event["reason"], event["version"]) == ("second", "headcount_changed", 2)


async def test_a_retraction_is_visible(notifier: Notifier, incident: str) -> None:
    await _case(notifier, incident)
    issued = await _issue(notifier, await _draft(notifier, incident))
    pr = await notifier.someone("pr")
    await pr.post(f"/v1/disclosures/{issued['disclosure']}/retract", {"reason": "issued_in_error"})
    page = await notifier.http.get(issued["url"], headers=_PAGE)
    assert "撤回されました" in page.text
    assert "1,240名" not in page.text
    (event,) = await notifier.said(incident, "disclosure-retracted")
    assert event["reason"] == "issued_in_error"
    assert (await pr.post(f"/v1/disclosures/{issued['disclosure']}/issue", expect=409))["code"] == "retracted"


async def test_a_drill_never_reaches_the_public_site(notifier: Notifier, incident: str, beta: str) -> None:
    await _case(notifier, incident, drill=True)
    issued = await _issue(notifier, await _draft(notifier, incident))
    (event,) = await notifier.said(incident, "disclosure-issued")
    assert (event["channels"], event.get("url"), event["drill"]) == (["drill"], None, "true")
    assert (await notifier.http.get(issued["url"], headers=_PAGE)).status_code == 404
    listing = await notifier.http.get(f"/disclosures?organisation={notifier.organisation}", headers=_PAGE)
    assert issued["disclosure"] not in listing.text
    assert (await _page(notifier, issued["url"], await notifier.someone("pr", beta))).status_code == 404
    shown = await _page(notifier, issued["url"], await notifier.someone("pr"))
    assert "【訓練】" in shown.text


async def _page(notifier: Notifier, url: str, person: Someone) -> Any:
    return await notifier.http.get(url, headers=_PAGE | {"Authorization": f"Bearer {person.token}"})


async def test_what_is_public_is_listed_for_its_organisation_only(notifier: Notifier, incident: str, beta: str) -> None:
    await _case(notifier, incident)
    issued = await _issue(notifier, await _draft(notifier, incident))
    ours = await notifier.http.get(f"/disclosures?organisation={notifier.organisation}", headers=_PAGE)
    theirs = await notifier.http.get(f"/disclosures?organisation={beta}", headers=_PAGE)
    assert issued["disclosure"] in ours.text
    assert issued["disclosure"] not in theirs.text


@pytest.mark.parametrize("query", ["", "?organisation=", "?organisation=Acme%20K.K."])
@pytest.mark.parametrize(("lang", "words"), [("ja", "どの会社のお知らせか"), ("en", "does not say whose notices")])
async def test_a_reader_whose_address_names_no_company_is_told_so(
    notifier: Notifier, query: str, lang: str, words: str
) -> None:
    page = await notifier.http.get(f"/disclosures{query}", headers=_PAGE | {"Cookie": f"lostphone_lang={lang}"})
    assert page.status_code == 404
    assert words in page.text


async def test_another_organisation_can_neither_read_nor_move_a_draft(
    notifier: Notifier, incident: str, beta: str
) -> None:
    await _case(notifier, incident)
    drafted = await _draft(notifier, incident)
    path = f"/v1/disclosures/{drafted['disclosure']}"
    stranger = await notifier.someone("pr", beta)
    await stranger.get(path, expect=404)
    await stranger.post(f"{path}/issue", expect=404)
    await stranger.get(f"/v1/incidents/{incident}/disclosures", expect=404)
    other = await notifier.someone("privacy", beta)
    await other.post(f"{path}/approve", {"text": drafted["text"]}, expect=404)


async def test_nothing_is_drafted_before_the_leak_was_assessed(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost())
    pr = await notifier.someone("pr")
    refused = await pr.post(f"/v1/incidents/{incident}/disclosures", DETAILS, expect=409)
    assert refused["code"] == "not_assessed"
