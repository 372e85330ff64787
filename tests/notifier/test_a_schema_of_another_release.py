"""A notifier that is started before its schema is migrated waits, and takes no record for poison."""

import asyncpg
import pytest

from services.notifier import store
from shared.messaging.outage import is_outage
from tests.notifier.cases import INCIDENT
from tests.stack.installed import copy_of


async def test_duties_of_a_schema_without_a_column_are_waited_for(postgres: str, template: str) -> None:
    async with copy_of(template, postgres) as dsn:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("SET search_path TO notifier")
            await connection.execute("ALTER TABLE duty DROP COLUMN ended_on")
            with pytest.raises(asyncpg.UndefinedColumnError) as refused:
                await store.duties(connection, INCIDENT)
        finally:
            await connection.close()
    assert is_outage(refused.value)
