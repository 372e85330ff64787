"""The simulated phones: the same phones after a restart, and new ones after an erase."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest
from cryptography import x509

from lostphone.embedded.nanomdm import EmbeddedNanoMDM
from sandbox.companies import fleet
from sandbox.config import Authority, Config
from sandbox.config import NanoMDM as NanoMDMAddress
from sandbox.playing import playing
from services.mdm_actions.domain.command import Kind, State
from tests.providers.bench import Bench, an_order, ended, eventually, outcome_of


@pytest.fixture
def config(
    tmp_path_factory: pytest.TempPathFactory, nanomdm_server: EmbeddedNanoMDM, devices_authority: Authority
) -> Config:
    return Config(
        data_dir=tmp_path_factory.mktemp("park"),
        ports={"phones": 0},
        nanomdm=NanoMDMAddress(url=nanomdm_server.base_url),
        ca=devices_authority,
        poll_seconds=0.1,
        fleet=False,
    )


async def _phone(http: httpx2.AsyncClient, url: str, udid: str) -> dict[str, Any]:
    said: dict[str, Any] = (await http.get(f"{url}/phones/{udid}")).json()
    return said


async def test_a_phone_is_the_same_phone_after_a_restart(bench: Bench, config: Config) -> None:
    udid, lost, lock = str(uuid4()).upper(), an_order(Kind.LOST_MODE), an_order(Kind.LOCK)
    async with playing(config) as addresses:
        made = {"udid": udid, "serial": "RESTART1", "position": {"latitude": 1, "longitude": 2}}
        assert (await bench.http.post(f"{addresses['phones']}/phones", json=made)).status_code == 201
        await bench.devices.enqueue(udid, lost)
        await outcome_of(bench.devices, udid, lost.command, ended)
        before = await _phone(bench.http, addresses["phones"], udid)
    enrolled_at = (await bench.devices.look(udid)).enrolled_at
    await bench.devices.enqueue(udid, lock)
    async with playing(config) as addresses:
        assert (await outcome_of(bench.devices, udid, lock.command, ended)).state is State.SUCCEEDED
        after = await _phone(bench.http, addresses["phones"], udid)
        journal = (await bench.http.get(f"{addresses['phones']}/_journal")).json()["entries"]
    assert after["lost_mode"]
    assert after["history"][: len(before["history"])] == before["history"]
    assert (await bench.devices.look(udid)).enrolled_at == enrolled_at
    commands = [entry["path"] for entry in journal if entry["method"] == "COMMAND"]
    assert commands == [f"/phones/{udid}/EnableLostMode", f"/phones/{udid}/DeviceLock"]


async def test_an_erased_phone_stays_silent_over_a_restart_and_comes_back_with_a_new_certificate(
    bench: Bench, config: Config
) -> None:
    udid, wipe = str(uuid4()).upper(), an_order(Kind.WIPE)
    pem = config.data_dir / "phones" / f"{udid}.pem"
    async with playing(config) as addresses:
        await bench.http.post(f"{addresses['phones']}/phones", json={"udid": udid, "serial": "ERASED1"})
        await bench.devices.enqueue(udid, wipe)
        await outcome_of(bench.devices, udid, wipe.command, ended)
        first = x509.load_pem_x509_certificate(pem.read_bytes())
    last_seen = (await bench.devices.look(udid)).last_seen
    async with playing(config) as addresses:
        assert (await _phone(bench.http, addresses["phones"], udid))["erased"]
        assert (await bench.devices.look(udid)).last_seen == last_seen
        back = (await bench.http.post(f"{addresses['phones']}/phones/{udid}/enrol")).json()
        assert (back["erased"], back["enrolled"], back["lost_mode"]) == (False, True, False)
    second = x509.load_pem_x509_certificate(pem.read_bytes())
    assert second.serial_number != first.serial_number
    assert (await bench.devices.look(udid)).last_seen != last_seen


async def test_the_fleet_enrols_by_itself(bench: Bench, config: Config) -> None:
    async with playing(config.model_copy(update={"fleet": True})):
        for phones in fleet().values():
            for phone in phones:
                await eventually(lambda udid=phone.udid: bench.devices.look(udid), lambda said: said.enrolled)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/phones/NOBODY", None, 404),
        ("POST", "/phones", {"serial": ""}, 400),
        ("POST", "/phones", {"serial": "S", "udid": "A,B"}, 400),
        ("POST", "/phones", {"serial": "S", "position": {"latitude": 91, "longitude": 0}}, 400),
    ],
)
async def test_a_control_call_that_makes_no_sense_is_explained(
    bench: Bench, method: str, path: str, body: object, status: int
) -> None:
    answer = await bench.http.request(method, f"{bench.phones_url}{path}", json=body)
    assert answer.status_code == status
    assert answer.json()["message"]
