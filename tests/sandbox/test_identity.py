"""The company's OpenID provider: sign-in by form, tokens that verify and say who somebody is."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from sandbox.companies import companies
from sandbox.tokens import bearer
from tests.sandbox.conftest import Play, Played


async def _verified(played: Played, token: str) -> dict[str, Any]:
    discovery = (await played.http.get(f"{played.addresses['identity']}/.well-known/openid-configuration")).json()
    keys = KeySet.import_key_set((await played.http.get(discovery["jwks_uri"])).json())
    claims = jwt.decode(token, keys, algorithms=["RS256"]).claims
    JWTClaimsRegistry(iss={"essential": True, "value": discovery["issuer"]}, exp={"essential": True}).validate(claims)
    assert discovery["issuer"] == played.addresses["identity"]
    return claims


async def _sign_in(played: Played, sub: str) -> dict[str, Any]:
    url = f"{played.addresses['identity']}/oauth2/authorize"
    asked = {
        "client_id": "lostphone",
        "response_type": "code",
        "scope": "openid profile",
        "redirect_uri": "http://127.0.0.1:9/callback",
        "state": "s1",
        "nonce": "n1",
    }
    form = await played.http.get(url, params=asked)
    assert form.status_code == 200
    assert f'value="{sub}"' in form.text
    sent = await played.http.post(url, params=asked, data={"sub": sub})
    came_back = parse_qs(urlsplit(sent.headers["Location"]).query)
    assert came_back["state"] == ["s1"]
    form_of_code = {
        "grant_type": "authorization_code",
        "code": came_back["code"][0],
        "redirect_uri": asked["redirect_uri"],
    }
    answer = await played.http.post(
        f"{played.addresses['identity']}/oauth2/token", data=form_of_code, auth=("lostphone", "any")
    )
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def test_both_tokens_of_a_browser_sign_in_say_who_somebody_is_and_in_which_roles(play: Play) -> None:
    async with play("identity") as played:
        tokens = await _sign_in(played, "acme-mori")
        for kind in ("access_token", "id_token"):
            claims = await _verified(played, tokens[kind])
            assert claims["sub"] == "acme-mori"
            assert claims["organisation"] == "acme-kk"
            assert claims["roles"] == ["employee", "approver", "incident_lead"]
            assert claims["name"] == "森 恵"
            assert claims["locale"] == "ja"
        assert (await _verified(played, tokens["id_token"]))["nonce"] == "n1"


@pytest.mark.parametrize(
    ("organisation", "person"), list(companies().everyone()), ids=lambda one: getattr(one, "sub", one)
)
async def test_a_script_gets_a_token_for_everyone_in_the_file(organisation: str, person: Any, identity: Played) -> None:
    token = await bearer(identity.http, identity.addresses["identity"], person.sub)
    claims = await _verified(identity, token)
    assert (claims["sub"], claims["organisation"], claims["aud"]) == (person.sub, organisation, "lostphone")


@pytest.fixture(scope="module")
async def identity(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from sandbox.config import Config
    from sandbox.playing import playing

    config = Config(data_dir=tmp_path_factory.mktemp("identity"), ports={"identity": 0})
    async with playing(config) as addresses, httpx2.AsyncClient() as http:
        yield Played(addresses, http)


async def test_a_test_can_be_anybody_of_an_organisation_of_its_own(identity: Played) -> None:
    claims = {"organisation": "org-of-this-test", "roles": ["security_desk"], "name": "N", "locale": "en"}
    token = await bearer(identity.http, identity.addresses["identity"], "someone", claims=claims)
    assert claims.items() <= (await _verified(identity, token)).items()


async def test_a_token_can_be_asked_for_that_has_ended(identity: Played) -> None:
    token = await bearer(identity.http, identity.addresses["identity"], "acme-sato", expires_in=-60)
    with pytest.raises(Exception, match="expired"):
        await _verified(identity, token)


async def test_nobody_gets_no_token(identity: Played) -> None:
    answer = await identity.http.post(f"{identity.addresses['identity']}/_token", json={"sub": "nobody"})
    assert answer.status_code == 404
    assert "nobody" in answer.json()["message"]


async def test_a_token_is_still_good_after_a_restart(play: Play) -> None:
    async with play("identity") as played:
        token = await bearer(played.http, played.addresses["identity"], "acme-sato")
    async with play("identity") as played:
        keys = KeySet.import_key_set((await played.http.get(f"{played.addresses['identity']}/jwks")).json())
        assert jwt.decode(token, keys).claims["sub"] == "acme-sato"


async def test_the_journal_has_the_sign_in_and_no_token_or_code(play: Play) -> None:
    async with play("identity") as played:
        tokens = await _sign_in(played, "acme-kato")
        journal = await played.journal("identity")
        (exchange,) = [entry for entry in journal if entry["path"] == "/oauth2/token"]
        assert exchange["body"]["code"] == "(left out)"
        assert all(str(token) not in str(journal) for name, token in tokens.items() if name.endswith("token"))
