"""HEAD is answered as GET is, without the content."""

import httpx2
import pytest


@pytest.mark.parametrize("path", ["/health/live", "/form", "/cases/unknown", "/nowhere", "/me"])
async def test_head_has_the_head_of_get_and_no_content(client: httpx2.AsyncClient, path: str) -> None:
    got, asked = await client.get(path), await client.head(path)
    assert asked.status_code == got.status_code
    for name in ("content-type", "content-length"):
        assert asked.headers.get(name) == got.headers.get(name)
    assert asked.content == b""


async def test_head_changes_nothing_where_only_post_is(client: httpx2.AsyncClient) -> None:
    assert (await client.head("/report")).status_code == 405
