"""What others answer to us: vendors, identity providers, witnesses, authorities. Read no further than an answer may be
long, and waited for no longer: one without end, one that grows a thousandfold where it is unpacked, or one that gives a
byte now and then would take the memory of a service, or its time."""

import asyncio
from typing import Any

import httpx2

_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that say how an answer came, and not what it is."""


async def beginning(answer: httpx2.Response, most: int) -> bytes:
    """All of a streamed answer, or of a longer one little more than `most` bytes."""
    data = bytearray()
    async for part in answer.aiter_bytes():
        data += part
        if len(data) > most:
            break
    return bytes(data)


class BoundedClient(httpx2.AsyncClient):
    """Gives a whole answer within so many seconds, of at most so many bytes, or raises `httpx2.HTTPError`. Whoever asks
    for a stream reads it within bounds of its own."""

    def __init__(self, *, seconds: float, most: int) -> None:
        super().__init__(timeout=seconds)
        self._seconds = seconds
        self._most = most

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Like that of every client."""
        if stream:
            return await super().send(request, stream=True, **options)
        try:
            async with asyncio.timeout(self._seconds):
                answer = await super().send(request, stream=True, **options)
                try:
                    content = await beginning(answer, self._most)
                finally:
                    await answer.aclose()
        except TimeoutError as error:
            raise httpx2.ReadTimeout(f"no whole answer within {self._seconds:g} seconds", request=request) from error
        if len(content) > self._most:
            raise httpx2.ReadError(f"the answer is longer than {self._most} bytes", request=request)
        headers = [header for header in answer.headers.multi_items() if header[0].lower() not in _OF_THE_WIRE]
        return httpx2.Response(answer.status_code, headers=headers, content=content, request=answer.request)
