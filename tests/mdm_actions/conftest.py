"""A real NanoMDM with simulated phones, the sandbox's carrier and identity providers, and the service on top."""

import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lostphone.embedded.nanomdm import EmbeddedNanoMDM, Secrets, schema_file
from sandbox.certificates import authority
from sandbox.companies import companies
from sandbox.config import Authority, Config
from sandbox.config import NanoMDM as NanoMDMAddress
from sandbox.playing import playing, served
from services.mdm_actions.app import build
from services.mdm_actions.settings import Settings
from shared.service import open_kit
from shared.telemetry.logs import configure_logs
from tests.mdm_actions.bench import Company, Service, World
from tests.stack.installed import Installed

_ROOT = Path(__file__).parents[2]
_API_KEY = "planted-api-key"
_WEBHOOK_KEY = "planted-webhook-key"


@pytest.fixture(scope="package")
async def world(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """NanoMDM, its phones, the carrier, the identity providers of sign-in and of Microsoft."""
    configure_logs("mdm_actions", "WARNING")
    folder = tmp_path_factory.mktemp("world")
    ca = Authority(cert=folder / "ca.pem", key=folder / "ca.key")
    authority(ca.cert, ca.key)
    async with httpx2.AsyncClient(timeout=10) as http, _database(postgres) as dsn:
        world = World(http, {}, "", dsn, _API_KEY, _WEBHOOK_KEY)

        async def forward(request: Request) -> Response:
            if world.webhooks:
                headers = {"X-Hmac-Signature": request.headers["X-Hmac-Signature"]}
                await world.webhooks.post("/webhooks/nanomdm", content=await request.body(), headers=headers)
            return Response()

        taken = socket.create_server(("127.0.0.1", 0))
        async with served(Starlette(routes=[Route("/nanomdm", forward, methods=["POST"])]), taken):
            server = EmbeddedNanoMDM(
                folder / "nanomdm",
                dsn=dsn,
                ca_file=ca.cert,
                webhook_url=f"http://127.0.0.1:{taken.getsockname()[1]}/nanomdm",
                secrets=Secrets(_API_KEY, _WEBHOOK_KEY),
            )
            server.start()
            world.nanomdm_url = server.base_url
            config = Config(
                data_dir=folder / "sandbox",
                ports={"carrier": 0, "entra": 0, "identity": 0, "phones": 0},
                nanomdm=NanoMDMAddress(url=server.base_url),
                ca=ca,
                fleet=False,
                poll_seconds=0.1,
            )
            async with playing(config) as addresses:
                world.parts = addresses
                yield world
            server.stop()


@asynccontextmanager
async def _database(postgres: str) -> AsyncIterator[str]:
    name = f"nanomdm_{uuid4().hex[:12]}"
    server = await asyncpg.connect(postgres)
    try:
        await server.execute(f'CREATE DATABASE "{name}"')
        dsn = urlunsplit(urlsplit(postgres)._replace(path=f"/{name}"))
        inside = await asyncpg.connect(dsn)
        await inside.execute(schema_file().read_text())
        await inside.close()
        yield dsn
        await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await server.close()


@pytest.fixture
def company(installation: Installed) -> Company:
    return Company(installation.new_organisation())


@pytest.fixture
def other_company(installation: Installed) -> Company:
    return Company(installation.new_organisation())


@pytest.fixture(scope="package")
def log_topic(kafka: str) -> str:
    """The log of this suite. Events are handed over without it, so that it is empty, and heard to its end."""
    name = f"test.log.{uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    while name not in admin.list_topics(timeout=10).topics:
        # The controller has made it, and the broker that answers has not heard of it yet.
        time.sleep(0.1)
    return name


def approvers_file(installation: Installed) -> Path:
    """Whose signatures count under a wipe."""
    return installation.files.key_file("mdm_actions", "approvers.json")


type Serving = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def serving(world: World, installation: Installed, log_topic: str, company: Company, other_company: Company) -> Serving:
    """Starts the service: `async with serving() as service`. Again, it is the same service after a restart."""
    approvers = approvers_file(installation)
    approvers.write_text(json.dumps(company.approvers() | other_company.approvers()))
    files = installation.files
    settings = Settings(
        kafka_bootstrap=installation.bootstrap,
        postgres_dsn=SecretStr(installation.dsn("mdm_actions")),
        signing_key_file=files.key_file("mdm_actions", "event-signing.pem"),
        event_keys_file=files.event_keys_file,
        vault_key_file=files.vault_key_file,
        session_key_file=files.key_file("mdm_actions", "session.key"),
        oidc_issuer=world.parts["identity"],
        oidc_client_id="lostphone",
        oidc_client_secret=SecretStr("planted"),
        http_port=1,
        public_url="http://127.0.0.1:1",
        rules_dir=_ROOT / "rules",
        approvers_file=approvers,
        nanomdm_url=world.nanomdm_url,
        nanomdm_api_key=SecretStr(world.api_key),
        nanomdm_webhook_key=SecretStr(world.webhook_key),
        nanomdm_dsn=SecretStr(world.nanomdm_dsn),
        soracom_url=f"{world.parts['carrier']}/v1",
        soracom_auth_key_id=companies().soracom_operator.auth_key_id,
        soracom_auth_key=SecretStr(companies().soracom_operator.auth_key),
        entra_login_url=world.parts["entra"],
        entra_graph_url=world.parts["entra"],
        entra_client_id=companies().entra_application.client_id,
        entra_client_secret=SecretStr(companies().entra_application.client_secret),
        entra_tenants={company.name: company.tenant, other_company.name: other_company.tenant},
        watch_first_seconds=0.05,
        watch_most_seconds=0.2,
    )

    @asynccontextmanager
    async def serve(
        *, outward: httpx2.AsyncClient | None = None, webhooks: bool = True, **changed: str
    ) -> AsyncIterator[Service]:
        async with open_kit("mdm_actions", settings.model_copy(update=changed)) as opened:
            kit = replace(opened, http=outward) if outward else opened
            parts = await build(kit, log_topic=log_topic)
            transport = httpx2.ASGITransport(parts.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://mdm") as http:
                world.webhooks = http if webhooks else None
                try:
                    yield Service(kit, parts, world, installation, http)
                finally:
                    world.webhooks = None
                    await world.rest()

    return serve


@pytest.fixture
async def service(serving: Serving) -> AsyncIterator[Service]:
    """The service with its timers running."""
    async with serving() as service, service.timers():
        yield service
