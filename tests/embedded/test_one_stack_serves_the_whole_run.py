"""The fixtures that other rooms stand on keep their promises."""

import asyncpg
import pytest
from confluent_kafka.admin import AdminClient

from lostphone.topics import manifest
from tests.stack.installed import Installed


def test_every_topic_of_the_registry_is_there(topics: str) -> None:
    present = AdminClient({"bootstrap.servers": topics}).list_topics(timeout=10).topics
    assert {topic.name for topic in manifest()} <= set(present)


async def test_a_service_sees_its_own_tables_and_not_those_of_another(installation: Installed) -> None:
    connection = await asyncpg.connect(installation.dsn("reporter"))
    try:
        assert await connection.fetchval("SELECT count(*) FROM reporter.outbox") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval("SELECT count(*) FROM audit.outbox")
    finally:
        await connection.close()


async def test_what_one_test_writes_the_next_does_not_find(installation: Installed) -> None:
    for _ in range(2):
        connection = await asyncpg.connect(installation.superuser_dsn)
        await connection.execute("CREATE TABLE left_behind ()")
        await connection.execute("DROP TABLE left_behind")
        await connection.close()
    assert installation.new_organisation() != installation.new_organisation()


async def test_the_public_keys_on_disk_belong_to_the_four_services(installation: Installed) -> None:
    keys = installation.files.event_keys()
    assert {key.service for key in keys.values()} == {"reporter", "mdm_actions", "notifier", "audit"}
