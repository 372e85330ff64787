"""The carrier's states: whatever is asked of a SIM and in whatever order, it stands as SORACOM's would."""

from collections.abc import Sequence

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.carrier import Sim, leads_to
from sandbox.companies import companies, fleet
from tests.sandbox.conftest import Play, Played

_ACTIONS = ["activate", "deactivate", "suspend", "set_to_standby", "enable_termination", "terminate"]


@settings(deadline=None)
@given(actions=st.lists(st.sampled_from(_ACTIONS), max_size=12), can_be_suspended=st.booleans())
def test_terminated_is_the_end_and_only_what_the_plan_knows_is_reached(
    actions: Sequence[str], can_be_suspended: bool
) -> None:
    sim = Sim(sim_id="1", organisation="o", can_be_suspended=can_be_suspended)
    allowed_to_end = False
    for action in actions:
        if action == "enable_termination":
            allowed_to_end = sim.termination_enabled = True
            continue
        before, target = sim.status, leads_to(sim, action)
        if before == "terminated":
            assert isinstance(target, ValueError)
        if isinstance(target, ValueError):
            continue
        sim.status = target
    assert sim.status != "terminated" or allowed_to_end
    assert sim.status != "suspended" or can_be_suspended


async def _signed_in(played: Played, organisation: str) -> httpx2.AsyncClient:
    keys = companies().organisations[organisation].soracom
    body = {"authKeyId": keys.auth_key_id, "authKey": keys.auth_key, "tokenTimeoutSeconds": 60}
    said = (await played.http.post(f"{played.addresses['carrier']}/v1/auth", json=body)).json()
    headers = {"X-Soracom-API-Key": said["apiKey"], "X-Soracom-Token": said["token"]}
    return httpx2.AsyncClient(base_url=f"{played.addresses['carrier']}/v1", headers=headers)


async def test_the_fleet_is_known_and_each_company_sees_its_own_lines_only(play: Play) -> None:
    async with play("carrier") as played:
        for organisation, phones in fleet().items():
            async with await _signed_in(played, organisation) as carrier:
                sims = {sim["simId"]: sim["status"] for sim in (await carrier.get("/sims")).json()}
                assert sims == {phone.sim_id: "active" for phone in phones}


async def test_a_change_is_kept_over_a_restart_with_its_history_and_its_journal(play: Play) -> None:
    sim_id = fleet()["acme-kk"][0].sim_id
    async with play("carrier") as played, await _signed_in(played, "acme-kk") as carrier:
        for action in ("suspend", "suspend", "activate", "deactivate"):
            assert (await carrier.post(f"/sims/{sim_id}/{action}")).status_code == 200
        first = await played.journal("carrier")
    async with play("carrier") as played, await _signed_in(played, "acme-kk") as carrier:
        assert (await carrier.get(f"/sims/{sim_id}")).json()["status"] == "inactive"
        history = (await carrier.get(f"/sims/{sim_id}/statuses/history")).json()
        assert [entry["status"] for entry in history] == ["inactive", "active", "suspended"]
        again = await played.journal("carrier")
        assert again[: len(first)] == first
        assert [entry["sequence"] for entry in again] == list(range(1, len(again) + 1))


@pytest.mark.parametrize(
    ("path", "status"),
    [("/sims/8900000000000000000", 404), ("/nothing", 404), ("/sims/8981100000000000101", 404)],
)
async def test_refusals_have_the_vendors_shape(play: Play, path: str, status: int) -> None:
    async with play("carrier") as played, await _signed_in(played, "acme-kk") as carrier:
        answer = await carrier.get(path)
        assert answer.status_code == status
        assert set(answer.json()) == {"code", "message"}


async def test_without_a_token_nothing_is_told(play: Play) -> None:
    async with play("carrier") as played:
        answer = await played.http.get(f"{played.addresses['carrier']}/v1/sims/{fleet()['acme-kk'][0].sim_id}")
        assert answer.status_code == 401


async def test_keys_and_tokens_are_left_out_of_the_journal(play: Play) -> None:
    async with play("carrier") as played, await _signed_in(played, "acme-kk"):
        (entry,) = await played.journal("carrier")
        assert entry["body"]["authKey"] == "(left out)"
        assert {entry["answer"]["body"][name] for name in ("token", "apiKey")} == {"(left out)"}
