"""Each service's role has what it needs in its own schema and nothing anywhere else."""

import asyncpg
import pytest

from lostphone import database
from lostphone.installation import SERVICES
from tests.stack.installed import PASSWORDS, Installed

OTHERS = [(service, other) for service in SERVICES for other in SERVICES if service != other]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_works_in_its_own_schema(installation: Installed, service: str) -> None:
    connection = await asyncpg.connect(installation.dsn(service))
    try:
        await connection.execute(f"INSERT INTO {service}.position VALUES ('t', 0, 1)")
        await connection.execute(f"UPDATE {service}.position SET next_offset = 2")
        assert await connection.fetchval(f"SELECT next_offset FROM {service}.position") == 2
        await connection.execute(f"DELETE FROM {service}.position")
    finally:
        await connection.close()


@pytest.mark.parametrize(("service", "other"), OTHERS)
async def test_no_service_reads_the_tables_of_another(installation: Installed, service: str, other: str) -> None:
    connection = await asyncpg.connect(installation.dsn(service))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(f"SELECT * FROM {other}.outbox")
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE {service}.extra (a int)",
        "CREATE TABLE public.extra (a int)",
        "CREATE TEMP TABLE extra (a int)",
        "CREATE SCHEMA extra",
        "ALTER TABLE {service}.outbox ADD COLUMN extra int",
        "DROP TABLE {service}.outbox",
        "TRUNCATE {service}.outbox",
        "SET ROLE {service}_owner",
        "SELECT * FROM vault.box",
        "SELECT * FROM vault.person_key",
        "UPDATE {service}.migration SET sha256 = '' RETURNING (SELECT 1 FROM vault.class_grant)",
        "CREATE ROLE extra",
        "COPY {service}.outbox TO PROGRAM 'cat'",
    ],
)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_changes_no_structure_and_becomes_nobody_else(
    installation: Installed, service: str, statement: str
) -> None:
    connection = await asyncpg.connect(installation.dsn(service))
    try:
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
            "SELECT rolname, rolcanlogin, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls AS powers "
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


async def test_preparing_and_migrating_again_changes_nothing(installation: Installed) -> None:
    name = installation.superuser_dsn.rpartition("/")[2]
    await database.prepare(installation.superuser_dsn, name, PASSWORDS)
    assert await database.migrate_all(installation.superuser_dsn, SERVICES) == []
