"""The pages of duties, notices and disclosures: what the API does, for people with a browser and no script."""

import html
import re
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import pytest

from shared.web import forms
from shared.web.language import COOKIE
from tests.notifier.cases import BIG, DETAILS, LOCKED, POLICE, SENT, STOPPED, WIPED, after, assessed, lost
from tests.notifier.running import Notifier

ISSUER = forms.flat({"issuer": DETAILS["issuer"]})
DRAFT: dict[str, Any] = ISSUER | {f"prevention.{tongue}": DETAILS["prevention"][0][tongue] for tongue in ("ja", "en")}
LIST = b"name,mail,line_user_id\nA,a@customers.example,\nB,b@customers.example,\n"


class Browser:
    """One person at the pages."""

    def __init__(self, notifier: Notifier, token: str) -> None:
        self._http = notifier.http
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "text/html", "Cookie": f"{COOKIE}=en"}

    async def see(self, path: str, expect: int = 200) -> str:
        answer = await self._http.get(path, headers=self._headers)
        assert answer.status_code == expect, answer.text
        return answer.text

    async def send(self, path: str, fields: dict[str, Any], expect: int = 303, **more: Any) -> httpx2.Response:
        answer = await self._http.post(path, data=fields, headers=self._headers, **more)
        assert answer.status_code == expect, answer.text
        return answer


async def browser(notifier: Notifier, role: str, organisation: str | None = None, *, sub: str = "") -> Browser:
    return Browser(notifier, (await notifier.someone(role, organisation, sub=sub)).token)


async def _case(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), LOCKED, SENT, WIPED, STOPPED, POLICE, assessed(**BIG))


def _field(page: str, name: str) -> str:
    found = re.search(rf'name="{re.escape(name)}" value="([^"]*)"', page)
    assert found is not None, f"no field {name}"
    return found[1]


def _fields(page: str, prefix: str) -> dict[str, str | list[str]]:
    """What the form of the page would send."""
    checked = re.findall(r'type="checkbox" name="([^"]*)" value="([^"]*)" checked', page)
    typed = re.findall(r'<input name="([^"]*)" [^>]*value="([^"]*)"', page)
    found: dict[str, str | list[str]] = {name: html.unescape(value) for name, value in typed if value}
    for name, value in checked:
        found[name] = [*found.get(name, []), value]
    return {name: value for name, value in found.items() if name.startswith(prefix)}


async def test_a_disclosure_is_drafted_approved_by_two_people_and_issued_on_its_pages(
    notifier: Notifier, incident: str
) -> None:
    await _case(notifier, incident)
    pr = await browser(notifier, "pr")
    made = await pr.send(f"/incidents/{incident}/disclosures", DRAFT)
    draft = made.headers["location"]
    shown = await pr.see(draft)
    assert "Apology and notice about a lost company phone" in shown
    assert _fields(shown, "issuer.") == ISSUER
    for role in ("privacy", "executive"):
        person = await browser(notifier, role)
        await person.send(f"{draft}/approve", {"text": _field(await person.see(draft), "text")})
    assert "You have approved" not in await pr.see(draft)
    refused = await pr.send(f"{draft}/issue", {}, expect=409)
    assert "Try the contact desk" in refused.text
    await pr.send(f"{draft}/check", {})
    assert "Issue it" in await pr.see(draft)
    await pr.send(f"{draft}/issue", {})
    public = re.search(r'href="[^"]*(/disclosures/[0-9a-f-]+)"', await pr.see(draft))
    assert public is not None
    assert "1,240 people" in (await notifier.http.get(f"{public[1]}?lang=en")).text
    assert [event["type"] for event in await notifier.said(incident) if event["type"].startswith("disclosure")] == [
        "disclosure-drafted",
        "disclosure-approved",
        "disclosure-issued",
    ]


async def test_a_draft_that_cannot_be_taken_keeps_what_was_typed(notifier: Notifier, incident: str) -> None:
    await _case(notifier, incident)
    pr = await browser(notifier, "pr")
    path = f"/incidents/{incident}/disclosures"
    refused = await pr.send(path, DRAFT | {"issuer.desk.phone": "call us"}, expect=422)
    assert 'value="call us"' in refused.text
    assert "Phone number" in refused.text
    one_language = await pr.send(path, DRAFT | {"prevention.en": ""}, expect=422)
    assert "different numbers of lines" in one_language.text
    assert DRAFT["prevention.ja"] in one_language.text
    for nonsense in ({"issuer": "x"}, {"prevention": "x"}, {"edits.ja": "x"}, {"issuer.desk.phone.x": "1"}):
        await pr.send(path, DRAFT | nonsense, expect=422)
    assert await notifier.said(incident, "disclosure-drafted") == []


async def test_a_block_put_into_other_words_is_held_against_the_proof(notifier: Notifier, incident: str) -> None:
    await _case(notifier, incident)
    pr, privacy = await browser(notifier, "pr"), await browser(notifier, "privacy")
    draft = (await pr.send(f"/incidents/{incident}/disclosures", DRAFT)).headers["location"]
    change = DRAFT | {"reason": "wording", "edits.ja.closing": "1,241名の皆さまにお詫びします。"}
    await pr.send(f"{draft}/revise", change)
    page = await privacy.see(draft)
    assert "can neither be approved nor issued" in page
    assert "Approve this text" not in page
    assert "1,241名の皆さまにお詫びします。" in page
    await privacy.send(f"{draft}/retract", {"reason": "replaced"}, expect=403)


async def test_people_are_listed_shown_the_texts_and_told_on_the_page(notifier: Notifier, incident: str) -> None:
    await _case(notifier, incident)
    privacy = await browser(notifier, "privacy")
    path = f"/incidents/{incident}/notices"
    broken = LIST + b",nobody@customers.example,\n"
    refused = await privacy.send(f"{path}/people", {}, expect=422, files={"file": ("people.csv", broken)})
    assert "Line 4" in refused.text
    await privacy.send(f"{path}/people", {}, files={"file": ("people.csv", LIST)})
    order = ISSUER | {"assessment_version": "1"}
    shown = await privacy.send(path, order | {"step": "preview"}, expect=200)
    assert "Before it leaves: 2 people" in shown.text
    assert DETAILS["issuer"]["desk"]["phone"] in shown.text
    assert await notifier.outside.mails("a@customers.example") == []
    await privacy.send(path, {name: _field(shown.text, name) for name in order} | {"step": "send"})
    await notifier.heard_of(incident, "notices-settled")
    page = await privacy.see(path)
    assert "Accepted by the provider" in page
    batch = re.search(rf"{path}/([0-9a-f-]+)\?state=accepted", page)
    assert batch is not None
    ledger = await privacy.see(batch[0])
    assert ledger.count("<tr>") == 3
    assert "a@customers.example" not in ledger
    nobody = await privacy.send(path, order | {"step": "preview"}, expect=200)
    assert "nobody left to tell" in nobody.text
    for nonsense in ({"assessment_version": "x"}, {"step": "now"}, {"issuer.company": "x"}):
        await privacy.send(path, order | nonsense, expect=422)


async def test_a_duty_is_waived_by_two_people_for_one_reason(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG))
    page = f"/incidents/{incident}/duties"
    privacy, executive = await browser(notifier, "privacy"), await browser(notifier, "executive")
    found = re.search(r'action="(/duties/[0-9a-f-]+/waive)"', await privacy.see(page))
    assert found is not None
    await privacy.send(found[1], {"reason": "entruster_reports"})
    assert "You proposed it" in await privacy.see(page)
    seen = await executive.see(page)
    assert "the one who entrusted the data reports" in seen
    await executive.send(found[1], {"reason": _field(seen, "reason")})
    (waived,) = await notifier.said(incident, "duty-waived")
    assert waived["reason"] == "entruster_reports"
    assert len(waived["waived_by"]) == 2


async def test_pages_show_what_a_role_may_do_and_refuse_the_rest(notifier: Notifier, incident: str, beta: str) -> None:
    await _case(notifier, incident)
    auditor, lead = await browser(notifier, "auditor"), await browser(notifier, "lead")
    draft = (await (await browser(notifier, "pr")).send(f"/incidents/{incident}/disclosures", DRAFT)).headers[
        "location"
    ]
    for path in (f"/incidents/{incident}/{name}" for name in ("duties", "notices", "disclosures")):
        assert 'method="post" action="/incidents' not in await auditor.see(path)
    assert 'method="post" action="/incidents' not in await auditor.see(draft)
    duty = (await (await notifier.someone("privacy")).get(f"/v1/incidents/{incident}/duties"))["duties"][0]["duty"]
    await lead.send(f"/duties/{duty}/waive", {"reason": "entruster_reports"}, expect=403)
    await auditor.send(f"{draft}/approve", {"text": "0" * 64}, expect=403)
    await auditor.send(f"{draft}/nothing", {}, expect=404)
    stranger = await browser(notifier, "privacy", beta)
    for path in (f"/incidents/{incident}/notices", f"/incidents/{incident}/disclosures", draft):
        await stranger.see(path, expect=404)


async def test_every_page_is_there_in_both_languages_before_anything_was_assessed(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost())
    privacy = await browser(notifier, "privacy")
    for name in ("duties", "notices", "disclosures"):
        for tongue in ("ja", "en"):
            assert f'<html lang="{tongue}">' in await privacy.see(f"/incidents/{incident}/{name}?lang={tongue}")
    await privacy.send(f"/incidents/{incident}/disclosures", DRAFT, expect=409)


@pytest.mark.parametrize(
    ("rule", "how", "said"),
    [
        ("JP-APPI-3", "told_by_post_or_phone", "everybody was told by post, by phone or in person"),
        ("JP-APPI-P", "entruster_told", "the one who entrusted the data was told"),
    ],
)
async def test_a_duty_towards_people_or_an_entruster_is_recorded_as_fulfilled_with_its_moment(
    notifier: Notifier, incident: str, rule: str, how: str, said: str
) -> None:
    await notifier.hear(incident, lost(), assessed(**BIG, entrusted="yes"))
    privacy = await browser(notifier, "privacy")
    board = (await (await notifier.someone("privacy")).get(f"/v1/incidents/{incident}/duties"))["duties"]
    duty = next(duty["duty"] for duty in board if duty["rule"] == rule)
    assert f'action="/duties/{duty}/meet"' in await privacy.see(f"/incidents/{incident}/duties")
    met_at = after(30).astimezone(ZoneInfo("Asia/Tokyo"))
    await privacy.send(f"/duties/{duty}/meet", {"how": how, "met_at": "tomorrow"}, expect=422)
    await privacy.send(f"/duties/{duty}/meet", {"how": how, "met_at": f"{met_at:%Y-%m-%dT%H:%M}"})
    (met,) = await notifier.said(incident, "duty-met")
    assert (met["rule"], met["how"], met["met_at"]) == (rule, how, met_at.isoformat(timespec="milliseconds"))
    assert said in await privacy.see(f"/incidents/{incident}/duties")


async def test_a_report_that_is_recorded_days_after_it_was_filed_is_not_late(notifier: Notifier, incident: str) -> None:
    old = "2024-06-03T10:00:00+09:00"
    await notifier.hear(incident, lost(noticed_at=old, reported_at=old), assessed(**BIG | {"known_at": old}))
    privacy = await browser(notifier, "privacy")
    board = (await (await notifier.someone("privacy")).get(f"/v1/incidents/{incident}/duties"))["duties"]
    duty = next(duty["duty"] for duty in board if duty["rule"] == "JP-APPI-1")
    await privacy.send(f"/duties/{duty}/file", {"receipt": "PPC-1", "filed_at": "2024-06-07T17:00"})
    (filed,) = await notifier.said(incident, "duty-filed")
    assert (filed["filed_at"], filed["late"]) == ("2024-06-07T17:00:00.000+09:00", False)


async def test_alerts_of_any_number_are_read_page_after_page_newest_first(notifier: Notifier) -> None:
    await notifier.kit.pool.execute(
        "INSERT INTO alert (alert, subject, organisation, drill, kind, opened_at) SELECT uuidv7()::text, 'org-' || $1, "
        "$1, false, 'device_lost', now() - number * interval '1 minute' FROM generate_series(1, 250) number",
        notifier.organisation,
    )
    desk = await browser(notifier, "desk")
    seen: list[str] = []
    at: str | None = "/alerts"
    while at:
        page = await desk.see(at)
        seen += re.findall(r'href="/alerts/([0-9a-f-]{36})"', page)
        taken = seen[-1]
        # Whoever takes the last one of a page misses none of the next.
        await desk.send(f"/alerts/{taken}", {})
        following = re.search(r'href="(/alerts\?state=open&amp;after=[0-9a-f-]+)">Older alerts', page)
        at = following[1].replace("&amp;", "&") if following else None
    assert "Back to the newest" in page
    rows = await notifier.kit.pool.fetch(
        "SELECT alert FROM alert WHERE organisation = $1 ORDER BY opened_at DESC", notifier.organisation
    )
    assert seen == [row["alert"] for row in rows]
    assert taken in await desk.see("/alerts?state=ended")
    assert taken not in await desk.see("/alerts")
