"""What an earlier release wrote, this one restores, migrates and reads: databases and log, from a kept backup."""

import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from lostphone import backup_log, database
from lostphone.backup import LOG_FILE, run, unpack
from lostphone.database import DATABASE
from lostphone.installation import SERVICES
from shared.events import Event, KeyRing, read
from shared.events.registry import find
from tests.stack.installed import PASSWORDS, with_database

_DATA = Path(__file__).parent / "data"
_RELEASES = sorted(path.name for path in _DATA.iterdir() if path.is_dir())


@dataclass
class Kept:
    """A restored and migrated backup of an earlier release."""

    folder: Path
    manifest: dict[str, Any]
    connection: asyncpg.Connection
    keyring: KeyRing


@pytest.fixture(params=_RELEASES)
async def kept(request: pytest.FixtureRequest, postgres: str, tmp_path: Path) -> AsyncIterator[Kept]:
    release = _DATA / request.param
    manifest = unpack(release / "installation.tar.gz", tmp_path)
    name = "lostphone_kept_" + "".join(secrets.choice("abcdefghij") for _ in range(10))
    dsn = with_database(postgres, name)
    server = await asyncpg.connect(postgres)
    try:
        await database.prepare(postgres, name, PASSWORDS)
        await server.execute(f"DROP DATABASE {name}")
        await server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        run("pg_restore", dsn, f"--dbname={name}", "--exit-on-error", str(tmp_path / f"{DATABASE}.dump"))
        await database.prepare(postgres, name, PASSWORDS)
        await database.migrate_all(dsn, SERVICES)
        inside = await asyncpg.connect(dsn)
        try:
            yield Kept(tmp_path, manifest, inside, KeyRing(release / "event-keys.json"))
        finally:
            await inside.close()
    finally:
        await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await server.close()


async def test_what_was_kept_is_all_there_after_the_migrations(kept: Kept) -> None:
    for schema in ("reporter", "mdm_actions", "notifier"):
        assert await kept.connection.fetchval(f"SELECT count(*) FROM {schema}.incident") >= 2
    state = await kept.connection.fetchrow("SELECT size, encode(root, 'hex') AS root FROM audit.log_state")
    assert dict(state) == kept.manifest["timeline"]
    rows = await kept.connection.fetch("SELECT leaf, leaf_hash FROM audit.entry ORDER BY seq")
    assert len(rows) == state["size"]
    assert all(row["leaf_hash"] == hashlib.sha256(b"\x00" + row["leaf"]).digest() for row in rows)


async def test_every_event_that_was_written_is_verified_and_read(kept: Kept) -> None:
    readings = [read(record, kept.keyring) for record in backup_log.read_file(kept.folder / LOG_FILE)]
    assert len(readings) >= 8
    for reading in readings:
        assert isinstance(reading, Event)
        entry = find(reading.envelope.type)
        assert entry is not None
        assert entry.model.read(reading.value).write() == reading.value


async def test_the_services_may_still_do_what_they_could(kept: Kept, postgres: str) -> None:
    name = await kept.connection.fetchval("SELECT current_database()")
    rest = with_database(postgres, name).rpartition("@")[2]
    for service in SERVICES:
        own = await asyncpg.connect(f"postgresql://{service}:{PASSWORDS[service]}@{rest}")
        try:
            await own.execute(f"INSERT INTO {service}.position VALUES ('t', 0, 0)")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await own.execute(f"CREATE TABLE {service}.new (id text)")
        finally:
            await own.close()
