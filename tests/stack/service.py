"""One service as it runs, with its HTTP on loopback, and a way to tell it what other services would."""

import asyncio
import itertools
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import uvicorn

from lostphone.embedded.ports import Claims
from lostphone.installation import Service
from shared.events import Envelope, Received, Signer, find, read
from shared.events.payload import Payload
from shared.service import Kit, Parts
from tests.stack.installed import Installed

CLIENT_ID = "lostphone"


def free_port() -> int:
    """A port that no outgoing connection takes before it is bound."""
    return Claims().settle({}, ["free"])["free"]


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


def settings_of(service: Service, installed: Installed, identity: str, port: int) -> dict[str, Any]:
    """The settings that every service needs."""
    files = installed.files
    return {
        "kafka_bootstrap": installed.bootstrap,
        "postgres_dsn": installed.dsn(service),
        "signing_key_file": files.key_file(service, "event-signing.pem"),
        "event_keys_file": files.event_keys_file,
        "vault_key_file": files.vault_key_file,
        "session_key_file": files.key_file(service, "session.key"),
        "oidc_issuer": identity,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": "any",
        "http_port": port,
        "public_url": f"http://127.0.0.1:{port}",
    }


@dataclass
class Someone:
    """A signed-in person who speaks to a service."""

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
class Running[S]:
    """A service with settings `S`, at work."""

    kit: Kit[S]
    parts: Parts
    http: httpx2.AsyncClient
    installed: Installed
    url: str
    _sequences: dict[tuple[str, str], Any] = field(default_factory=dict, init=False)

    def record(self, payload: Payload, subject: str, organisation: str, *, drill: bool = False) -> Received:
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

    async def hear_again(self, received: Received) -> None:
        """Have the service hear a record, as its consumer would hand it over."""
        async with self.kit.units.begin() as unit:
            await self.parts.sink.take(unit, [read(received, self.kit.keyring)])

    async def outbox(self, subject: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Events that wait in the outbox for this subject: short type, headers and data, in order."""
        rows = await self.kit.pool.fetch("SELECT headers, value FROM outbox WHERE key = $1 ORDER BY place", subject)
        found = [(dict(row["headers"]), json.loads(row["value"])) for row in rows]
        return [
            (headers["ce_type"].removeprefix("lostphone.").removesuffix(".v1"), headers, data)
            for headers, data in found
        ]
