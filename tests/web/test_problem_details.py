"""Whatever goes wrong is answered with problem details (RFC 9457) in the reader's language, and a page in a browser."""

import httpx2
import pytest

from tests.web.conftest import sign_in

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_a_problem_has_the_members_of_the_rfc_and_its_own(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/cases/7")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-language"] == "ja"
    assert answer.json() == {
        "type": "urn:lostphone:problem:already_closed",
        "title": "Conflict",
        "status": 409,
        "code": "already_closed",
        "detail": "この件は終了しています。",
        "instance": "/cases/7",
        "case": "7",
    }


async def test_the_reader_chooses_the_language(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/cases/7", headers={"Accept-Language": "en-GB"})
    assert answer.json()["detail"] == "This case is closed."
    assert answer.headers["content-language"] == "en"


async def test_invalid_input_names_each_field_and_why_but_not_what_was_typed(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/report", json={"place": "a planted secret", "people": -1})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["errors"] == [
        {
            "field": "place",
            "code": "string_too_long",
            "ja": "10文字以内で入力してください",
            "en": "takes at most 10 characters",
        },
        {"field": "people", "code": "greater_than_equal", "ja": "0以上にしてください", "en": "must be at least 0"},
    ]
    assert "place（10文字以内" in problem["detail"]
    assert "planted" not in answer.text


@pytest.mark.parametrize(
    ("body", "field"),
    [(b"{", "body"), (b"[]", "body"), (b"{}", "place"), (b'{"place": 1}', "place"), (b"\xff", "body")],
)
async def test_malformed_bodies_are_a_clear_refusal(client: httpx2.AsyncClient, body: bytes, field: str) -> None:
    answer = await client.post("/report", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    if answer.status_code == 422:
        assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("query", ["", "?lang=a%00&lang=en"], ids=["form", "query"])
async def test_a_field_that_comes_twice_is_looked_at_each_time(client: httpx2.AsyncClient, query: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": "Bearer any"}
    twice = b"place=a&place=b" if query else b"place=a%00&place=b"
    answer = await client.post(f"/form{query}", content=twice, headers=headers)
    assert answer.status_code == 422
    assert [error["code"] for error in answer.json()["errors"]] == ["text_unusable"]


@pytest.mark.parametrize(
    "media_type", ["application/xml", "text/plain", "application/x-www-form-urlencoded", "json", ""]
)
async def test_what_is_no_json_is_415_where_json_is_taken(client: httpx2.AsyncClient, media_type: str) -> None:
    answer = await client.post("/report", content=b'{"place": "x"}', headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    headers = {"Content-Type": "application/vnd.company+json; charset=utf-8"}
    assert (await client.post("/report", content=b'{"place": "x"}', headers=headers)).status_code == 200


@pytest.mark.parametrize("charset", ["undefined", "punycode", "unicode_escape", "no-such"])
async def test_a_form_in_another_charset_is_415(client: httpx2.AsyncClient, charset: str) -> None:
    await client.get("/form")
    part = b'--x\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n\\ud800-\xff\r\n--x--\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    answer = await client.post("/sign-out", content=part, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


async def test_what_is_not_there_and_wrong_methods_are_problems_too(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = await client.delete("/report")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    answer = await client.delete("/form")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    answer = await client.post("/static/lostphone.css")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_bug_is_500_without_its_details(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/cases/bug")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_browser_gets_a_page(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/cases/7", headers=BROWSER)
    assert answer.status_code == 409
    assert answer.headers["content-type"].startswith("text/html")
    assert "この件は終了しています。" in answer.text
    answer = await client.get("/nowhere?lang=en", headers=BROWSER)
    assert "There is nothing here." in answer.text


@pytest.mark.parametrize(
    ("lang", "words"), [("ja", "対応責任者・セキュリティ窓口"), ("en", "incident lead, security desk")]
)
async def test_a_page_names_the_roles_that_it_is_for_in_words(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, lang: str, words: str
) -> None:
    await sign_in(client, http, "e1")
    answer = await client.get(f"/desk?lang={lang}", headers=BROWSER)
    assert answer.status_code == 403
    assert words in answer.text


async def test_a_browser_gets_a_page_also_where_no_route_answers(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/webhooks/mdm", content=b"x" * 10_001, headers=BROWSER)
    assert answer.status_code == 413
    assert "送信されたデータが大きすぎます" in answer.text
    answer = await client.get("/cases/bug", headers=BROWSER)
    assert answer.status_code == 500
    assert "内部エラーが発生しました。" in answer.text
    assert "secret detail" not in answer.text
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("request_seconds", [0.3])
async def test_a_browser_gets_a_page_when_it_takes_too_long(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/cases/slow", headers=BROWSER)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "時間内に処理できませんでした。" in answer.text
    assert answer.headers["content-type"].startswith("text/html")
