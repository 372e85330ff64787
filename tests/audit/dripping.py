"""A server that answers a byte now and then, without end: each comes long before a client gives up waiting for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_PAUSE_SECONDS = 0.02
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


@asynccontextmanager
async def dripping(first: bytes = HEAD, drop: bytes = b"x") -> AsyncIterator[str]:
    """Its address. `first` comes at once, and then `drop` again and again."""

    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(first)
            while True:
                writer.write(drop)
                await writer.drain()
                await asyncio.sleep(_PAUSE_SECONDS)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
