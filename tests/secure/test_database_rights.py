"""Every role at every table, function and structure of the database: what it may do works, all else is refused."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from lostphone import database
from lostphone.installation import SERVICES
from shared.vault import DataClass, People, Vault, VaultDeniedError
from tests.stack.installed import PASSWORDS, Installed

SCHEMAS = [*SERVICES, database.VAULT]
ROWS = {"select", "insert", "update", "delete"}
ONLY_ADDED = {"select", "insert"}
FEWER = {
    **{("audit", table): ONLY_ADDED for table in ("entry", "tile", "detached", "checkpoint", "timestamp_response")},
    **{("audit", table): {"select", "update"} for table in ("log_state", "followed")},
    **{(service, "migration"): {"select"} for service in SERVICES},
}
DOORS = {"put", "open", "destroy"}
# p: may put, o: may open, d: may destroy.
CLASSES = {
    "reporter": {"contact": "pod", "position": "pod", "narrative": "pod", "principal": "pd", "secret": "pod"},
    "mdm_actions": {"contact": "po", "position": "po", "narrative": "p", "secret": "po"},
    "notifier": {"contact": "po", "narrative": "po", "principal": "po"},
    "audit": {},
}


@pytest.fixture
async def rights(installation: Installed, postgres: str) -> Installed:
    """The installation with the rights on its database itself, which a copy of a database does not take along."""
    await database.prepare(postgres, installation.superuser_dsn.rpartition("/")[2], PASSWORDS)
    return installation


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def ask(installed: Installed, query: str, *values: object) -> list[Any]:
    async with connected(installed.superuser_dsn) as server:
        return list(await server.fetch(query, *values))


_NOT_ABOUT_RIGHTS = (asyncpg.IntegrityConstraintViolationError, asyncpg.RaiseError)


async def may(connection: asyncpg.Connection, statement: str) -> bool:
    """Whether the server lets this happen, or would have, but for something that is not about rights."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return False
    except _NOT_ABOUT_RIGHTS:
        return True
    finally:
        await transaction.rollback()
    return True


TABLES = """
SELECT n.nspname AS schema, c.relname AS name, (
    SELECT quote_ident(a.attname) FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.attidentity = '' AND NOT a.attisdropped LIMIT 1) AS column
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'p', 'v', 'm') ORDER BY 1, 2
"""


def tried(table: Any) -> dict[str, str]:
    name = f"{table['schema']}.{table['name']}"
    return {
        "select": f"SELECT FROM {name} LIMIT 0",
        "insert": f"INSERT INTO {name} DEFAULT VALUES",
        "update": f"UPDATE {name} SET {table['column']} = NULL WHERE false",
        "delete": f"DELETE FROM {name} WHERE false",
        "truncate": f"TRUNCATE {name} CASCADE",
        "alter": f"ALTER TABLE {name} ADD COLUMN extra int",
        "trigger": f"ALTER TABLE {name} DISABLE TRIGGER ALL",
        "own": f"ALTER TABLE {name} OWNER TO CURRENT_USER",
        "index": f"CREATE INDEX ON {name} ({table['column']})",
        "drop": f"DROP TABLE {name} CASCADE",
    }


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_reads_and_writes_rows_of_its_own_tables_and_nothing_else(
    rights: Installed, service: str
) -> None:
    tables = await ask(rights, TABLES, SCHEMAS)
    assert {table["schema"] for table in tables} == set(SCHEMAS)
    wrong = []
    async with connected(rights.dsn(service)) as connection:
        for table in tables:
            place = (table["schema"], table["name"])
            allowed = FEWER.get(place, ROWS) if table["schema"] == service else set()
            for act, statement in tried(table).items():
                if await may(connection, statement) != (act in allowed):
                    wrong.append((service, act, *place))
    assert wrong == []


FUNCTIONS = """
SELECT n.nspname AS schema, p.proname AS name, p.oid AS oid,
       array_to_string(ARRAY(SELECT 'NULL::' || format_type(t, NULL) FROM unnest(p.proargtypes) AS t), ', ') AS nulls
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY ($1) AND p.prokind = 'f'
"""


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_calls_its_own_functions_and_the_doors_of_the_vault(rights: Installed, service: str) -> None:
    functions = await ask(rights, FUNCTIONS, SCHEMAS)
    assert {function["name"] for function in functions if function["schema"] == database.VAULT} >= DOORS
    async with connected(rights.dsn(service)) as connection:
        for function in functions:
            door = function["schema"] == database.VAULT and function["name"] in DOORS and bool(CLASSES[service])
            allowed = function["schema"] == service or door
            held = await connection.fetchval("SELECT has_function_privilege($1::oid, 'EXECUTE')", function["oid"])
            assert held == allowed, (service, function["schema"], function["name"])
            if not allowed:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"SELECT {function['schema']}.{function['name']}({function['nulls']})")


FORBIDDEN = [
    "CREATE SCHEMA extra",
    "CREATE TABLE public.extra (a int)",
    "CREATE TEMP TABLE extra (a int)",
    *(f"CREATE TABLE {schema}.extra (a int)" for schema in SCHEMAS),
    *(f"CREATE FUNCTION {schema}.extra() RETURNS int LANGUAGE sql AS 'SELECT 1'" for schema in SCHEMAS),
    *(f"DROP SCHEMA {schema} CASCADE" for schema in SCHEMAS),
    "CREATE ROLE extra",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE CURRENT_USER CREATEROLE",
    "CREATE DATABASE extra",
    "CREATE EVENT TRIGGER extra ON ddl_command_start EXECUTE FUNCTION audit.refuse_change()",
    "ALTER SYSTEM SET log_statement = 'all'",
    "SET session_replication_role = replica",
    "SET SESSION AUTHORIZATION lostphone",
    "COPY pg_catalog.pg_class TO '/tmp/extra'",
    "COPY pg_catalog.pg_class TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_creat(-1)",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'kept in no schema')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'lostphone'",
    "SELECT passwd FROM pg_shadow",
    "SELECT rolpassword FROM pg_authid",
    "CREATE PUBLICATION extra FOR ALL TABLES",
    "CHECKPOINT",
]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_changes_no_structure_and_becomes_nobody_else(rights: Installed, service: str) -> None:
    roles = [row["rolname"] for row in await ask(rights, "SELECT rolname FROM pg_roles WHERE rolname <> $1", service)]
    others = [role for role in roles if role in SERVICES or role.endswith("_owner") or not role.startswith("pg_")]
    async with connected(rights.dsn(service)) as connection:
        for statement in [*FORBIDDEN, *(f'SET ROLE "{role}"' for role in others)]:
            if statement.startswith(("CREATE DATABASE", "ALTER SYSTEM")):  # not inside a transaction
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
                continue
            assert not await may(connection, statement), (service, statement)


async def test_owners_cannot_sign_in_and_no_role_has_powers_or_members(rights: Installed) -> None:
    owners = [f"{schema}_owner" for schema in SCHEMAS]
    rows = await ask(
        rights,
        "SELECT rolname, rolcanlogin, rolinherit, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication "
        "OR rolbypassrls AS powers FROM pg_roles WHERE rolname = ANY ($1)",
        [*SERVICES, *owners],
    )
    assert {row["rolname"] for row in rows} == {*SERVICES, *owners}
    assert {row["rolname"] for row in rows if row["rolcanlogin"]} == set(SERVICES)
    assert not any(row["powers"] for row in rows)
    members = "SELECT FROM pg_auth_members WHERE member::regrole::text = ANY ($1) OR roleid::regrole::text = ANY ($1)"
    assert await ask(rights, members, [*SERVICES, *owners]) == []
    for owner in owners:
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(rights.dsn(owner))


async def test_each_schema_and_all_in_it_belongs_to_its_owner(rights: Installed) -> None:
    owned = await ask(
        rights,
        "SELECT nspname AS schema, nspowner::regrole::text AS owner FROM pg_namespace WHERE nspname = ANY ($1) "
        "UNION SELECT n.nspname, c.relowner::regrole::text FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE n.nspname = ANY ($1) "
        "UNION SELECT n.nspname, p.proowner::regrole::text FROM pg_proc p JOIN pg_namespace n "
        "ON n.oid = p.pronamespace WHERE n.nspname = ANY ($1)",
        SCHEMAS,
    )
    assert {(row["schema"], row["owner"]) for row in owned} == {(schema, f"{schema}_owner") for schema in SCHEMAS}


PUBLIC = """
SELECT held.what FROM (
    SELECT 'schema ' || nspname AS what, nspacl AS acl FROM pg_namespace WHERE nspname = ANY ($1 || ARRAY['public'])
    UNION ALL
    SELECT c.oid::regclass::text, c.relacl FROM pg_class c WHERE c.relnamespace::regnamespace::text = ANY ($1)
    UNION ALL
    SELECT p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc p WHERE p.pronamespace::regnamespace::text = ANY ($1)
    UNION ALL
    SELECT 'database', coalesce(datacl, acldefault('d', datdba)) FROM pg_database WHERE datname = current_database()
) AS held, aclexplode(held.acl) AS one
WHERE one.grantee = 0 OR (one.is_grantable AND one.grantee::regrole::text = ANY ($2))
"""


async def test_public_has_nothing_and_no_service_passes_its_rights_on(rights: Installed) -> None:
    assert await ask(rights, PUBLIC, SCHEMAS, list(SERVICES)) == []


async def test_a_function_that_works_as_its_owner_looks_names_up_in_its_own_schema_only(rights: Installed) -> None:
    definers = await ask(
        rights,
        "SELECT p.oid::regprocedure::text AS name, n.nspname AS schema, p.proconfig AS settings FROM pg_proc p "
        "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY ($1) AND p.prosecdef",
        SCHEMAS,
    )
    assert {definer["schema"] for definer in definers} == {database.VAULT}
    for definer in definers:
        assert definer["settings"] == ["search_path=vault, pg_temp"], definer["name"]


async def test_each_class_of_personal_data_opens_to_whom_the_table_says(rights: Installed) -> None:
    vault, people = Vault.from_file(rights.files.vault_key_file), People.from_file(rights.files.vault_key_file)
    organisation, person = rights.new_organisation(), people.new_ref()
    digests = {}
    async with connected(rights.dsn("reporter")) as reporter:
        for data_class in DataClass:
            digests[data_class] = await vault.put(
                reporter, organisation=organisation, person=person, data_class=data_class, name="it", value="secret"
            )
    for service in SERVICES:
        async with connected(rights.dsn(service)) as connection:
            for data_class, digest in digests.items():
                may_do = CLASSES[service].get(data_class, "")
                with expected("p" in may_do):
                    await vault.put(
                        connection, organisation=organisation, person=person, data_class=data_class, name="x", value="y"
                    )
                with expected("o" in may_do):
                    opened = await vault.open(
                        connection, digest, organisation=organisation, actor=f"service/{service}", reason="a test"
                    )
                    assert opened == "secret"
            if service != "reporter":
                with expected(False):
                    await vault.destroy(
                        connection, organisation=organisation, person=person, actor="service/x", reason="a test"
                    )
    async with connected(rights.dsn("reporter")) as reporter:
        assert await vault.destroy(
            reporter, organisation=organisation, person=person, actor="service/reporter", reason="a test"
        )


def expected(allowed: bool) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext() if allowed else pytest.raises(VaultDeniedError)
