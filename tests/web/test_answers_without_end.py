"""An answer of somebody else takes so much time and so many bytes, and no more."""

import gzip
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from shared.web.answers import BoundedClient
from tests.audit.dripping import dripping

_MOST = 10_000


@pytest.fixture
async def client() -> AsyncIterator[BoundedClient]:
    async with BoundedClient(seconds=0.5, most=_MOST) as made:
        yield made


@pytest.fixture
def saying(client: BoundedClient) -> Callable[..., None]:
    """`saying(content, **headers)`: what is answered from now on."""

    def say(content: bytes, **headers: str) -> None:
        client._transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=content, headers=headers))

    return say


async def test_one_that_gives_a_byte_now_and_then_is_not_waited_for(client: BoundedClient) -> None:
    for first in (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "):
        async with dripping(first) as url:
            with pytest.raises(httpx2.HTTPError, match=r"within 0\.5 seconds"):
                await client.get(url)


@pytest.mark.parametrize("packed", [False, True])
async def test_one_that_is_too_long_is_none(client: BoundedClient, saying: Callable[..., None], packed: bool) -> None:
    content = b"x" * (_MOST + 1)
    saying(gzip.compress(content) if packed else content, **({"content-encoding": "gzip"} if packed else {}))
    with pytest.raises(httpx2.HTTPError, match=f"longer than {_MOST} bytes"):
        await client.get("https://vendor.example/")


@pytest.mark.parametrize("packed", [False, True])
async def test_any_other_is_given_whole(client: BoundedClient, saying: Callable[..., None], packed: bool) -> None:
    content = b'{"word": "' + b"x" * (_MOST - 12) + b'"}'
    packing = {"content-encoding": "gzip"} if packed else {}
    saying(gzip.compress(content) if packed else content, **{"content-type": "application/json"}, **packing)
    answer = await client.post("https://vendor.example/", json={})
    assert answer.content == content
    assert len(answer.json()["word"]) == _MOST - 12
    assert answer.headers["content-type"] == "application/json"
    assert answer.request.method == "POST"
    answer.raise_for_status()


async def test_who_reads_a_stream_bounds_it(client: BoundedClient, saying: Callable[..., None]) -> None:
    saying(b"x" * (2 * _MOST))
    async with client.stream("GET", "https://vendor.example/") as answer:
        assert len(await answer.aread()) == 2 * _MOST
