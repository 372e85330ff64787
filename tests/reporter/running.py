"""A reporter as it runs, with its HTTP on loopback, and a way to tell it what other services would."""

import asyncio
import itertools
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox.tokens import bearer
from services.reporter.app import build
from services.reporter.settings import Settings
from shared.events import Envelope, Received, Signer, find, read
from shared.events.payload import Payload
from shared.events.wipe import Step, WipeStatement, sign
from shared.service import Kit, Parts, open_kit
from tests.stack.installed import Installed

CLIENT_ID = "lostphone"
DESK, LEAD, APPROVER, PRIVACY = "security_desk", "incident_lead", "approver", "privacy_officer"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def serving(app: Any, port: int) -> AsyncIterator[str]:
    """An ASGI application on loopback; its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@dataclass
class Someone:
    """A signed-in person who speaks to the reporter."""

    http: httpx2.AsyncClient
    token: str

    async def get(self, path: str, expect: int = 200, **more: Any) -> Any:
        return await self.ask("GET", path, expect, **more)

    async def post(self, path: str, body: Any = None, expect: int | None = None, **more: Any) -> Any:
        return await self.ask("POST", path, expect, json=body, **more)

    async def ask(self, method: str, path: str, expect: int | None, **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = await self.http.request(method, path, headers={**headers, **more.pop("headers", {})}, **more)
        right = answer.status_code in (200, 201) if expect is None else answer.status_code == expect
        assert right, f"{method} {path}: {answer.status_code} {answer.text[:600]}"
        return answer.json()


@dataclass
class Reporter:
    """The service, and the people and services around it."""

    kit: Kit[Settings]
    parts: Parts
    http: httpx2.AsyncClient
    installed: Installed
    identity: str
    url: str
    _sequences: dict[tuple[str, str], Any] = field(default_factory=dict)
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)

    async def someone(self, organisation: str, *roles: str, sub: str = "", name: str = "佐藤 未来") -> Someone:
        """A person with a fresh `sub`, or with this one."""
        claims = {"organisation": organisation, "roles": ["employee", *roles], "name": name, "locale": "ja"}
        token = await bearer(self.http, self.identity, sub or secrets.token_hex(8), claims=claims)
        return Someone(self.http, token)

    def nobody(self) -> Someone:
        """Somebody who did not sign in."""
        return Someone(self.http, "")

    def event(self, payload: Payload, subject: str, organisation: str, *, drill: bool = False) -> Received:
        """A signed record, as the registered writer of the payload would send it."""
        entry = find(payload.event_type)
        assert entry is not None
        counter = self._sequences.setdefault((entry.writer, subject), itertools.count(1))
        envelope = Envelope(
            id=secrets.token_hex(16),
            source=entry.source,
            type=entry.type,
            subject=subject,
            time=datetime.now(UTC),
            sequence=next(counter),
            organisation=organisation,
            actor=f"service/{entry.writer}",
            drill=drill,
        )
        signer = Signer.from_pem(entry.writer, self.installed.files.key_file(entry.writer, "event-signing.pem"))
        headers, value = envelope.sign(signer, payload)
        return Received("lostphone.log.v1", 0, 0, 0, subject.encode(), tuple(headers), value)

    async def hear(self, payload: Payload, subject: str, organisation: str, *, drill: bool = False) -> Received:
        """Have the service hear an event, as its consumer would hand it over."""
        received = self.event(payload, subject, organisation, drill=drill)
        await self.hear_again(received)
        return received

    async def hear_again(self, received: Received) -> None:
        async with self.kit.units.begin() as unit:
            await self.parts.sink.take(unit, [read(received, self.kit.keyring)])

    async def told(self, subject: str) -> list[tuple[str, dict[str, Any]]]:
        """Events that wait in the outbox for this subject: short type and data, in order."""
        import orjson

        rows = await self.kit.pool.fetch("SELECT headers, value FROM outbox WHERE key = $1 ORDER BY place", subject)
        return [
            (dict(row["headers"])["ce_type"].removeprefix("lostphone.").removesuffix(".v1"), orjson.loads(row["value"]))
            for row in rows
        ]

    def sign(self, step: Step, statement: dict[str, Any], who: str) -> dict[str, Any]:
        """A person's signature with a key that only the test holds."""
        key = self.keys.setdefault(who, Ed25519PrivateKey.generate())
        return sign(step, WipeStatement.model_validate(statement), who, key).model_dump(mode="json")

    async def phone(self, organisation: str, *, holder: str | None = None, number: str = "", **facts: Any) -> str:
        """A phone of the inventory, registered as mdm_actions would; its device id."""
        from shared.events.mdm_actions import DeviceRegistered
        from shared.vault import DataClass

        device = str(secrets.token_hex(16))
        device = f"{device[:8]}-{device[8:12]}-{device[12:16]}-{device[16:20]}-{device[20:]}"
        values = {
            "phone_number": number or f"0901{secrets.randbelow(10**7):07d}",
            "imei": f"35{secrets.randbelow(10**13):013d}",
            "serial": secrets.token_hex(6).upper(),
            "marks": "赤いストラップ",
        }
        async with self.kit.units.begin() as unit:
            digests = await self.kit.vault.put_many(
                unit.connection,
                organisation=organisation,
                person=f"device-{device}",
                data_class=DataClass.SECRET,
                values=values,
            )
        usual = {
            "asset_tag": f"IP-{secrets.token_hex(4)}",
            "platform": "ios",
            "model": "iPhone 16",
            "colour": "black",
            "ownership": "company",
            "holder": holder,
            "identifiers": digests,
        }
        await self.hear(DeviceRegistered.model_validate(usual | facts), f"device-{device}", organisation)
        self.numbers = {**getattr(self, "numbers", {}), device: values}
        return device


@asynccontextmanager
async def reporter_at(installed: Installed, identity: str, **settings: Any) -> AsyncIterator[Reporter]:
    """The service over a fresh database, serving HTTP."""
    port = free_port()
    files = installed.files
    chosen = Settings(
        kafka_bootstrap=installed.bootstrap,
        postgres_dsn=installed.dsn("reporter"),
        signing_key_file=files.key_file("reporter", "event-signing.pem"),
        event_keys_file=files.event_keys_file,
        vault_key_file=files.vault_key_file,
        session_key_file=files.key_file("reporter", "session.key"),
        oidc_issuer=identity,
        oidc_client_id=CLIENT_ID,
        oidc_client_secret="any",  # noqa: S106 - the sandbox takes any
        http_port=port,
        public_url=f"http://127.0.0.1:{port}",
        links={"audit": "http://127.0.0.1:1/", "notifier": "http://127.0.0.1:2"},
        **{"emergency_burst": 200, "emergency_per_minute": 200, "receipt_burst": 500, **settings},
    )
    async with open_kit("reporter", chosen) as kit:
        parts = await build(kit)
        async with (
            serving(parts.app, port) as url,
            httpx2.AsyncClient(base_url=url, timeout=20) as http,
        ):
            yield Reporter(kit, parts, http, installed, identity, url)
