"""The audit service as it runs: HTTP on loopback, and, where asked, its consumer, publisher and feeder on Kafka."""

import asyncio
import secrets
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lostphone.installation import Installation
from sandbox.identity import Identity
from sandbox.part import Part
from sandbox.tokens import bearer
from services.audit.app import build
from services.audit.settings import Settings
from shared.messaging.consumer import Consumer
from shared.messaging.dead_letter import DeadLetters
from shared.messaging.kafka import KafkaConnection, OutgoingRecord, Producer
from shared.messaging.relay import Relay
from shared.service import Kit, Parts, open_kit
from tests.audit.conftest import BLINDING, LOG_KEYS, ORIGIN, Bench
from tests.audit.records import Writers
from tests.stack.installed import Installed
from tests.stack.service import free_port, serving

OPERATOR = "operator-kk"


@dataclass
class Audit:
    """The service, and the people who ask it."""

    kit: Kit[Settings]
    parts: Parts
    bench: Bench
    http: httpx2.AsyncClient
    identity: str
    url: str

    async def token(self, organisation: str, *roles: str) -> str:
        claims = {"organisation": organisation, "roles": list(roles), "name": "小林 静", "locale": "ja"}
        return await bearer(self.http, self.identity, secrets.token_hex(8), claims=claims)

    async def get(self, path: str, token: str | None = None, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.http.get(path, headers=headers | more)


async def eventually[T](ask: Callable[[], Awaitable[T]], seconds: float = 60) -> T:
    """The first answer that is true."""
    deadline = time.monotonic() + seconds
    while not (answer := await ask()):
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.02)
    return answer


def audit_settings(
    folder: Path, writers: Writers, files: Installation, ports: tuple[int, int], **more: Any
) -> dict[str, Any]:
    """What the service is told, with keys that lie in `folder`. `ports`: its own, and the identity provider's; `more`
    names at least broker and database."""
    keys = {"event.pem": writers.signer("audit").key, "ed25519.pem": LOG_KEYS[0].key, "mldsa44.pem": LOG_KEYS[1].key}
    for name, key in keys.items():
        (folder / name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "blinding.key").write_bytes(b64encode(BLINDING) + b"\n")
    port, identity_port = ports
    return {
        "signing_key_file": folder / "event.pem",
        "event_keys_file": writers.keys_file,
        "vault_key_file": files.vault_key_file,
        "session_key_file": files.key_file("audit", "session.key"),
        "oidc_issuer": f"http://127.0.0.1:{identity_port}",
        "oidc_client_id": "lostphone",
        "oidc_client_secret": "any",
        "http_port": port,
        "public_url": f"http://127.0.0.1:{port}",
        "log_origin": ORIGIN,
        "log_key_file": folder / "ed25519.pem",
        "log_mldsa44_key_file": folder / "mldsa44.pem",
        "blinding_key_file": folder / "blinding.key",
        "operator_organisation": OPERATOR,
        **more,
    }


@asynccontextmanager
async def audit_at(installed: Installed, folder: Path, **more: Any) -> AsyncIterator[Audit]:
    """The service over this database, serving HTTP; its other parts wait for `at_work`. `more` are settings."""
    writers = Writers(folder, topic=f"lostphone.test.{secrets.token_hex(6)}")
    port, identity_port = free_port(), free_port()
    more |= {"kafka_bootstrap": installed.bootstrap, "postgres_dsn": installed.dsn("audit")}
    settings = Settings(**audit_settings(folder, writers, installed.files, (port, identity_port), **more))
    part = Part("identity", folder / "identity")
    async with AsyncExitStack() as stack:
        stack.callback(part.journal.close)
        issuer = await stack.enter_async_context(
            serving(Identity(part, settings.oidc_issuer).application(), identity_port)
        )
        kit = await stack.enter_async_context(open_kit("audit", settings))
        parts = await build(kit)
        url = await stack.enter_async_context(serving(parts.app, port))
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=20))
        bench = Bench(kit.pool, installed.dsn("audit"), kit.units, kit.keyring, writers, parts.sink)  # type: ignore[arg-type]
        yield Audit(kit, parts, bench, http, issuer, url)


@asynccontextmanager
async def at_work(audit: Audit) -> AsyncIterator[Producer]:
    """Consumer, relay, publisher and feeder run; yields a producer that writes to this service's own log topic."""
    connection = KafkaConnection(audit.kit.settings.kafka_bootstrap)
    topic = audit.bench.writers.topic
    producer, dead, relaying = (Producer(connection, f"test-{topic}-{at}") for at in range(3))
    consumer = Consumer(
        "audit",
        connection,
        audit.kit.units,
        audit.kit.keyring,
        audit.parts.sink,
        dead_letters=DeadLetters("audit", dead),
        health=audit.kit.health,
        topic=topic,
        group=f"{topic}-{secrets.token_hex(4)}",
    )
    relay = Relay(audit.bench.dsn, "audit", relaying, audit.kit.units.in_hand, audit.kit.health)
    await consumer.start()
    tasks = [asyncio.ensure_future(start()) for start in (*audit.parts.background, relay.run)]
    try:
        yield producer
    finally:
        await consumer.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in (producer, dead):
            await one.close()


def outgoing(record: Any, topic: str) -> OutgoingRecord:
    return OutgoingRecord(topic, record.key, record.headers, record.value)
