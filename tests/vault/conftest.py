"""A database with the roles and the vault alone: these tests need no service."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lostphone import database
from lostphone.installation import Installation
from tests.stack.installed import PASSWORDS, Installed, copy_of, drop_database, with_database


@pytest.fixture(scope="session")
async def vault_template(postgres: str) -> AsyncIterator[str]:
    name = f"lostphone_vault_{secrets.token_hex(8).translate(str.maketrans('0123456789', 'ghijklmnop'))}"
    await database.prepare(postgres, name, PASSWORDS)
    try:
        await database.migrate_all(with_database(postgres, name), ())
        yield name
    finally:
        await drop_database(name, postgres)


@pytest.fixture
async def installation(postgres: str, vault_template: str, tmp_path: Path) -> AsyncIterator[Installed]:
    async with copy_of(vault_template, postgres) as dsn:
        yield Installed("", dsn, Installation.open(tmp_path / "installation"))
