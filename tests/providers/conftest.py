"""What the suites of the adapters stand on: a real NanoMDM with PostgreSQL storage, and the sandbox for the rest."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lostphone.embedded.nanomdm import EmbeddedNanoMDM, Secrets, schema_file
from sandbox.certificates import authority
from sandbox.config import Authority, Config
from sandbox.config import NanoMDM as NanoMDMAddress
from sandbox.playing import playing, served
from services.mdm_actions.mdm.nanomdm import NanoMDM
from tests.providers.bench import Bench, Webhooks

API_KEY = "planted-api-key"
WEBHOOK_KEY = "planted-webhook-key"


@pytest.fixture(scope="package")
async def outside(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """The addresses of the sandbox's carrier and identity provider."""
    config = Config(data_dir=tmp_path_factory.mktemp("outside"), ports={"carrier": 0, "entra": 0})
    async with playing(config) as addresses:
        yield addresses


@pytest.fixture(scope="package")
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=30) as client:
        yield client


@pytest.fixture(scope="package")
async def webhooks() -> AsyncIterator[tuple[Webhooks, str]]:
    """A receiver for NanoMDM's webhook, and its address."""
    heard = Webhooks()

    async def take(request: Request) -> Response:
        heard.received.append((await request.body(), request.headers.get("X-Hmac-Signature")))
        return Response()

    taken = socket.create_server(("127.0.0.1", 0))
    async with served(Starlette(routes=[Route("/nanomdm", take, methods=["POST"])]), taken):
        yield heard, f"http://127.0.0.1:{taken.getsockname()[1]}/nanomdm"


@pytest.fixture(scope="package")
def devices_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("authority")
    files = Authority(cert=folder / "ca.pem", key=folder / "ca.key")
    authority(files.cert, files.key)
    return files


@pytest.fixture(scope="package")
async def nanomdm_database(postgres: str) -> AsyncIterator[str]:
    """A database of NanoMDM's own, dropped afterwards."""
    name = f"nanomdm_{uuid4().hex[:12]}"
    server = await asyncpg.connect(postgres)
    try:
        await server.execute(f'CREATE DATABASE "{name}"')
        # A company in Japan may well keep its database so; no time may come out nine hours off.
        await server.execute(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Tokyo'")
        dsn = urlunsplit(urlsplit(postgres)._replace(path=f"/{name}"))
        inside = await asyncpg.connect(dsn)
        try:
            await inside.execute(schema_file().read_text())
        finally:
            await inside.close()
        yield dsn
        await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await server.close()


@pytest.fixture(scope="package")
def nanomdm_server(
    tmp_path_factory: pytest.TempPathFactory,
    nanomdm_database: str,
    devices_authority: Authority,
    webhooks: tuple[Webhooks, str],
) -> Iterator[EmbeddedNanoMDM]:
    server = EmbeddedNanoMDM(
        tmp_path_factory.mktemp("nanomdm"),
        dsn=nanomdm_database,
        ca_file=devices_authority.cert,
        webhook_url=webhooks[1],
        secrets=Secrets(API_KEY, WEBHOOK_KEY),
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def bench(standing: Bench) -> AsyncIterator[Bench]:
    """The bench of the room; the phones of a test go offline with it."""
    yield standing
    await standing.rest()


@pytest.fixture(scope="package")
async def standing(  # noqa: PLR0917 - fixtures
    tmp_path_factory: pytest.TempPathFactory,
    nanomdm_server: EmbeddedNanoMDM,
    nanomdm_database: str,
    devices_authority: Authority,
    webhooks: tuple[Webhooks, str],
    http: httpx2.AsyncClient,
) -> AsyncIterator[Bench]:
    config = Config(
        data_dir=tmp_path_factory.mktemp("phones"),
        ports={"phones": 0},
        nanomdm=NanoMDMAddress(url=nanomdm_server.base_url),
        ca=devices_authority,
        fleet=False,
        poll_seconds=0.1,
    )
    async with playing(config) as addresses, asyncpg.create_pool(nanomdm_database, min_size=1, max_size=2) as pool:
        yield Bench(
            devices=NanoMDM(http, nanomdm_server.base_url, API_KEY, pool),
            url=nanomdm_server.base_url,
            api_key=API_KEY,
            webhook_key=WEBHOOK_KEY,
            database=pool,
            http=http,
            phones_url=addresses["phones"],
            webhooks=webhooks[0],
        )


@pytest.fixture
def closed_port() -> int:
    """A port at which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port: int = taken.getsockname()[1]
    return port


@pytest.fixture
async def answering() -> AsyncIterator[Callable[[object], str]]:
    """`answering(what)`: the address of a server that gives this answer, with 200, to every call."""
    said: list[object] = [None]

    async def answer(_: Request) -> Response:
        what = said[0]
        return Response(what, media_type="text/html") if isinstance(what, str) else JSONResponse(what)

    taken = socket.create_server(("127.0.0.1", 0))
    async with served(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "PUT"])]), taken):

        def address(what: object) -> str:
            said[0] = what
            return f"http://127.0.0.1:{taken.getsockname()[1]}"

        yield address
