"""Ending sign-in sessions: at every identity provider, and at Microsoft Entra ID in particular."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx2
import orjson
import pytest

from sandbox.companies import companies
from services.mdm_actions.drill import DrillIdentity
from services.mdm_actions.identity.entra import Entra
from services.mdm_actions.providers import IdentityProvider, ProviderRefusedError, ProviderUnavailableError
from tests.providers.bench import eventually

TENANT = companies().organisations["acme-kk"].entra_tenant
OTHER_TENANT = companies().organisations["beta-kk"].entra_tenant
APPLICATION = companies().entra_application
_NO_LIFE = ["soon", None, [], {}, -1, 10**15, 10**30, 1e300]
"""What a token cannot live."""
WHOLE_SECONDS = timedelta(seconds=1)


@dataclass
class Subject:
    """A provider with one account."""

    provider: IdentityProvider
    account: str


@pytest.fixture
def url(outside: dict[str, str]) -> str:
    return outside["entra"]


@pytest.fixture
def entra(url: str, http: httpx2.AsyncClient) -> Entra:
    return _entra(http, url)


def _entra(http: httpx2.AsyncClient, url: str, secret: str = APPLICATION.client_secret, tenant: str = TENANT) -> Entra:
    return Entra(http, url, url, tenant=tenant, client_id=APPLICATION.client_id, client_secret=secret)


async def _account(http: httpx2.AsyncClient, url: str, tenant: str = TENANT) -> str:
    user = {"id": str(uuid4()), "tenant": tenant, "name": f"{uuid4().hex[:8]}@acme.example"}
    assert (await http.post(f"{url}/_users", json=user)).status_code == 201
    return str(user["id"])


@pytest.fixture(params=["entra", "drill"])
async def subject(request: pytest.FixtureRequest, http: httpx2.AsyncClient, url: str, entra: Entra) -> Subject:
    account = await _account(http, url)
    return Subject(entra if request.param == "entra" else DrillIdentity(), account)


async def test_a_probe_of_a_provider_that_is_there_is_silent(subject: Subject) -> None:
    await subject.provider.probe()


async def test_after_revoking_older_sessions_are_void(subject: Subject) -> None:
    before = datetime.now(UTC)
    await subject.provider.revoke(subject.account)
    valid_from = await subject.provider.valid_from(subject.account)
    assert valid_from is not None
    assert valid_from >= before - WHOLE_SECONDS


async def test_revoking_again_is_safe_and_never_makes_an_old_session_valid(subject: Subject) -> None:
    await subject.provider.revoke(subject.account)
    first = await subject.provider.valid_from(subject.account)
    await subject.provider.revoke(subject.account)
    again = await subject.provider.valid_from(subject.account)
    assert first is not None
    assert again is not None
    assert again >= first


async def test_the_read_back_may_lag_behind(entra: Entra, http: httpx2.AsyncClient, url: str) -> None:
    waiting, later = await _account(http, url), await _account(http, url)
    before = datetime.now(UTC)
    try:
        await http.put(f"{url}/_settings", json={"lag_seconds": 600})
        await entra.revoke(waiting)
        at_first = await entra.valid_from(waiting)
        await http.put(f"{url}/_settings", json={"lag_seconds": 0.2})
        await entra.revoke(later)
    finally:
        await http.put(f"{url}/_settings", json={"lag_seconds": 0})
    assert at_first is not None
    assert at_first < before - WHOLE_SECONDS
    await eventually(
        lambda: entra.valid_from(later), lambda moment: moment is not None and moment >= before - WHOLE_SECONDS
    )


async def test_revoking_one_account_leaves_the_others(entra: Entra, http: httpx2.AsyncClient, url: str) -> None:
    one, other = await _account(http, url), await _account(http, url)
    before = await entra.valid_from(other)
    await entra.revoke(one)
    assert await entra.valid_from(other) == before


async def test_an_unknown_account_and_one_of_another_tenant_are_refused(
    entra: Entra, http: httpx2.AsyncClient, url: str
) -> None:
    for account in (str(uuid4()), await _account(http, url, OTHER_TENANT)):
        with pytest.raises(ProviderRefusedError, match="user_not_found"):
            await entra.revoke(account)


@pytest.mark.parametrize("account", ["", "a/b", "a?b", "../users", "a,b", "a\n", "a" * 121])
async def test_no_account_can_name_two_people_or_another_path(entra: Entra, account: str) -> None:
    with pytest.raises(ProviderRefusedError, match="account_malformed"):
        await entra.revoke(account)


async def test_a_wrong_secret_or_tenant_is_a_refusal_and_not_an_outage(http: httpx2.AsyncClient, url: str) -> None:
    account = await _account(http, url)
    for wrong in (_entra(http, url, "wrong"), _entra(http, url, tenant=str(uuid4()))):
        with pytest.raises(ProviderRefusedError, match="identity_provider_refused_our_key"):
            await wrong.revoke(account)


async def test_a_token_that_ends_early_is_replaced_unseen(entra: Entra, http: httpx2.AsyncClient, url: str) -> None:
    account = await _account(http, url)
    await entra.valid_from(account)
    await http.delete(f"{url}/_tokens")
    await entra.revoke(account)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_provider_that_cannot_now_is_an_outage(
    entra: Entra, http: httpx2.AsyncClient, url: str, status: int
) -> None:
    account = await _account(http, url)
    before = await entra.valid_from(account)
    await http.post(f"{url}/_faults", json={"kind": "answer", "status": status, "match": f"{account}/revoke"})
    with pytest.raises(ProviderUnavailableError):
        await entra.revoke(account)
    assert await entra.valid_from(account) == before


async def test_when_the_answer_is_lost_a_second_look_shows_that_the_sessions_ended(
    entra: Entra, http: httpx2.AsyncClient, url: str
) -> None:
    account = await _account(http, url)
    before = datetime.now(UTC)
    await http.post(f"{url}/_faults", json={"kind": "lose_answer", "match": f"{account}/revoke"})
    with pytest.raises(ProviderUnavailableError):
        await entra.revoke(account)
    valid_from = await entra.valid_from(account)
    assert valid_from is not None
    assert valid_from >= before - WHOLE_SECONDS


async def test_a_provider_that_is_down_is_an_outage(http: httpx2.AsyncClient, closed_port: int) -> None:
    with pytest.raises(ProviderUnavailableError):
        await _entra(http, f"http://127.0.0.1:{closed_port}").revoke("anyone")
    with pytest.raises(ProviderUnavailableError):
        await _entra(http, f"http://127.0.0.1:{closed_port}").probe()


@pytest.mark.parametrize(
    "answer",
    [
        "<html>maintenance</html>",
        [],
        {},
        {"access_token": "t", "signInSessionsValidFromDateTime": "yesterday"},
        {"access_token": "t", "signInSessionsValidFromDateTime": "2026-11-29T23:40:00"},
        {"access_token": "t", "signInSessionsValidFromDateTime": 1},
        *({"access_token": "t", "expires_in": life, "signInSessionsValidFromDateTime": 1} for life in _NO_LIFE),
    ],
)
async def test_an_answer_that_cannot_be_read_is_an_outage(
    http: httpx2.AsyncClient, answering: Callable[[object], str], answer: object
) -> None:
    with pytest.raises(ProviderUnavailableError):
        await _entra(http, answering(answer)).valid_from("anyone")


async def test_no_secret_is_logged_or_written_down(
    entra: Entra, http: httpx2.AsyncClient, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await entra.revoke(await _account(http, url))
    journal = orjson.dumps((await http.get(f"{url}/_journal")).json()).decode()
    for secret in (APPLICATION.client_secret, *entra._api._headers.values()):
        assert secret not in caplog.text
        assert secret not in journal
