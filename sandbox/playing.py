"""Playing the parts: each listens on its own loopback port, all in one event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from sandbox.alerts import Alerts
from sandbox.carrier import Carrier
from sandbox.config import Config, ConfigError, PartName
from sandbox.entra import Entra
from sandbox.identity import Identity
from sandbox.line import Line
from sandbox.mail import Mail
from sandbox.part import Part
from sandbox.phones import Phones

_HOST = "127.0.0.1"


@asynccontextmanager
async def playing(config: Config) -> AsyncIterator[dict[str, str]]:
    """Every configured part answers inside; yields their base addresses by name. Raises `ConfigError`."""
    async with AsyncExitStack() as stack:
        sockets = {name: _listen(name, port) for name, port in config.ports.items()}
        ports = {name: taken.getsockname()[1] for name, taken in sockets.items()}
        if "smtp" in sockets:
            sockets.pop("smtp").close()
        for name, taken in sockets.items():
            part = Part(name, config.data_dir, secrets=_SECRETS.get(name, ()), kept_headers=_HEADERS.get(name, ()))
            application = _application(part, config, ports)
            stack.callback(part.journal.close)
            await stack.enter_async_context(part.running)
            await stack.enter_async_context(served(application, taken))
        yield {name: _address(name, port) for name, port in ports.items()}


_SECRETS: dict[str, Iterable[str]] = {"identity": ("code",)}
_HEADERS: dict[str, tuple[str, ...]] = {"line": ("X-Line-Retry-Key",)}


def _application(part: Part, config: Config, ports: dict[PartName, int]) -> ASGIApp:
    match part.name:
        case "identity":
            application = Identity(part, _address("identity", ports["identity"])).application()
        case "carrier":
            application = Carrier(part, with_fleet=config.fleet).application()
        case "entra":
            application = Entra(part).application()
        case "mail":
            application = Mail(part, ports["smtp"]).application()
        case "line":
            application = Line(part).application()
        case "alerts":
            application = Alerts(part).application()
        case "phones" if config.nanomdm is not None and config.ca is not None:
            url, poll = config.nanomdm.url, config.poll_seconds
            application = Phones(part, url, config.ca, poll_seconds=poll, with_fleet=config.fleet).application()
        case _:
            raise ConfigError("phones need nanomdm.url and ca")
    return application


def _address(name: str, port: int) -> str:
    return f"{'smtp' if name == 'smtp' else 'http'}://{_HOST}:{port}"


def _listen(name: str, port: int) -> socket.socket:
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((_HOST, port))
    except OSError as error:
        taken.close()
        raise ConfigError(f"{name}: port {port} is taken") from error
    return taken


class _Server(uvicorn.Server):
    """A server among several in one process: signals are the process's business."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(application: ASGIApp, taken: socket.socket) -> AsyncIterator[None]:
    settings = uvicorn.Config(
        application,
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    server = _Server(settings)
    task = asyncio.create_task(server.serve([taken]))
    while not server.started:
        if task.done():
            await task
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await task
