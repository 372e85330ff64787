"""All four services over one database, serving HTTP on loopback as `serve` does."""

from collections.abc import AsyncIterator

import pytest

from lostphone.installation import Installation
from shared.telemetry.logs import configure_logs
from tests.requests.running import World, all_services, identity_at
from tests.requests.story import Known, a_case
from tests.stack.installed import Installed, copy_of


@pytest.fixture(scope="package")
async def installed(
    topics: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installed]:
    async with copy_of(template, postgres) as dsn:
        yield Installed(topics, dsn, Installation.open(tmp_path_factory.mktemp("installation") / "data"))


@pytest.fixture(scope="package")
async def world(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    configure_logs("requests", "ERROR")  # tracebacks as services write them
    async with all_services(installed, tmp_path_factory.mktemp("requests")) as running:
        yield running


@pytest.fixture(scope="package")
async def known(world: World) -> Known:
    return await a_case(world)


@pytest.fixture(scope="package")
async def issuer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with identity_at(tmp_path_factory.mktemp("issuer")) as address:
        yield address
