"""SORACOM's API: a line counts as stopped when it reads so, whatever happened on the way."""

import logging
from collections.abc import Callable
from uuid import uuid4

import httpx2
import orjson
import pytest

from sandbox.companies import companies
from services.mdm_actions.carriers.soracom import Soracom
from services.mdm_actions.providers import ProviderRefusedError, ProviderUnavailableError
from shared.events.payload import Assurance


@pytest.fixture
def url(outside: dict[str, str]) -> str:
    return outside["carrier"]


@pytest.fixture
def soracom(url: str, http: httpx2.AsyncClient) -> Soracom:
    """acme-kk's own account."""
    keys = companies().organisations["acme-kk"].soracom
    return Soracom(http, f"{url}/v1", keys.auth_key_id, keys.auth_key)


async def _sim(http: httpx2.AsyncClient, url: str, **facts: object) -> str:
    sim = {"sim_id": f"89{uuid4().int % 10**17:017d}", "organisation": "acme-kk", **facts}
    assert (await http.post(f"{url}/_sims", json=sim)).status_code == 201
    return str(sim["sim_id"])


async def _calls(http: httpx2.AsyncClient, url: str, sim_id: str) -> list[str]:
    entries = (await http.get(f"{url}/_journal")).json()["entries"]
    return [f"{entry['method']} {entry['path']}" for entry in entries if sim_id in entry["path"]]


async def _fault(http: httpx2.AsyncClient, url: str, **fault: object) -> None:
    assert (await http.post(f"{url}/_faults", json=fault)).status_code == 200


async def test_a_suspended_line_was_read_a_second_time(soracom: Soracom, http: httpx2.AsyncClient, url: str) -> None:
    sim_id = await _sim(http, url)
    reading = await soracom.change(sim_id, "suspend")
    assert (reading.active, reading.word, reading.assurance) == (False, "suspended", Assurance.API_READBACK)
    assert await _calls(http, url, sim_id) == [
        f"GET /v1/sims/{sim_id}",
        f"POST /v1/sims/{sim_id}/suspend",
        f"GET /v1/sims/{sim_id}",
    ]


async def test_a_line_that_is_stopped_already_is_not_stopped_again(
    soracom: Soracom, http: httpx2.AsyncClient, url: str
) -> None:
    sim_id = await _sim(http, url, status="suspended")
    await soracom.change(sim_id, "suspend")
    assert await _calls(http, url, sim_id) == [f"GET /v1/sims/{sim_id}"]


async def test_a_plan_without_suspension_is_deactivated_instead(
    soracom: Soracom, http: httpx2.AsyncClient, url: str
) -> None:
    sim_id = await _sim(http, url, can_be_suspended=False)
    reading = await soracom.change(sim_id, "suspend")
    assert (reading.active, reading.word) == (False, "inactive")


async def test_a_terminated_line_is_never_opened_again(soracom: Soracom, http: httpx2.AsyncClient, url: str) -> None:
    sim_id = await _sim(http, url, status="terminated")
    with pytest.raises(ProviderRefusedError, match="change_not_allowed"):
        await soracom.change(sim_id, "activate")
    reading = await soracom.read_back(sim_id)
    assert (reading.active, reading.word) == (False, "terminated")


async def test_an_unknown_line_is_a_refusal(soracom: Soracom) -> None:
    with pytest.raises(ProviderRefusedError, match="sim_not_found"):
        await soracom.change("8900000000000000000", "suspend")


async def test_the_line_of_another_company_is_not_found(soracom: Soracom, http: httpx2.AsyncClient, url: str) -> None:
    sim_id = await _sim(http, url, organisation="beta-kk")
    with pytest.raises(ProviderRefusedError, match="sim_not_found"):
        await soracom.change(sim_id, "suspend")


@pytest.mark.parametrize("sim_id", ["", "1/suspend", "1?x", "../auth", "1,2", "1\n", "9" * 41])
async def test_no_sim_id_can_name_two_lines_or_another_path(
    soracom: Soracom, http: httpx2.AsyncClient, url: str, sim_id: str
) -> None:
    before = len((await http.get(f"{url}/_journal")).json()["entries"])
    with pytest.raises(ProviderRefusedError, match="sim_id_malformed"):
        await soracom.change(sim_id, "suspend")
    assert len((await http.get(f"{url}/_journal")).json()["entries"]) == before


async def test_a_token_that_ends_early_is_replaced_unseen(soracom: Soracom, http: httpx2.AsyncClient, url: str) -> None:
    sim_id = await _sim(http, url)
    await soracom.read_back(sim_id)
    await http.delete(f"{url}/_tokens")
    assert (await soracom.change(sim_id, "suspend")).word == "suspended"


async def test_a_wrong_key_is_a_refusal_and_not_an_outage(http: httpx2.AsyncClient, url: str) -> None:
    sim_id = await _sim(http, url)
    with pytest.raises(ProviderRefusedError, match="carrier_refused_our_key"):
        await Soracom(http, f"{url}/v1", "keyId-acme-kk", "wrong").change(sim_id, "suspend")


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_carrier_that_cannot_now_is_an_outage_and_the_line_stays_open(
    soracom: Soracom, http: httpx2.AsyncClient, url: str, status: int
) -> None:
    sim_id = await _sim(http, url)
    await _fault(http, url, kind="answer", status=status, match=f"/v1/sims/{sim_id}/suspend")
    with pytest.raises(ProviderUnavailableError):
        await soracom.change(sim_id, "suspend")
    assert (await soracom.read_back(sim_id)).active
    assert (await soracom.change(sim_id, "suspend")).word == "suspended"


async def test_when_the_answer_is_lost_reading_back_shows_that_the_line_is_stopped(
    soracom: Soracom, http: httpx2.AsyncClient, url: str
) -> None:
    sim_id = await _sim(http, url)
    await _fault(http, url, kind="lose_answer", match=f"/v1/sims/{sim_id}/suspend")
    with pytest.raises(ProviderUnavailableError):
        await soracom.change(sim_id, "suspend")
    assert (await soracom.read_back(sim_id)).word == "suspended"


async def test_when_the_call_never_arrived_reading_back_shows_that_the_line_is_open(
    soracom: Soracom, http: httpx2.AsyncClient, url: str
) -> None:
    sim_id = await _sim(http, url)
    await _fault(http, url, kind="drop", match=f"/v1/sims/{sim_id}/suspend")
    with pytest.raises(ProviderUnavailableError):
        await soracom.change(sim_id, "suspend")
    assert (await soracom.read_back(sim_id)).active


async def test_a_carrier_that_is_down_is_an_outage(http: httpx2.AsyncClient, closed_port: int) -> None:
    with pytest.raises(ProviderUnavailableError):
        await Soracom(http, f"http://127.0.0.1:{closed_port}/v1", "id", "key").read_back("1")
    with pytest.raises(ProviderUnavailableError):
        await Soracom(http, f"http://127.0.0.1:{closed_port}/v1", "id", "key").probe()


@pytest.mark.parametrize(
    "answer",
    [
        "<html>maintenance</html>",
        [],
        {},
        {"apiKey": "a", "token": "t"},
        {"apiKey": "a", "token": "t", "status": None},
        {"apiKey": "a", "token": "t", "status": "half_open"},
    ],
)
async def test_an_answer_that_says_neither_open_nor_stopped_is_an_outage(
    http: httpx2.AsyncClient, answering: Callable[[object], str], answer: object
) -> None:
    soracom = Soracom(http, answering(answer), "id", "key")
    with pytest.raises(ProviderUnavailableError):
        await soracom.read_back("1")
    with pytest.raises(ProviderUnavailableError):
        await soracom.change("1", "suspend")


@pytest.mark.parametrize("status", ["ready", "active", "standby", "inactive", "suspended", "terminated"])
async def test_a_line_counts_as_open_until_it_surely_is_stopped(
    soracom: Soracom, http: httpx2.AsyncClient, url: str, status: str
) -> None:
    reading = await soracom.read_back(await _sim(http, url, status=status))
    assert reading.active == (status in ("ready", "active", "standby"))
    assert reading.word == status


async def test_no_secret_is_logged_or_written_down(
    soracom: Soracom, http: httpx2.AsyncClient, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await soracom.change(await _sim(http, url), "suspend")
    journal = orjson.dumps((await http.get(f"{url}/_journal")).json()).decode()
    for secret in (companies().organisations["acme-kk"].soracom.auth_key, *soracom._api._headers.values()):
        assert secret not in caplog.text
        assert secret not in journal
