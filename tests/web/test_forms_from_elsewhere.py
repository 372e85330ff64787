"""Forms of other sites are refused; our own, bearer tokens and webhooks pass."""

import re

import httpx2
import pytest

from shared.web import Identity
from tests.web.conftest import sign_in, token


def field(page: str) -> str:
    found = re.search(r'action="/form"><input type="hidden" name="csrf_token" value="([0-9a-f]{64})"', page)
    assert found
    return found[1]


async def test_a_form_of_our_own_page_is_accepted(client: httpx2.AsyncClient) -> None:
    sent = {"place": "taxi", "csrf_token": field((await client.get("/form")).text)}
    assert (await client.post("/form", data=sent)).json() == "taxi"
    assert (await client.post("/form", files={name: (None, value) for name, value in sent.items()})).json() == "taxi"


@pytest.mark.parametrize("extra", [{}, {"csrf_token": "0" * 64}, {"csrf_token": ""}, {"csrf_token": "é"}])
async def test_a_form_without_the_right_field_is_refused(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, extra: dict[str, str]
) -> None:
    await sign_in(client, http, "e1")
    await client.get("/form")
    answer = await client.post("/form", data={"place": "taxi", **extra})
    assert (answer.status_code, answer.json()["code"]) == (403, "form_expired")


async def test_a_browser_that_keeps_no_cookies_may_send_a_form_of_our_own_page(client: httpx2.AsyncClient) -> None:
    sent = {"place": "taxi", "csrf_token": field((await client.get("/form")).text)}
    client.cookies.clear()
    assert (await client.post("/form", data=sent, headers={"Sec-Fetch-Site": "same-origin"})).json() == "taxi"
    for header in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.test"}):
        assert (await client.post("/form", data=sent, headers=header)).status_code == 403


async def test_what_was_sent_after_the_sign_in_ended_can_be_sent_again_once_signed_in(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, identity: Identity
) -> None:
    await sign_in(client, http, "d1")
    sent = {"csrf_token": field((await client.get("/form")).text)}
    client.cookies.delete(identity.session_cookie)
    answer = await client.post("/desk?lang=en", data=sent, headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "nothing was sent yet" in answer.text
    assert 'target="_blank"' in answer.text
    await sign_in(client, http, "d1")
    assert (await client.post("/desk", data=sent)).status_code == 200


async def test_the_field_of_one_browser_does_not_serve_another(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient
) -> None:
    await sign_in(client, http, "e1")
    stolen = field((await client.get("/form")).text)
    client.cookies.clear()
    await sign_in(client, http, "e1")
    await client.get("/form")
    assert (await client.post("/form", data={"place": "x", "csrf_token": stolen})).status_code == 403


async def test_the_field_from_before_sign_in_does_not_serve_after_it(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient
) -> None:
    before = field((await client.get("/form")).text)
    await sign_in(client, http, "e1")
    assert (await client.post("/form", data={"place": "x", "csrf_token": before})).status_code == 403
    after = field((await client.get("/form")).text)
    assert (await client.post("/form", data={"place": "x", "csrf_token": after})).status_code == 200


@pytest.mark.parametrize(
    "header", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.test"}, {"Origin": "http://["}]
)
async def test_a_request_from_another_site_with_a_session_is_refused(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, header: dict[str, str]
) -> None:
    assert (await client.post("/report", json={"place": "x"}, headers=header)).status_code == 200
    await sign_in(client, http, "e1")
    assert (await client.post("/report", json={"place": "x"}, headers=header)).status_code == 403
    good = field((await client.get("/form")).text)
    answer = await client.post("/form", data={"place": "x", "csrf_token": good}, headers=header)
    assert answer.status_code == 403


async def test_a_bearer_token_needs_no_field(client: httpx2.AsyncClient, http: httpx2.AsyncClient, issuer: str) -> None:
    headers = {"Authorization": f"Bearer {await token(http, issuer, 'e1')}"}
    assert (await client.post("/form", data={"place": "taxi"}, headers=headers)).json() == "taxi"


async def test_webhooks_prove_their_sender_themselves(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/webhooks/mdm", data={"a": "b"}, headers={"Origin": "https://mdm.test"})
    assert answer.json() == 3
