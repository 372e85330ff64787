"""Bearer tokens: only what this issuer signed for this client and is valid now counts."""

import asyncio
import base64
import hmac
import time
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from shared.vault import People
from shared.web import Identity
from shared.web.oidc import Provider, TokenError
from shared.web.problem import Problem
from tests.web.conftest import token


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


async def test_a_token_of_the_provider_says_who_is_asking(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, issuer: str, people: People
) -> None:
    answer = await client.get("/me", headers=bearer(await token(http, issuer, "e1")))
    assert answer.json() == {"ref": people.ref("acme", "e1"), "organisation": "acme", "roles": ["employee"]}


async def test_the_same_subject_of_another_organisation_is_another_person(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, issuer: str, people: People
) -> None:
    answer = (await client.get("/me", headers=bearer(await token(http, issuer, "e1-globex")))).json()
    assert answer["organisation"] == "globex"
    assert answer["ref"] not in (people.ref("acme", "e1-globex"), people.ref("acme", "e1"))


async def test_without_sign_in_the_answer_is_401_and_without_the_role_403(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, issuer: str
) -> None:
    answer = await client.get("/desk")
    assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_needed")
    assert answer.headers["www-authenticate"] == "Bearer"
    answer = await client.get("/desk", headers=bearer(await token(http, issuer, "e1")))
    assert (answer.status_code, answer.json()["code"]) == (403, "role_needed")
    assert answer.json()["roles"] == ["incident_lead", "security_desk"]
    answer = await client.get("/desk", headers=bearer(await token(http, issuer, "d1")))
    assert answer.json().endswith("/security_desk")


async def test_a_token_for_another_client_or_without_an_organisation_is_refused(
    client: httpx2.AsyncClient, http: httpx2.AsyncClient, issuer: str
) -> None:
    for value in (await token(http, issuer, "e1", client_id="other"), await token(http, issuer, "nobody")):
        answer = await client.get("/me", headers=bearer(value))
        assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_bad_token_is_401_even_where_sign_in_is_optional(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/anyone")).json() == "nobody"
    assert (await client.get("/anyone", headers=bearer("x.y.z"))).status_code == 401


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class KeysOnLoopback:
    """An issuer of our own, to make tokens that a well-behaved one would not."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", auto_kid=True)
        self.published = KeySet([self.key])
        self.fetched = 0
        self.tried = 0
        self.up = True
        self.silent: asyncio.Event | None = None
        """While it is set and has not happened, nothing is answered."""
        self.asked = asyncio.Event()
        self.nonsense: dict[str, object] = {}
        """What is answered under a path in place of what belongs there."""

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.tried += 1
        if self.silent is not None:
            self.asked.set()
            await self.silent.wait()
        if not self.up:
            raise httpx2.ConnectError("down", request=request)
        if request.url.path in self.nonsense:
            return httpx2.Response(200, json=self.nonsense[request.url.path])
        if request.url.path.endswith("openid-configuration"):
            return httpx2.Response(200, json={"issuer": "https://idp.test", "jwks_uri": "https://idp.test/keys"})
        self.fetched += 1
        return httpx2.Response(200, json=self.published.as_dict(private=False))

    def token(self, key: Any = None, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        now = int(time.time())
        key = key or self.key
        content = {"iss": "https://idp.test", "aud": "lostphone", "sub": "e1", "exp": now + 60, "iat": now, **claims}
        content = {name: value for name, value in content.items() if value is not None}
        return jwt.encode({"alg": "ES256", "kid": key.kid, **(header or {})}, content, key)


@pytest.fixture
def keys() -> KeysOnLoopback:
    return KeysOnLoopback()


@pytest.fixture
async def provider(keys: KeysOnLoopback) -> Any:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(keys)) as http:
        yield Provider("https://idp.test", "lostphone", None, http)


async def test_a_right_token_verifies_and_keys_are_fetched_once(keys: KeysOnLoopback, provider: Provider) -> None:
    for _ in range(3):
        assert (await provider.verify(keys.token()))["sub"] == "e1"
    assert keys.fetched == 1


@pytest.mark.parametrize(
    ("claims", "accepted"),
    [
        ({"exp": -30}, True),  # within the leeway for clocks that differ
        ({"exp": -90}, False),
        ({"exp": None}, False),
        ({"nbf": 30}, True),
        ({"nbf": 90}, False),
        ({"iat": 90}, False),
        ({"iss": "https://evil.test"}, False),
        ({"iss": None}, False),
        ({"aud": "other"}, False),
        ({"aud": ["other", "lostphone"]}, True),
        ({"aud": None}, False),
        ({"azp": "other"}, False),
        ({"azp": "lostphone"}, True),
        ({"sub": None}, False),
    ],
)
async def test_every_claim_is_checked(
    keys: KeysOnLoopback, provider: Provider, claims: dict[str, Any], accepted: bool
) -> None:
    now = int(time.time())
    moved = {name: now + value if isinstance(value, int) else value for name, value in claims.items()}
    if accepted:
        assert await provider.verify(keys.token(**moved))
    else:
        with pytest.raises(TokenError):
            await provider.verify(keys.token(**moved))


async def test_a_token_signed_by_another_key_or_by_none_is_refused(keys: KeysOnLoopback, provider: Provider) -> None:
    stranger = ECKey.generate_key("P-256")
    head, body, _ = keys.token().split(".")
    unsigned = "eyJhbGciOiJub25lIn0." + body + "."
    # The old confusion: the issuer's public key, taken for a shared secret.
    signed = f"{base64url(b'{"alg":"HS256"}')}.{body}"
    confused = f"{signed}.{base64url(hmac.digest(keys.key.as_pem(private=False), signed.encode(), 'sha256'))}"
    wrong_key = jwt.encode({"alg": "ES256", "kid": keys.key.kid}, {"sub": "e1"}, stranger)
    for value in (wrong_key, unsigned, confused, f"{head}.{body}.AAAA", "", "a", "a.b.c", "é.é.é", "x" * 20_000):
        with pytest.raises(TokenError):
            await provider.verify(value)


async def test_a_rotated_key_is_fetched_when_a_token_names_it(keys: KeysOnLoopback, provider: Provider) -> None:
    await provider.verify(keys.token())
    fresh = ECKey.generate_key("P-256", auto_kid=True)
    keys.published = KeySet([keys.key, fresh])
    provider._keys_at -= 10
    assert await provider.verify(keys.token(fresh))
    assert keys.fetched == 2


async def test_made_up_key_ids_do_not_make_us_flood_the_provider(keys: KeysOnLoopback, provider: Provider) -> None:
    await provider.verify(keys.token())
    for number in range(20):
        with pytest.raises(TokenError):
            await provider.verify(keys.token(ECKey.generate_key("P-256", {"kid": f"made-up-{number}"})))
    assert keys.fetched == 1


async def test_known_keys_go_on_verifying_while_the_provider_is_away(keys: KeysOnLoopback, provider: Provider) -> None:
    await provider.verify(keys.token())
    keys.up = False
    provider._keys_at -= 4000
    before = keys.tried
    for _ in range(3):
        assert await provider.verify(keys.token())
    assert keys.tried == before + 1, "it is not asked for every request"


_NONSENSE = [
    {"error": "maintenance"},
    {"keys": None},
    {"keys": {}},
    {"keys": []},
    {"keys": ["key"]},
    {"keys": [{"kty": "EC"}]},
    {"keys": [{"kty": "RSA", "n": "?", "e": "AQAB"}]},
    {"keys": [{"kty": 1}]},
]


@pytest.mark.parametrize("document", _NONSENSE, ids=str)
async def test_a_provider_whose_keys_cannot_be_read_is_away_and_known_keys_go_on_verifying(
    keys: KeysOnLoopback, provider: Provider, document: object
) -> None:
    keys.nonsense = {"/keys": document}
    with pytest.raises(Problem) as refused:
        await provider.verify(keys.token())
    assert refused.value.status == 503
    keys.nonsense = {}
    await provider.verify(keys.token())
    keys.nonsense = {"/keys": document}
    provider._keys_at, provider._failed_at = provider._keys_at - 4000, float("-inf")
    assert await provider.verify(keys.token())


@pytest.mark.parametrize("address", [None, 1, []], ids=str)
async def test_a_provider_that_says_not_where_its_keys_are_is_away_until_it_does(
    keys: KeysOnLoopback, provider: Provider, address: object
) -> None:
    keys.nonsense = {"/.well-known/openid-configuration": {"issuer": "https://idp.test", "jwks_uri": address}}
    with pytest.raises(Problem):
        await provider.verify(keys.token())
    keys.nonsense = {}
    assert await provider.verify(keys.token())


async def test_no_request_waits_for_another_that_asks_a_silent_provider(
    keys: KeysOnLoopback, provider: Provider
) -> None:
    await provider.verify(keys.token())
    provider._keys_at -= 4000
    keys.silent = asyncio.Event()
    waiting = asyncio.create_task(provider.verify(keys.token()))
    await keys.asked.wait()
    async with asyncio.timeout(10):
        assert await provider.verify(keys.token())
    assert not waiting.done()
    keys.silent.set()
    assert await waiting


async def test_a_provider_that_was_never_reached_is_503_not_401(kit: Any, app: Any, client: httpx2.AsyncClient) -> None:
    identity: Identity = kit.identity
    identity.provider.issuer = "http://127.0.0.1:1"
    answer = await client.get("/me", headers=bearer(KeysOnLoopback().token()))
    assert (answer.status_code, answer.json()["code"]) == (503, "identity_provider_unavailable")
    assert answer.headers["retry-after"] == "10"
