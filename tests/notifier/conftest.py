"""One notifier for the tests that look at their own organisation only, one of its own for those that look at all."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from lostphone.installation import Installation
from tests.notifier.running import Notifier, Outside, notifier_at
from tests.notifier.running import outside as playing_outside
from tests.stack.installed import Installed, copy_of


@pytest.fixture(scope="package")
async def standing(
    topics: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Notifier]:
    """A notifier that many tests share, each with organisations and incidents of its own."""
    place = tmp_path_factory.mktemp("notifier")
    async with copy_of(template, postgres) as dsn, playing_outside(place / "sandbox") as around:
        installed = Installed(topics, dsn, Installation.open(place / "installation"))
        async with notifier_at(installed, around, "nobody") as running:
            yield running


@pytest.fixture
def notifier(standing: Notifier, acme: str) -> Notifier:
    """The shared one, for people of `acme`, who have not been there before."""
    standing.http.cookies.clear()
    return replace(standing, organisation=acme)


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[Outside]:
    """A sandbox of one's own, with nothing in it."""
    async with playing_outside(tmp_path / "sandbox") as around:
        yield around


@pytest.fixture
async def lone_notifier(installation: Installed, outside: Outside, acme: str) -> AsyncIterator[Notifier]:
    """A notifier of one's own, with an empty database and an empty sandbox."""
    async with notifier_at(installation, outside, acme) as running:
        yield running


@pytest.fixture
def acme() -> str:
    return f"org{secrets.token_hex(6)}"


@pytest.fixture
def beta() -> str:
    return f"org{secrets.token_hex(6)}"


@pytest.fixture
def incident() -> str:
    return f"0192f0c1-0000-7000-8000-{secrets.token_hex(6)}"
