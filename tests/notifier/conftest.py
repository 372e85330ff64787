"""A notifier of one's own for each test, and the sandbox around it."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.notifier.running import Notifier, Outside, notifier_at
from tests.notifier.running import outside as playing_outside
from tests.stack.installed import Installed


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[Outside]:
    async with playing_outside(tmp_path / "sandbox") as around:
        yield around


@pytest.fixture
def acme(installation: Installed) -> str:
    return installation.new_organisation()


@pytest.fixture
def beta(installation: Installed) -> str:
    return installation.new_organisation()


@pytest.fixture
async def notifier(installation: Installed, outside: Outside, acme: str) -> AsyncIterator[Notifier]:
    async with notifier_at(installation, outside, acme) as running:
        yield running


@pytest.fixture
def incident() -> str:
    return f"0192f0c1-0000-7000-8000-{secrets.token_hex(6)}"
