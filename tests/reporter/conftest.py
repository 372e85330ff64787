"""One reporter for all tests of this room, and an identity provider; each test has organisations of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lostphone.installation import Installation
from sandbox.identity import Identity
from sandbox.part import Part
from tests.reporter.running import Reporter, reporter_at
from tests.stack.installed import Installed, copy_of
from tests.stack.service import free_port, serving


@pytest.fixture(scope="package")
async def provider(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address, and issuer, of the sandbox's OpenID provider."""
    port = free_port()
    folder: Path = tmp_path_factory.mktemp("identity")
    part = Part("identity", folder)
    identity = Identity(part, f"http://127.0.0.1:{port}")
    async with serving(identity.application(), port) as url:
        yield url
    part.journal.close()


@pytest.fixture(scope="package")
async def installed(
    topics: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installed]:
    """One database for the whole room; making one for each test would take longer than the tests."""
    async with copy_of(template, postgres) as dsn:
        yield Installed(topics, dsn, Installation.open(tmp_path_factory.mktemp("installation") / "data"))


@pytest.fixture(scope="package")
async def reporter(installed: Installed, provider: str) -> AsyncIterator[Reporter]:
    async with reporter_at(installed, provider) as running:
        yield running


@pytest.fixture
def acme(installed: Installed) -> str:
    return installed.new_organisation()


@pytest.fixture
def beta(installed: Installed) -> str:
    return installed.new_organisation()
