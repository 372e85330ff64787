"""The embedded MDM server: built from its locked source, reachable with its key only, on the same address again."""

import base64
import secrets
import string
from pathlib import Path

import httpx2
import pytest

from lostphone.embedded import EmbeddedError, EmbeddedNanoMDM, nanomdm
from sandbox.certificates import authority
from tests.stack.installed import drop_database, with_database


@pytest.fixture
async def server(postgres: str, tmp_path: Path) -> EmbeddedNanoMDM:
    import asyncpg

    name = "nanomdm_test_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    connection = await asyncpg.connect(with_database(postgres, name))
    await connection.execute(nanomdm.schema_file().read_text())
    await connection.close()
    certificate, key = tmp_path / "ca.pem", tmp_path / "ca.key"
    authority(certificate, key)
    mdm = EmbeddedNanoMDM(
        tmp_path / "nanomdm",
        dsn=with_database(postgres, name),
        ca_file=certificate,
        webhook_url="http://127.0.0.1:1/webhooks/nanomdm",
        secrets=nanomdm.Secrets(api_key="an-api-key", webhook_hmac_key="a-webhook-key"),
    )
    yield mdm
    mdm.kill()
    await drop_database(name, postgres)


async def test_it_comes_back_on_its_address_and_serves_only_who_holds_the_key(server: EmbeddedNanoMDM) -> None:
    base_url = server.start()
    async with httpx2.AsyncClient(base_url=base_url) as http:
        assert (await http.get("/version")).json()["version"] == nanomdm.VERSION
        push = "/v1/pushcert?topic=com.apple.mgmt.External.none"
        wrong = base64.b64encode(b"nanomdm:wrong").decode()
        assert (await http.get(push)).status_code == 401
        assert (await http.get(push, headers={"Authorization": f"Basic {wrong}"})).status_code == 401
        assert (await http.get(push, auth=("nanomdm", "an-api-key"))).status_code != 401
    assert server.stop() == "stopped"
    assert server.start() == base_url
    server.kill()
    assert server.start() == base_url


def test_its_secrets_do_not_stand_in_the_process_list(server: EmbeddedNanoMDM) -> None:
    server.start()
    command = Path(f"/proc/{server.child.pid}/cmdline")
    if not command.exists():
        pytest.skip("this system has no /proc to read the process list from")
    assert b"an-api-key" not in command.read_bytes()
    assert b"a-webhook-key" not in command.read_bytes()


def test_a_missing_program_is_named_with_what_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSTPHONE_TOOLS", str(tmp_path))
    with pytest.raises(EmbeddedError, match=r"NanoMDM is not built yet .*make install"):
        nanomdm.installed()
    with pytest.raises(EmbeddedError, match="make install"):
        nanomdm.schema_file()
