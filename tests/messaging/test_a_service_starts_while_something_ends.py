"""A service that starts in the moment in which what it needs ends waits for it; it does not end as well."""

import asyncio
import os
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

from services.reporter.after_restore import AfterRestore
from services.reporter.settings import Settings
from shared.events import Reading
from shared.messaging import Unit
from shared.service import PartEndedError, Parts, Running, open_kit
from shared.web import create_app
from tests.messaging.between import between
from tests.stack.installed import Installed
from tests.stack.service import free_port, settings_of


def _settings(installation: Installed, **instead: Any) -> Settings:
    return Settings(**settings_of("reporter", installation, "http://127.0.0.1:1", free_port()) | instead)


def test_a_service_that_lacks_settings_ends_and_names_them_without_values() -> None:
    given = {"LOSTPHONE_POSTGRES_DSN": "postgresql://reporter:a-password@db/x", "LOSTPHONE_HTTP_PORT": "a-password"}
    for command in ("serve", "migrate"):
        done = subprocess.run(
            [sys.executable, "-m", "services.reporter", command],
            env={"PATH": os.environ["PATH"], **given}, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "LOSTPHONE_KAFKA_BOOTSTRAP: Field required\n" in done.stderr
        assert "LOSTPHONE_HTTP_PORT: " in done.stderr
        assert "LOSTPHONE_POSTGRES_DSN" not in done.stderr
        assert "Traceback" not in done.stderr
        assert "a-password" not in done.stderr


@pytest.mark.parametrize("question", [b"clock_timestamp", b"said_after_backup"])
async def test_the_database_ends_at_the_first_questions_of_a_start(installation: Installed, question: bytes) -> None:
    cut = 0

    def first_question(data: bytes) -> bytes | None:
        nonlocal cut
        if question in data and not cut:
            cut += 1
            return None
        return data

    dsn = urlsplit(installation.dsn("reporter"))
    assert dsn.hostname
    async with between(dsn.hostname, dsn.port or 5432, asked=first_question) as port:
        moved = dsn._replace(netloc=f"{dsn.username}:{dsn.password}@127.0.0.1:{port}").geturl()
        async with open_kit("reporter", _settings(installation, postgres_dsn=moved)) as kit:
            assert not (await AfterRestore.load(kit.pool, kit.vault, kit.people)).handlers
            assert cut == 1
            assert await kit.pool.fetchval("SELECT 1") == 1


class _Nothing:
    async def take(self, unit: Unit, readings: list[Reading]) -> None:
        """It is about the start only."""


async def _ended() -> None:
    """Background work that should have gone on."""


async def test_a_part_that_ends_ends_the_service_with_an_error(installation: Installed) -> None:
    async with open_kit("reporter", _settings(installation)) as kit:
        parts = Parts(_Nothing(), create_app(kit, title="reporter"), background=(_ended,))
        with pytest.raises(PartEndedError, match="background"):
            await Running("reporter", kit, parts, ["background"]).until(asyncio.Event())
