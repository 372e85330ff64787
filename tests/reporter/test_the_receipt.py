"""The receipt: by code, without sign-in, it tells the reporter what happened and lets them add and claim."""

from shared.events import mdm_actions as done
from tests.reporter.running import DESK, LEAD, Reporter

_REPORT = {"reported_as": "proxy", "holder_name": "鈴木 健", "phone": "09012345678", "callback": "0312345678"}


async def test_it_tells_what_happened_and_has_the_text_for_the_police(reporter: Reporter, acme: str) -> None:
    device = await reporter.phone(acme, number="09012345678")
    colleague = await reporter.someone(acme)
    accepted = await colleague.post("/v1/reports", _REPORT | {"place": "taxi", "place_detail": "六本木から乗車"})
    assert accepted["receipt_url"].endswith(f"/receipt?code={accepted['receipt_code']}")
    revoked = {"provider": "entra", "command": "5e0a3c44-6f1b-5d7e-8c2a-1b9f0d3e4a55"}
    revoked["effective_at"] = "2026-11-24T23:41:07.000+09:00"
    await reporter.hear(done.SessionsRevoked.model_validate(revoked), accepted["incident"], acme)
    receipt = await reporter.nobody().get(f"/v1/receipts/{accepted['receipt_code'].lower().replace('-', ' ')}")
    assert [step["what"] for step in receipt["happened"]] == ["reported", "sessions_revoked"]
    text = receipt["police_text"]["ja"]
    numbers = reporter.numbers[device]
    for part in (numbers["imei"], numbers["serial"], "赤いストラップ", "黒", "六本木から乗車", "タクシー"):
        assert part in text
    assert "police" in receipt["todo"]


async def test_more_answers_change_the_facts_and_the_history_keeps_them(reporter: Reporter, acme: str) -> None:
    colleague = await reporter.someone(acme)
    accepted = await colleague.post("/v1/reports", _REPORT)
    path = f"/v1/receipts/{accepted['receipt_code']}"
    answered = await reporter.nobody().post(f"{path}/amend", {"cause": "theft", "circumstances": "鞄ごと取られた"})
    assert "cause" not in answered["asked"]
    kind, data = (await reporter.told(accepted["incident"]))[-1]
    assert kind == "loss-report-amended"
    assert set(data["changed"]) == {"cause", "circumstances"}
    assert "鞄" not in str(data)
    await reporter.nobody().post(f"{path}/amend", {"cause": "theft"})
    assert len(await reporter.told(accepted["incident"])) == 2
    await reporter.nobody().post(f"{path}/amend", {"device": "x"}, expect=422)
    await reporter.nobody().post(f"{path}/amend", {"noticed_at": "2099-01-01T00:00:00Z"}, expect=422)
    # No page could show it: in Japan, as in UTC, there is no such day.
    await reporter.nobody().post(f"{path}/amend", {"noticed_at": "0001-01-01T00:00:00+14:00"}, expect=422)


async def test_i_found_it_is_a_claim_that_the_desk_confirms(reporter: Reporter, acme: str) -> None:
    colleague = await reporter.someone(acme)
    accepted = await colleague.post("/v1/reports", _REPORT)
    path = f"/v1/receipts/{accepted['receipt_code']}"
    for _ in range(2):
        claimed = await reporter.nobody().post(f"{path}/found")
    assert claimed["found_claimed_at"]
    kind, data = (await reporter.told(accepted["incident"]))[-1]
    assert (kind, data["changed"]) == ("loss-report-amended", ["found_claimed"])
    assert len(await reporter.told(accepted["incident"])) == 2
    desk = await reporter.someone(acme, DESK)
    case = await desk.get(f"/v1/incidents/{accepted['incident']}")
    assert case["found_claimed"]
    assert case["recovered"] is None
    assert case["decision_version"] == 1


async def test_found_after_the_end_opens_the_case_again(reporter: Reporter, acme: str) -> None:
    colleague, lead = await reporter.someone(acme), await reporter.someone(acme, LEAD)
    accepted = await colleague.post("/v1/reports", _REPORT)
    await lead.post(f"/v1/incidents/{accepted['incident']}/cancel", {"reason": "x"})
    path = f"/v1/receipts/{accepted['receipt_code']}"
    assert (await reporter.nobody().post(f"{path}/found", expect=409))["code"] == "already_recovered"


async def test_a_code_that_nobody_has_says_no_more_than_that(reporter: Reporter) -> None:
    for code in ("AAAAA-BBBBB-CCCCC-DDDDD", "short", "ｘ" * 25):
        answer = await reporter.nobody().get(f"/v1/receipts/{code}", expect=404)
        assert answer["code"] == "receipt_unknown"


async def test_a_code_may_be_typed_in_full_width_and_with_any_dash(reporter: Reporter, acme: str) -> None:
    await reporter.phone(acme)
    body = _REPORT | {"organisation": acme}
    code = (await reporter.nobody().post("/v1/emergency-reports", body))["receipt_code"]
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in code)
    for typed in (wide, code.replace("-", "ー"), code.replace("-", "—").lower()):
        assert (await reporter.nobody().get(f"/v1/receipts/{typed}"))["report"] == 1
        page = await reporter.http.get("/receipt", params={"code": typed}, headers={"Accept": "text/html"})
        assert f'<span class="big mono">{code}</span>' in page.text


async def test_only_the_hash_of_a_code_is_stored(reporter: Reporter, acme: str) -> None:
    colleague = await reporter.someone(acme)
    headers = {"Idempotency-Key": "0123456789abcdef"}
    accepted = await colleague.post("/v1/reports", _REPORT, headers=headers)
    code = accepted["receipt_code"]
    for table in ("report", "accepted_key", "incident", "entry", "outbox"):
        rows = await reporter.kit.pool.fetch(f"SELECT t::text AS text FROM {table} AS t")
        assert not any(code in row["text"] or code.replace("-", "") in row["text"] for row in rows)
