"""Signing in by browser: authorization code with PKCE, state and nonce; a sealed session; signing out."""

import base64
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vault import People
from shared.web.identity import Identity, local_path
from tests.web.conftest import sign_in


async def test_after_sign_in_the_browser_is_known_and_back_where_it_wanted(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, people: People
) -> None:
    answer = await sign_in(client, http, "d1", to="/me?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/me?x=1")
    assert (await client.get("/me")).json()["ref"] == people.ref("acme", "d1")
    assert (await client.get("/desk")).status_code == 200


async def test_the_request_to_the_provider_carries_pkce_state_and_nonce(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/sign-in")
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == ["http://reporter.test/sign-in/callback"]
    assert all(len(query[name][0]) >= 43 for name in ("state", "nonce", "code_challenge"))
    again = parse_qs(urlsplit((await client.get("/sign-in")).headers["location"]).query)
    assert again["state"] != query["state"]


async def test_cookies_are_for_http_only_and_show_nothing(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, identity: Identity, people: People
) -> None:
    answer = await sign_in(client, http, "e1")
    cookie = next(value for value in answer.headers.get_list("set-cookie") if identity.session_cookie in value)
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    content = base64.urlsafe_b64decode(cookie.split("=", 1)[1].split(";")[0])
    for hidden in ("acme", people.ref("acme", "e1"), "山田", "employee"):
        assert hidden.encode() not in content


async def test_an_https_address_makes_cookies_secure(issuer: str, http: httpx2.AsyncClient, people: People) -> None:
    identity = Identity(
        issuer=issuer,
        client_id="lostphone",
        client_secret=None,
        public_url="https://reporter.example",
        session_key=b"k" * 32,
        people=people,
        http=http,
    )
    assert identity.secure


async def test_a_callback_with_another_state_or_without_a_beginning_is_refused(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient
) -> None:
    answer = await client.get("/sign-in/callback", params={"code": "x", "state": "y"})
    assert (answer.status_code, answer.json()["code"]) == (400, "sign_in_failed")
    begun = await client.get("/sign-in")
    at_provider = await http.post(begun.headers["location"], data={"sub": "e1"})
    code = parse_qs(urlsplit(at_provider.headers["location"]).query)["code"][0]
    for forged in ("forged", "é"):
        answer = await client.get("/sign-in/callback", params={"code": code, "state": forged})
        assert answer.status_code == 400
    assert (await client.get("/me")).status_code == 401


async def test_a_code_that_the_provider_did_not_give_is_refused(client: httpx2.AsyncClient) -> None:
    begun = await client.get("/sign-in")
    state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
    answer = await client.get("/sign-in/callback", params={"code": "made-up", "state": state})
    assert (answer.status_code, answer.json()["code"]) == (400, "sign_in_failed")


async def test_a_sign_in_that_was_declined_says_so(client: httpx2.AsyncClient, http: httpx2.AsyncClient) -> None:
    begun = await client.get("/sign-in")
    at_provider = await http.post(begun.headers["location"], data={"action": "deny"})
    answer = await client.get(at_provider.headers["location"], headers={"Accept": "text/html"})
    assert answer.status_code == 400
    assert "サインインを完了できませんでした" in answer.text


async def test_signing_out_ends_the_session(client: httpx2.AsyncClient, http: httpx2.AsyncClient) -> None:
    await sign_in(client, http, "e1")
    page = (await client.get("/form")).text
    field = page.split('action="/sign-out"')[1].split('value="')[1].split('"')[0]
    answer = await client.post("/sign-out", data={"csrf_token": field})
    assert (answer.status_code, answer.headers["location"]) == (303, "/signed-out")
    assert (await client.get("/me")).status_code == 401
    assert "サインアウトしました" in (await client.get("/signed-out")).text


async def test_a_changed_or_foreign_session_cookie_is_no_session(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, identity: Identity
) -> None:
    await sign_in(client, http, "e1")
    good = client.cookies[identity.session_cookie]
    for forged in (good[:-4] + "AAA=", "", "x", good.swapcase(), base64.urlsafe_b64encode(b"{}" * 40).decode()):
        client.cookies.clear()
        client.cookies.set(identity.session_cookie, forged)
        assert (await client.get("/me")).status_code == 401


async def test_a_sign_in_cookie_is_not_a_session(client: httpx2.AsyncClient, identity: Identity) -> None:
    await client.get("/sign-in")
    pending = client.cookies[identity._seal.sign_in_cookie]
    client.cookies.set(identity.session_cookie, pending)
    assert (await client.get("/me")).status_code == 401


async def test_a_session_ends_after_eight_hours(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sign_in(client, http, "e1")
    now = __import__("time").time()
    monkeypatch.setattr("shared.web.session.time.time", lambda: now + 8 * 3600 + 1)
    assert (await client.get("/me")).status_code == 401


async def test_a_browser_without_sign_in_gets_a_page_that_leads_there(client: httpx2.AsyncClient) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = await client.get("/desk?x=1", headers=browser)
    assert answer.status_code == 401
    assert "サインインが必要です" in answer.text
    assert 'href="/sign-in?next=%2Fdesk%3Fx%3D1"' in answer.text
    answer = await client.get("/desk", headers={**browser, "Accept-Language": "en-US,en;q=0.9"})
    assert "Sign-in is needed" in answer.text
    assert 'lang="en"' in answer.text


@pytest.mark.parametrize(
    "wanted", ["//evil.test", "/\\evil.test", "https://evil.test", "javascript:alert(1)", "", "/\n/evil", "/a\\b", None]
)
def test_sign_in_never_leads_to_another_site(wanted: str | None) -> None:
    assert local_path(wanted) == "/"


@given(st.text(max_size=60))
def test_whatever_is_asked_for_the_way_back_is_a_path_here(wanted: str) -> None:
    path: Any = local_path(wanted)
    assert path.startswith("/")
    assert not path.startswith("//")
    assert not urlsplit(path).netloc
