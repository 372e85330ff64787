"""A relay in front of a server, which looks at what passes: it can cut a connection, or leave it half open."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

type Seen = Callable[[bytes], bytes | None]
"""What becomes of bytes on their way; None cuts the connection."""


def _as_it_is(data: bytes) -> bytes:
    return data


@asynccontextmanager
async def between(host: str, port: int, *, asked: Seen = _as_it_is, answered: Seen = _as_it_is) -> AsyncIterator[int]:
    """A relay to that address which looks at what passes; its port."""

    async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, seen: Seen) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                changed = seen(data)
                if changed is None:
                    break
                sink.write(changed)
                await sink.drain()
        sink.close()

    async def serve(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(host, port)
        await asyncio.gather(carry(client, to_server, asked), carry(server, to_client, answered))

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
