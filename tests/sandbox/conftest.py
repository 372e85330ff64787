"""Parts of the sandbox, played in the test's own loop."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sandbox.config import Config, PartName
from sandbox.playing import playing


@dataclass
class Played:
    """Parts that run, and a client for them."""

    addresses: dict[str, str]
    http: httpx2.AsyncClient

    async def journal(self, part: PartName) -> list[dict[str, Any]]:
        said = (await self.http.get(f"{self.addresses[part]}/_journal")).json()
        entries: list[dict[str, Any]] = said["entries"]
        return entries

    async def fault(self, part: PartName, **fault: Any) -> None:
        answer = await self.http.post(f"{self.addresses[part]}/_faults", json=fault)
        assert answer.status_code == 200, answer.text


type Play = Callable[..., AbstractAsyncContextManager[Played]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """`async with play("line", "mail"):` plays these parts; again with the same data in the same test."""

    @asynccontextmanager
    async def parts(*names: PartName, **settings: Any) -> AsyncIterator[Played]:
        config = Config(data_dir=tmp_path / "sandbox", ports=dict.fromkeys(names, 0), **settings)
        async with playing(config) as addresses, httpx2.AsyncClient(timeout=30) as http:
            yield Played(addresses, http)

    return parts
