"""The service as a process: it hears the inventory on the log, and finds a phone by the number that somebody types."""

import asyncio
import os
import sys

import httpx2

from shared.events import mdm_actions as done
from shared.messaging.kafka import OutgoingRecord, Producer
from shared.vault import DataClass
from tests.reporter.running import Reporter
from tests.stack.service import free_port

_DEVICE = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f"


def _environment(reporter: Reporter, port: int) -> dict[str, str]:
    settings = reporter.kit.settings
    values = {
        "kafka_bootstrap": settings.kafka_bootstrap,
        "postgres_dsn": settings.postgres_dsn.get_secret_value(),
        "signing_key_file": settings.signing_key_file,
        "event_keys_file": settings.event_keys_file,
        "vault_key_file": settings.vault_key_file,
        "session_key_file": settings.session_key_file,
        "oidc_issuer": settings.oidc_issuer,
        "oidc_client_id": settings.oidc_client_id,
        "oidc_client_secret": "any",
        "http_port": port,
        "public_url": f"http://127.0.0.1:{port}",
    }
    return {"PATH": os.environ["PATH"], **{f"LOSTPHONE_{name.upper()}": str(value) for name, value in values.items()}}


async def test_a_phone_registered_on_the_log_is_found_by_its_number(reporter: Reporter, acme: str) -> None:
    async with reporter.kit.units.begin() as unit:
        digest = await reporter.kit.vault.put(
            unit.connection,
            organisation=acme,
            person=f"device-{_DEVICE}",
            data_class=DataClass.SECRET,
            name="phone_number",
            value="+819012345678",
        )
    facts = {"asset_tag": "IP-1", "platform": "ios", "model": "iPhone 16", "ownership": "company"}
    registered = done.DeviceRegistered.model_validate(facts | {"identifiers": {"phone_number": digest}})
    record = reporter.record(registered, f"device-{_DEVICE}", acme)
    producer = Producer(reporter.kit.settings.kafka(), "test-reporter-inventory")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.reporter", "serve", env=_environment(reporter, port)
    )
    try:
        headers = [(name, data) for name, data in record.headers if data is not None]
        sent = await producer.send([OutgoingRecord(record.topic, record.key or b"", headers, record.value or b"")])
        assert sent == [None]
        colleague = await reporter.someone(acme)
        async with asyncio.timeout(60), httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            while not await reporter.kit.pool.fetchval("SELECT count(*) FROM device WHERE device = $1", _DEVICE):
                assert process.returncode is None
                await asyncio.sleep(0.1)
            answer = await http.post(
                "/v1/reports",
                json={
                    "reported_as": "proxy",
                    "holder_name": "鈴木",
                    "phone": "090-1234-5678",
                    "callback": "0312345678",
                },
                headers={"Authorization": f"Bearer {colleague.token}"},
            )
        assert answer.status_code == 201, answer.text
        facts_told = await reporter.kit.pool.fetchval(
            "SELECT device FROM incident WHERE incident = $1", answer.json()["incident"]
        )
        assert facts_told == _DEVICE
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)
        await producer.close()
    assert process.returncode == 0
