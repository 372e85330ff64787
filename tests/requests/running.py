"""The four services on loopback, one bus between them, and people in every role."""

import asyncio
import itertools
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from pydantic import SecretStr

from sandbox.identity import Identity
from sandbox.part import Part
from sandbox.tokens import bearer
from services.audit.app import build as build_audit
from services.audit.settings import Settings as AuditSettings
from services.mdm_actions.app import build as build_mdm_actions
from services.mdm_actions.settings import Settings as MdmActionsSettings
from services.notifier.app import build as build_notifier
from services.notifier.settings import Settings as NotifierSettings
from services.reporter.app import build as build_reporter
from services.reporter.settings import Settings as ReporterSettings
from shared.events import Received, read
from shared.service import Kit, Parts, open_kit, server_of
from shared.web import Role
from shared.web.connections import Places
from tests.audit.conftest import BLINDING, LOG_KEYS, ORIGIN
from tests.stack.installed import Installed
from tests.stack.service import free_port, serving

SERVICES = ("reporter", "mdm_actions", "notifier", "audit")
ROLES: dict[str, list[str]] = {role.value: ["employee", role.value] for role in Role} | {
    "everything": [role.value for role in Role]
}
_ROOT = Path(__file__).parents[2]
_SETTINGS: dict[str, tuple[Any, Any]] = {
    "reporter": (ReporterSettings, build_reporter),
    "mdm_actions": (MdmActionsSettings, build_mdm_actions),
    "notifier": (NotifierSettings, build_notifier),
    "audit": (AuditSettings, build_audit),
}


@dataclass
class Service:
    """One service at work."""

    kit: Kit[Any]
    parts: Parts
    url: str


@dataclass
class World:
    """The services and those who use them."""

    installed: Installed
    identity: str
    services: dict[str, Service]
    http: httpx2.AsyncClient
    organisation: str
    _tokens: dict[tuple[str, str], str] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)
    _offsets: Iterator[int] = field(default_factory=itertools.count)

    async def token(self, role: str, organisation: str | None = None) -> str:
        """Of one person in this role; `everything` has them all."""
        key = (organisation or self.organisation, role)
        if key not in self._tokens:
            claims = {"organisation": key[0], "roles": ROLES[role], "name": "佐藤 未来", "locale": "ja"}
            self._tokens[key] = await bearer(self.http, self.identity, secrets.token_hex(8), claims=claims)
        return self._tokens[key]

    async def headers(self, role: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {await self.token(role)}"} if role else {}

    async def tell(self) -> None:
        """Carry what the services said to all of them, until nothing more is said."""
        while True:
            said = [record for name in SERVICES for record in await self._said(name)]
            if not said:
                return
            for service in self.services.values():
                async with service.kit.units.begin() as unit:
                    await service.parts.sink.take(unit, [read(record, service.kit.keyring) for record in said])

    async def _said(self, name: str) -> list[Received]:
        rows = await self.services[name].kit.pool.fetch(
            "SELECT place, topic, key, headers, value FROM outbox WHERE place > $1 ORDER BY place LIMIT 500",
            self._told.get(name, 0),
        )
        if rows:
            self._told[name] = rows[-1]["place"]
        return [
            Received(
                row["topic"], 0, next(self._offsets), 0, row["key"].encode(), _headers(row["headers"]), row["value"]
            )
            for row in rows
            if row["topic"] == "lostphone.log.v1"
        ]


def _headers(kept: Any) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, value.encode() if isinstance(value, str) else value) for name, value in kept)


@asynccontextmanager
async def service_at(
    name: str, installed: Installed, issuer: str, folder: Path, places: Places | None = None, **more: Any
) -> AsyncIterator[Service]:
    """One service with the server that `serve` would run."""
    settings_class, build = _SETTINGS[name]
    files, port = installed.files, free_port()
    settings = settings_class(
        kafka_bootstrap=installed.bootstrap,
        postgres_dsn=SecretStr(installed.dsn(name)),
        signing_key_file=files.key_file(name, "event-signing.pem"),
        event_keys_file=files.event_keys_file,
        vault_key_file=files.vault_key_file,
        session_key_file=files.sign_in_key_file,
        oidc_issuer=issuer,
        oidc_client_id="lostphone",
        oidc_client_secret=SecretStr("any"),
        http_port=port,
        public_url=f"http://127.0.0.1:{port}",
        rules_dir=_ROOT / "rules",
        **(_extra(name, folder) | more),
    )
    async with open_kit(name, settings) as kit:
        parts = await build(kit)
        server = server_of(parts.app, settings, places)
        running = asyncio.create_task(server._serve())
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
        try:
            yield Service(kit, parts, settings.public_url)
        finally:
            server.should_exit = True
            await running


def _extra(name: str, folder: Path) -> dict[str, Any]:
    if name == "mdm_actions":
        approvers = folder / "approvers.json"
        approvers.write_text("{}")
        return {"approvers_file": approvers}
    if name == "audit":
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        pem = LOG_KEYS[0].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "ed25519.pem").write_bytes(pem)
        (folder / "blinding.key").write_bytes(b64encode(BLINDING) + b"\n")
        return {
            "log_origin": ORIGIN,
            "log_key_file": folder / "ed25519.pem",
            "blinding_key_file": folder / "blinding.key",
        }
    if name == "reporter":
        generous = {"emergency_burst": 100_000, "emergency_per_minute": 1e6, "receipt_burst": 100_000}
        return generous | {"emergency_overall_burst": 100_000}
    return {}


@asynccontextmanager
async def identity_at(folder: Path) -> AsyncIterator[str]:
    """The sandbox's OpenID provider; its issuer."""
    port = free_port()
    part = Part("identity", folder / "identity")
    try:
        async with serving(Identity(part, f"http://127.0.0.1:{port}").application(), port) as issuer:
            yield issuer
    finally:
        part.journal.close()


@asynccontextmanager
async def all_services(installed: Installed, folder: Path) -> AsyncIterator[World]:
    """The four services, a bus that `World.tell` moves, and a published checkpoint."""
    async with AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(identity_at(folder))
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=30))
        services = {
            name: await stack.enter_async_context(service_at(name, installed, issuer, folder)) for name in SERVICES
        }
        publishing = asyncio.create_task(services["audit"].parts.background[0]())
        try:
            yield World(installed, issuer, services, http, installed.new_organisation())
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
