"""A connection on which nothing is asked stays open for whoever uses it again, and holds nobody up."""

import asyncio

import uvicorn
from fastapi import FastAPI

from shared.service import server_of
from shared.settings import ServiceSettings

_ASK = b"GET /health/live HTTP/1.1\r\nHost: lostphone.example\r\n\r\n"


def _server(app: FastAPI) -> uvicorn.Server:
    return server_of(app, ServiceSettings.model_construct(http_host="127.0.0.1", http_port=0, trusted_proxies=()))


async def test_a_proxy_ends_an_idle_connection_before_the_service_does(app: FastAPI) -> None:
    # nginx and the load balancers of the clouds keep theirs for 60 seconds.
    assert _server(app).config.timeout_keep_alive > 60


async def test_a_service_that_ends_does_not_wait_for_idle_connections(app: FastAPI) -> None:
    server = _server(app)
    serving = asyncio.create_task(server._serve())
    async with asyncio.timeout(30):
        while not server.started:  # noqa: ASYNC110 - it is asked, it says nothing
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_ASK)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    server.should_exit = True

    async with asyncio.timeout(server.config.timeout_graceful_shutdown):
        await serving
    writer.close()
