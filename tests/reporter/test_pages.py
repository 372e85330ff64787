"""The pages: both doors, the receipt, the queue and the case, in Japanese and English, without script."""

import re

import httpx2
import pytest

from shared.events import event_types
from shared.events import mdm_actions as done
from shared.events.wipe import Step
from tests.reporter.running import APPROVER, DESK, LEAD, PRIVACY, Reporter
from tests.stack.service import Someone

_HTML = {"Accept": "text/html"}


def _fields(html: str) -> dict[str, str]:
    """Hidden fields of the first form that has a csrf token."""
    return {
        found["name"]: found["value"]
        for tag in re.findall(r"<input type=\"hidden\"[^>]*>", html)
        if (found := re.search(r'name="(?P<name>[^"]*)" value="(?P<value>[^"]*)"', tag))
    }


async def _page(someone: Someone, path: str, expect: int = 200, lang: str = "ja") -> str:
    headers = {**_HTML, "Authorization": f"Bearer {someone.token}"} if someone.token else _HTML
    separator = "&" if "?" in path else "?"
    answer = await someone.http.get(f"{path}{separator}lang={lang}", headers=headers)
    assert answer.status_code == expect, answer.text[:500]
    return answer.text


async def _send(someone: Someone, path: str, form: dict[str, object], expect: int = 303) -> httpx2.Response:
    headers = {**_HTML, "Authorization": f"Bearer {someone.token}"}
    answer = await someone.http.post(path, data=form, headers=headers)
    assert answer.status_code == expect, re.sub(r"<[^>]*>", " ", answer.text)[:800]
    return answer


@pytest.mark.parametrize("lang", ["ja", "en"])
async def test_the_emergency_form_leads_to_the_receipt(reporter: Reporter, acme: str, lang: str) -> None:
    await reporter.phone(acme, number="09012345678")
    async with httpx2.AsyncClient(base_url=reporter.url, headers=_HTML) as browser:
        form = await browser.get(f"/emergency?organisation={acme}&lang={lang}")
        assert "<script" not in form.text
        hidden = _fields(form.text)
        assert hidden["organisation"] == acme
        answers = {
            "reported_as": "holder",
            "holder_name": "鈴木 健",
            "phone": "090-1234-5678",
            "callback": "0312345678",
        }
        sent = await browser.post(
            "/emergency", data=hidden | answers | {"place": "taxi", "data_items": ["mail", "chat"]}
        )
        assert sent.status_code == 303, sent.text
        receipt = await browser.get(sent.headers["location"])
        assert receipt.headers["referrer-policy"] == "no-referrer"
        assert re.search(r"[0-9A-Z]{5}(-[0-9A-Z]{5}){3}", receipt.text)
        assert {"ja": "折り返し", "en": "call you back"}[lang] in receipt.text
        assert "IMEI" not in receipt.text
        again = await browser.post(
            "/emergency", data=hidden | answers | {"place": "taxi", "data_items": ["mail", "chat"]}
        )
        assert again.headers["location"] == sent.headers["location"]


async def test_a_report_that_was_sent_and_then_changed_can_be_sent_as_another_one(
    reporter: Reporter, acme: str
) -> None:
    await reporter.phone(acme)
    answers = {"organisation": acme, "reported_as": "holder", "holder_name": "x", "phone": "y", "callback": "z"}
    answers["key"] = "form-0123456789abcdef01234567"
    first = await reporter.http.post("/emergency", data=answers, headers=_HTML)
    changed = await reporter.http.post("/emergency", data=answers | {"phone": "w"}, headers=_HTML)
    assert changed.status_code == 422
    again = answers | {"phone": "w", "key": _fields(changed.text)["key"]}
    second = await reporter.http.post("/emergency", data=again, headers=_HTML)
    assert second.status_code == 303
    assert second.headers["location"] != first.headers["location"]


_YEAR_1 = "0001-01-01T00:00:00+14:00"
"""No such moment is in Japan's calendar, nor in UTC's."""


async def test_a_case_of_an_earlier_release_that_holds_a_moment_of_the_year_1_is_shown(
    reporter: Reporter, acme: str
) -> None:
    desk = await reporter.someone(acme, DESK)
    report = {"reported_as": "proxy", "holder_name": "x", "phone": "09012345678", "callback": "0312345678"}
    accepted = await desk.post("/v1/reports", report)
    path = f"/v1/incidents/{accepted['incident']}"
    await desk.post(f"{path}/police", {"kind": "lost_property", "reception_number": "R-1", "prefecture": "tokyo"})
    seen = f"jsonb_build_object('noticed_at', '{_YEAR_1}', 'last_seen_from', '{_YEAR_1}', 'last_seen_to', '{_YEAR_1}')"
    await reporter.kit.pool.execute(
        f"""UPDATE incident SET state = jsonb_set(jsonb_set(state, '{{facts}}', state->'facts' || {seen}),
            '{{police,0,filed_at}}', '"{_YEAR_1}"') WHERE incident = $1""",
        accepted["incident"],
    )
    await reporter.kit.pool.execute(
        f"UPDATE report SET facts = facts || {seen} WHERE incident = $1", accepted["incident"]
    )
    case = await desk.get(path)
    assert case["noticed_at"] is None
    assert "noticed_at" in case["unknown"]
    assert [police["filed_at"] for police in case["police"]] == [_YEAR_1]
    await desk.get("/v1/incidents")
    receipt = await reporter.nobody().get(f"/v1/receipts/{accepted['receipt_code']}")
    assert "不明" in receipt["police_text"]["ja"]
    for lang in ("en", "ja"):
        await _page(desk, f"/incidents/{accepted['incident']}", lang=lang)
        await _page(desk, "/incidents", lang=lang)
        await _page(reporter.nobody(), f"/receipt?code={accepted['receipt_code']}", lang=lang)
    await desk.post(f"{path}/amend", {"cause": "theft"})


async def test_the_emergency_form_of_a_browser_without_cookies_is_taken_and_that_of_another_site_is_not(
    reporter: Reporter, acme: str
) -> None:
    await reporter.phone(acme)
    answers = {"organisation": acme, "reported_as": "holder", "holder_name": "x", "phone": "y", "callback": "z"}
    elsewhere = _HTML | {"Sec-Fetch-Site": "cross-site"}
    assert (await reporter.http.post("/emergency", data=answers, headers=elsewhere)).status_code == 403
    assert (await reporter.http.post("/emergency", data=answers, headers=_HTML)).status_code == 303


async def test_a_company_is_known_however_a_phones_keyboard_writes_its_name(reporter: Reporter, acme: str) -> None:
    await reporter.phone(acme)
    answers = {"reported_as": "holder", "holder_name": "x", "phone": "y", "callback": "z"}
    for typed in (f"{acme} ", acme.upper(), "".join(chr(ord(letter) + 0xFEE0) for letter in acme)):
        answer = await reporter.http.post("/emergency", data=answers | {"organisation": typed}, headers=_HTML)
        assert answer.status_code == 303, typed
    unknown = await reporter.http.post("/emergency", data=answers | {"organisation": "nobody"}, headers=_HTML)
    assert unknown.status_code == 404
    assert 'name="organisation" aria-invalid="true"' in unknown.text


@pytest.mark.parametrize(("lang", "field"), [("ja", "なくしたと気づいた日時"), ("en", "When did you notice?")])
async def test_a_refused_addition_comes_back_with_what_was_typed_and_says_which_field(
    reporter: Reporter, acme: str, lang: str, field: str
) -> None:
    await reporter.phone(acme)
    body = {"reported_as": "holder", "holder_name": "鈴木", "phone": "x99", "callback": "0312345678"}
    code = (await reporter.nobody().post("/v1/emergency-reports", body | {"organisation": acme}))["receipt_code"]
    typed = {"code": code.lower(), "noticed_at": "2999-01-01T00:00", "circumstances": "会議室で", "data_items": "mail"}
    answer = await reporter.http.post(
        "/receipt/amend", data=typed, headers=_HTML | {"Cookie": f"lostphone_lang={lang}"}
    )
    assert answer.status_code == 422
    assert f"<strong>{field}</strong>" in answer.text
    assert 'name="noticed_at" aria-invalid="true" aria-describedby="problem" autofocus' in answer.text
    assert "会議室で</textarea>" in answer.text
    assert 'value="mail" checked' in answer.text
    # A change of the language leads to the receipt, not to the address of the form.
    other = {"ja": "en", "en": "ja"}[lang]
    assert f'href="/receipt?code={code}&amp;lang={other}"' in answer.text


async def test_a_refused_form_of_the_desk_comes_back_with_what_was_typed(reporter: Reporter, acme: str) -> None:
    desk, privacy = await reporter.someone(acme, DESK), await reporter.someone(acme, PRIVACY)
    body = {"reported_as": "proxy", "holder_name": "鈴木", "phone": "x99", "callback": "0312345678"}
    page = f"/incidents/{(await desk.post('/v1/reports', body))['incident']}"
    police = {"kind": "crime", "channel": "phone", "reception_number": "R-77", "filed_at": "2999-01-01T00:00"}
    answer = await _send(desk, f"{page}/police?lang=ja", police, expect=422)
    assert 'value="R-77"' in answer.text
    assert '<option value="crime" selected>' in answer.text
    assert "<details open><summary>記録する</summary>" in answer.text
    assert f'href="{page}?lang=en"' in answer.text
    findings = {"leak": "confirmed", "people": "81", "data_items": ["mail", "chat"], "known_at": "2999-01-01T00:00"}
    findings |= {"final": "true", "entrusted": "yes"}
    answer = await _send(privacy, f"{page}/assessment", findings, expect=422)
    for kept in ('value="81"', '<option value="confirmed" selected>', 'value="chat" checked', 'value="true" checked'):
        assert kept in answer.text, kept
    assert 'name="people_certain" value="true">' in answer.text


async def test_a_form_with_something_missing_comes_back_with_what_was_typed(reporter: Reporter, acme: str) -> None:
    colleague = await reporter.someone(acme)
    form = {"reported_as": "proxy", "phone": "黒い電話", "callback": "0312345678", "circumstances": "<b>会議室</b>で"}
    answer = await _send(colleague, "/report", form, expect=422)
    assert "誰が持っていたか" in answer.text
    assert "&lt;b&gt;会議室&lt;/b&gt;で" in answer.text
    assert 'value="黒い電話"' in answer.text
    assert 'name="holder_name" aria-invalid="true" aria-describedby="problem" autofocus' in answer.text
    assert answer.text.count("aria-invalid") == answer.text.count('id="problem"') == 1


async def test_the_own_phone_is_not_locked_when_another_one_was_typed(reporter: Reporter, acme: str) -> None:
    ref = reporter.kit.people.ref(acme, "own-phone")
    mine = await reporter.phone(acme, holder=ref)
    theirs = await reporter.phone(acme, number="09012345678")
    colleague = await reporter.someone(acme, sub="own-phone")
    assert mine in await _page(colleague, "/report")
    form = {"reported_as": "proxy", "holder_name": "鈴木", "device": mine, "phone": "09012345678", "callback": "0312"}
    sent = await _send(colleague, "/report", form)
    desk = await reporter.someone(acme, DESK)
    [row] = (await desk.get("/v1/incidents"))["incidents"]
    assert (await desk.get(f"/v1/incidents/{row['incident']}"))["device"]["device"] == theirs
    assert "police" in await _page(colleague, sent.headers["location"], lang="en")


@pytest.mark.parametrize("lang", ["ja", "en"])
async def test_the_desk_does_everything_from_the_case_page(reporter: Reporter, acme: str, lang: str) -> None:
    device = await reporter.phone(acme, number="09012345678")
    all_roles = await reporter.someone(acme, DESK, LEAD, PRIVACY)
    body = {"reported_as": "proxy", "holder_name": "鈴木", "phone": "09012345678", "callback": "0312345678"}
    accepted = await reporter.nobody().post("/v1/emergency-reports", body | {"organisation": acme})
    page = f"/incidents/{accepted['incident']}"
    assert acme not in await _page(all_roles, "/incidents", lang=lang)
    assert "0312345678" in await _page(all_roles, page, lang=lang)
    await _send(all_roles, f"{page}/verify", {"method": "call_back"})
    await _send(all_roles, f"{page}/triage", {"cause": "left_behind", "severity": "high"})
    await _send(all_roles, f"{page}/steps", {"step": "locate", "reason": "desk_judgement"})
    await _send(all_roles, f"{page}/police", {"kind": "lost_property", "filed_at": "2026-11-01T09:00"})
    await _send(all_roles, f"{page}/facility", {"facility": "taxi", "name": "日本交通", "outcome": "contacted"})
    await _send(
        all_roles, f"{page}/assessment", {"people": "1240", "people_certain": "true", "data_items": ["contacts"]}
    )
    await _send(all_roles, f"{page}/prevention", {"measure": "leave_check", "kind": "rule", "due": "2026-12-20"})
    refused = await _send(all_roles, f"{page}/suspend-line", {"reason": "misuse_of_line"}, expect=409)
    assert "acknowledge" in refused.text
    located = {"device": device, "command": device, "located_at": "2026-11-24T23:41:07+09:00", "source": "mdm"}
    await reporter.hear(done.DeviceLocated.model_validate(located | {"position": "H" * 43}), accepted["incident"], acme)
    snapshot = next(entry for entry in event_types() if entry.model is done.ProtectionSnapshotTaken).example
    shown = done.ProtectionSnapshotTaken.model_validate(snapshot | {"device": device})
    await reporter.hear(shown, accepted["incident"], acme)
    html = await _page(all_roles, page, lang=lang)
    assert "E2" in html
    assert "1240" in html
    assert f"lostphone approve {accepted['incident']} --as propose" in html
    await _send(all_roles, f"{page}/close", {"outcome": "not_recovered"})
    assert {"ja": "終了しました", "en": "Ended at"}[lang] in await _page(all_roles, page, lang=lang)


async def test_an_armed_command_shows_its_age_and_is_never_called_wiped(reporter: Reporter, acme: str) -> None:
    device = await reporter.phone(acme, number="09012345678")
    desk, approver = await reporter.someone(acme, DESK), await reporter.someone(acme, APPROVER)
    body = {"reported_as": "proxy", "holder_name": "鈴木", "phone": "09012345678", "callback": "0312345678"}
    incident = (await desk.post("/v1/reports", body))["incident"]
    path = f"/v1/incidents/{incident}/wipe"
    statement = (await desk.get(f"{path}/statement"))["statement"]
    proposal = {"statement": statement, "signature": reporter.sign(Step.PROPOSE, statement, "d"), "reason": "x"}
    await desk.post(f"{path}/proposals", proposal)
    assert "--nonce" in await _page(approver, f"/incidents/{incident}")
    signature = {"signature": reporter.sign(Step.APPROVE, statement, "a")}
    await desk.get(f"{path}/proposals/{statement['nonce']}")
    await approver.post(f"{path}/proposals/{statement['nonce']}/approvals", signature)
    sent = {"device": device, "command": device, "nonce": statement["nonce"], "proof": "P2"}
    sent["sent_at"] = "2026-11-24T00:00:00+09:00"
    await reporter.hear(done.WipeSent.model_validate(sent), incident, acme)
    html = await _page(desk, f"/incidents/{incident}")
    assert "消去済みではありません" in html
    assert "接続すると消去されます" in html
    english = await _page(desk, f"/incidents/{incident}", lang="en")
    assert "it is not erased" in english
    assert not re.search(r"\bwiped\b(?! \()", re.sub(r"<select.*?</select>", "", english, flags=re.DOTALL))


async def test_the_queue_leads_to_every_case_however_many_there_are(reporter: Reporter, acme: str) -> None:
    desk = await reporter.someone(acme, DESK)
    body = {"reported_as": "proxy", "holder_name": "鈴木", "phone": "x99", "callback": "0312345678"}
    oldest = (await desk.post("/v1/reports", body))["incident"]
    await reporter.kit.pool.execute(
        """INSERT INTO incident (incident, organisation, drill, status, joinable, ended, reported_at, changed_at, state)
           SELECT made.id, organisation, drill, status, joinable, ended, reported_at + interval '1 hour', changed_at,
                  jsonb_set(state, '{id}', to_jsonb(made.id))
           FROM incident, generate_series(1, 130) AS number,
                LATERAL (SELECT 'ffffffff-0000-7000-8000-' || lpad(number::text, 12, '0') AS id) AS made
           WHERE incident = $1""",
        oldest,
    )
    first = await _page(desk, "/incidents")
    assert oldest not in first
    (following,) = re.findall(r'href="(/incidents\?state=open&amp;after=[0-9a-f-]+)"', first)
    second = await _page(desk, following.replace("&amp;", "&"))
    assert oldest in second
    assert "これより前の案件" not in second
    shown = re.findall(r'<a href="/incidents/([0-9a-f-]{36})"', first + second)
    assert len(shown) == len(set(shown)) == 131
    rest = await desk.get(f"/v1/incidents?limit=200&after={following.rpartition('=')[2]}")
    assert [row["incident"] for row in rest["incidents"]] == shown[100:]


async def test_pages_of_the_desk_are_for_its_people_and_its_company(reporter: Reporter, acme: str, beta: str) -> None:
    desk = await reporter.someone(acme, DESK)
    body = {"reported_as": "proxy", "holder_name": "鈴木", "phone": "x99", "callback": "0312345678"}
    incident = (await desk.post("/v1/reports", body))["incident"]
    stranger, employee = await reporter.someone(beta, DESK, LEAD), await reporter.someone(acme)
    assert "この案件は見つかりません" in await _page(stranger, f"/incidents/{incident}", expect=404)
    await _page(employee, f"/incidents/{incident}", expect=403)
    await _page(reporter.nobody(), f"/incidents/{incident}", expect=401)
    await _send(stranger, f"/incidents/{incident}/triage", {"cause": "theft", "severity": "low"}, expect=404)


async def test_the_receipt_page_takes_more_answers_and_the_finding(reporter: Reporter, acme: str) -> None:
    await reporter.phone(acme, number="09012345678")
    colleague = await reporter.someone(acme)
    body = {"reported_as": "proxy", "holder_name": "鈴木", "phone": "09012345678", "callback": "0312345678"}
    code = (await colleague.post("/v1/reports", body))["receipt_code"]
    async with httpx2.AsyncClient(base_url=reporter.url, headers=_HTML, follow_redirects=True) as browser:
        page = await browser.get(f"/receipt?code={code}")
        assert "赤いストラップ" in page.text
        token = {"csrf_token": _fields(page.text)["csrf_token"], "code": code}
        amended = await browser.post(
            "/receipt/amend", data=token | {"cause": "left_behind", "noticed_at": "2026-11-01T23:20"}
        )
        assert "受け取りました" in amended.text
        found = await browser.post("/receipt/found", data=token)
        assert "知らせを受けました" in found.text
        wrong = await browser.get("/receipt?code=AAAAA-AAAAA-AAAAA-AAAAA")
        assert wrong.status_code == 404
        assert "見つかりません" in wrong.text
        assert (await browser.get("/")).status_code == 200


async def test_the_officer_says_on_the_page_how_many_my_numbers_and_by_when_the_contract_wants_its_notice(
    reporter: Reporter, acme: str
) -> None:
    await reporter.phone(acme, number="09012345678")
    officer = await reporter.someone(acme, DESK, LEAD, PRIVACY)
    body = {"reported_as": "proxy", "holder_name": "鈴木", "phone": "09012345678", "callback": "0312345678"}
    accepted = await officer.post("/v1/reports", body, expect=201)
    page = f"/incidents/{accepted['incident']}"
    shown = await _page(officer, page, lang="ja")
    assert 'name="my_number_people"' in shown
    assert 'name="entrusted_notice_hours"' in shown
    findings = {"my_number": "yes", "my_number_people": "101", "entrusted": "yes", "entrusted_notice_hours": "24"}
    await _send(officer, f"{page}/assessment", findings)
    (version,) = (await officer.get(f"/v1/incidents/{accepted['incident']}"))["assessments"]
    assert (version["my_number_people"], version["entrusted_notice_hours"]) == (101, 24)
