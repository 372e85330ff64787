"""A database with the roles and the vault alone: these tests need no service."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lostphone import database
from lostphone.installation import Installation
from tests.stack.installed import PASSWORDS, Installed, drop_database, with_database


@pytest.fixture
async def installation(postgres: str, tmp_path: Path) -> AsyncIterator[Installed]:
    name = f"lostphone_vault_{secrets.token_hex(8).translate(str.maketrans('0123456789', 'ghijklmnop'))}"
    await database.prepare(postgres, name, PASSWORDS)
    try:
        dsn = with_database(postgres, name)
        await database.migrate_all(dsn, ())
        yield Installed("", dsn, Installation.open(tmp_path / "installation"))
    finally:
        await drop_database(name, postgres)
