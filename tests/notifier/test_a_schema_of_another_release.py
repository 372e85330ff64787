"""A notifier that is started before its schema is migrated waits, and takes no record for poison; one of the release
before goes on while the schema is migrated under it."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from services.notifier import disclosures, ledger, store
from shared.messaging.outage import is_outage
from tests.notifier.cases import INCIDENT
from tests.stack.installed import copy_of

type Read = Callable[[asyncpg.Connection], Awaitable[Any]]

_NAME = "0192f0c1-0000-7000-8000-000000000001"
_READ: dict[str, tuple[str, Read]] = {
    "duty": ("ended_on", lambda connection: store.duties(connection, INCIDENT)),
    "alert": ("attempt", lambda connection: store.alert(connection, _NAME)),
    "disclosure": ("retract_reason", lambda connection: disclosures.load(connection, _NAME)),
    "edition": ("desk_sha256", lambda connection: disclosures.load(connection, _NAME)),
    "approval": ("role", lambda connection: disclosures.load(connection, _NAME)),
    "batch": ("ordered_by", lambda connection: ledger.batch(connection, _NAME)),
}
"""A column that may come with a release, and what reads it."""
_A_DISCLOSURE = f"""
INSERT INTO incident (incident, organisation, drill, facts) VALUES ('{INCIDENT}', 'acme', false, '{{}}');
INSERT INTO disclosure (disclosure, incident, organisation, drill) VALUES ('{_NAME}', '{INCIDENT}', 'acme', false);
"""


@pytest.mark.parametrize("table", _READ)
async def test_rows_of_a_schema_without_a_column_are_waited_for(postgres: str, template: str, table: str) -> None:
    column, read = _READ[table]
    async with copy_of(template, postgres) as dsn:
        connection = await _notifier(dsn)
        try:
            await connection.execute(f"ALTER TABLE {table} DROP COLUMN {column} CASCADE")
            with pytest.raises(asyncpg.UndefinedColumnError) as refused:
                await read(connection)
        finally:
            await connection.close()
    assert is_outage(refused.value)


@pytest.mark.parametrize("table", _READ)
async def test_rows_are_read_on_while_a_release_adds_a_column(postgres: str, template: str, table: str) -> None:
    _, read = _READ[table]
    async with copy_of(template, postgres) as dsn:
        connection, migrating = await _notifier(dsn), await _notifier(dsn)
        try:
            await read(connection)
            await migrating.execute(f"ALTER TABLE {table} ADD COLUMN of_a_later_release text")
            async with connection.transaction():
                await read(connection)
        finally:
            await connection.close()
            await migrating.close()


async def _notifier(dsn: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(dsn)
    await connection.execute("SET search_path TO notifier")
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM disclosure)"):
        await connection.execute(_A_DISCLOSURE)
    return connection
