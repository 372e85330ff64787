"""Numbered plain SQL files, each applied once, in its own transaction, and never changed afterwards.

    await migrate(dsn, "reporter", kit_folder, service_folder, owner="reporter_owner")

Files are named `0001_what.sql`. The table `migration` in the schema says which were applied, and their checksums.
"""

import hashlib
import re
from pathlib import Path

import asyncpg

_NAME = re.compile(r"^\d{4}_[a-z0-9_]+\.sql$")
_SCHEMA = re.compile(r"^[a-z_]{1,40}$")


class MigrationError(Exception):
    """A migration cannot be applied; the message names the file and the way out. Nothing of it was kept."""


async def migrate(dsn: str, schema: str, *folders: Path, owner: str | None = None) -> list[str]:
    """Apply what is missing, folder after folder, and return the names of what was applied.

    With `owner`, everything belongs to that role. Two processes that migrate at once wait for each other.
    Raises `MigrationError` when a file that was applied has changed since, or when its SQL fails.
    """
    if not _SCHEMA.match(schema) or (owner is not None and not _SCHEMA.match(owner)):
        raise MigrationError(f"{schema!r} or {owner!r} is not a plain name")
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", f"lostphone-migrate-{schema}")
        if owner is not None:
            await connection.execute(f"SET ROLE {owner}")
        await connection.execute(f"SET search_path TO {schema}")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration (folder text, name text, sha256 text NOT NULL, "
            "applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (folder, name))"
        )
        applied = [name for folder in folders for name in await _apply(connection, folder)]
    finally:
        await connection.close()
    return applied


async def _apply(connection: asyncpg.Connection, folder: Path) -> list[str]:
    label = f"{folder.parent.parent.name}/{folder.parent.name}"
    rows = await connection.fetch("SELECT name, sha256 FROM migration WHERE folder = $1", label)
    known = {row["name"]: row["sha256"] for row in rows}
    applied = []
    for file in sorted(folder.glob("*.sql")):  # noqa: ASYNC240 - a handful of small files, once
        text = file.read_text()
        checksum = hashlib.sha256(text.encode()).hexdigest()
        if not _NAME.match(file.name):
            raise MigrationError(f"{file.name} in {label} is not named like 0001_what.sql")
        if file.name in known:
            if known[file.name] != checksum:
                raise MigrationError(f"{file.name} in {label} changed after it was applied; write a new file instead")
            continue
        await _run(connection, label, file.name, text, checksum)
        applied.append(f"{label}/{file.name}")
    return applied


async def _run(connection: asyncpg.Connection, label: str, name: str, text: str, checksum: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute(text)
            await connection.execute(
                "INSERT INTO migration (folder, name, sha256) VALUES ($1, $2, $3)", label, name, checksum
            )
    except asyncpg.PostgresError as error:
        raise MigrationError(f"{name} in {label} failed: {error}") from error
