"""Each service's role has what it needs in its own schema and nothing anywhere else."""

import asyncpg
import pytest

from lostphone import database
from lostphone.installation import SERVICES
from tests.stack.installed import PASSWORDS, Installed


@pytest.fixture
async def rights(installation: Installed, postgres: str) -> Installed:
    """The installation with the rights on its database itself, which a copy of a database does not take along."""
    await database.prepare(postgres, installation.superuser_dsn.rpartition("/")[2], PASSWORDS)
    return installation


async def test_a_service_works_in_its_own_schema_and_reads_no_other(rights: Installed) -> None:
    for service in SERVICES:
        connection = await asyncpg.connect(rights.dsn(service), server_settings={"search_path": service})
        try:
            await connection.execute(
                "INSERT INTO outbox (event_id, topic, key, headers, value) VALUES ('e', 't', 'k', '{}', '')"
            )
            await connection.execute("UPDATE outbox SET key = 'j'")
            assert await connection.fetchval("SELECT key FROM outbox") == "j"
            await connection.execute("DELETE FROM outbox")
            for other in {*SERVICES} - {service}:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetch(f"TABLE {other}.outbox")
        finally:
            await connection.close()


FORBIDDEN = [
    "CREATE TABLE {service}.extra (a int)",
    "CREATE TABLE public.extra (a int)",
    "CREATE TEMP TABLE extra (a int)",
    "CREATE SCHEMA extra",
    "ALTER TABLE {service}.outbox ADD COLUMN extra int",
    "DROP TABLE {service}.outbox",
    "TRUNCATE {service}.outbox",
    "SET ROLE {service}_owner",
    "TABLE vault.box",
    "TABLE vault.person_key",
    "CREATE ROLE extra",
    "COPY {service}.outbox TO PROGRAM 'cat'",
]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_changes_no_structure_and_becomes_nobody_else(rights: Installed, service: str) -> None:
    connection = await asyncpg.connect(rights.dsn(service))
    try:
        for statement in FORBIDDEN:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement.format(service=service))
    finally:
        await connection.close()


async def test_audit_reads_no_personal_value(installation: Installed) -> None:
    connection = await asyncpg.connect(installation.dsn("audit"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM vault.open('acme-kk', ARRAY['x'], 'service/audit', 'curious')")
    finally:
        await connection.close()


async def test_owners_cannot_log_in_and_services_have_no_powers_over_the_server(installation: Installed) -> None:
    connection = await asyncpg.connect(installation.superuser_dsn)
    try:
        roles = await connection.fetch(
            "SELECT rolname, rolcanlogin, "
            "rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls AS powers "
            "FROM pg_roles WHERE rolname = ANY ($1)",
            [*SERVICES, "vault_owner", *(f"{service}_owner" for service in SERVICES)],
        )
        members = await connection.fetchval(
            "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = ANY ($1)",
            list(SERVICES),
        )
    finally:
        await connection.close()
    assert {role["rolname"] for role in roles if role["rolcanlogin"]} == set(SERVICES)
    assert not any(role["powers"] for role in roles)
    assert members == 0


async def test_preparing_and_migrating_again_changes_nothing(installation: Installed, postgres: str) -> None:
    name = installation.superuser_dsn.rpartition("/")[2]
    await database.prepare(postgres, name, PASSWORDS)
    assert await database.migrate_all(installation.superuser_dsn, SERVICES) == []


async def test_a_database_of_another_installation_is_left_alone(installation: Installed) -> None:
    name = installation.superuser_dsn.rpartition("/")[2]
    await database.claim(installation.superuser_dsn, name, "lostphone.example/log+1+key")
    await database.claim(installation.superuser_dsn, name, "lostphone.example/log+1+key")
    with pytest.raises(database.ForeignDatabaseError, match=r"belongs to the installation of the log .*\+1\+key"):
        await database.claim(installation.superuser_dsn, name, "lostphone.example/log+2+key")
