"""The database of an installation: one schema and two roles per service, with no more rights than each needs.

    <service>         logs in; USAGE on its schema, reads and writes rows there, and nothing else
    <service>_owner   cannot log in; owns the schema and everything in it, and runs the migrations

The schema `vault` belongs to `vault_owner`; its own migrations say which service may do what there.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import asyncpg

import shared
from shared.postgres import migrate

_PLAIN = re.compile(r"^[a-z_]{1,40}$")
_ROOT = Path(shared.__file__).parent.parent
DATABASE = "lostphone"
VAULT = "vault"
NANOMDM = "nanomdm"

_HBA_RULES = """\
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
"""

# What an adapter reads there, and the one thing it may change: whether a queued command is still handed out.
_NANOMDM_READER = """
GRANT USAGE ON SCHEMA public TO {reader};
GRANT SELECT ON view_queue, enrollments, devices, enrollment_queue, command_results TO {reader};
GRANT UPDATE (active) ON enrollment_queue TO {reader};
"""

# Else whoever signs in could fill the disk with objects that lie in no schema.
_NO_LARGE_OBJECTS = """
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC
"""


class ForeignDatabaseError(Exception):
    """The database belongs to another installation; nothing was changed."""


async def claim(superuser_dsn: str, database: str, owner: str) -> None:
    """Make the database and note whose it is; `owner` is the verifier key of the installation's log. Raises
    `ForeignDatabaseError` when another installation made it: its keys sign and open what is in there."""
    server = await asyncpg.connect(superuser_dsn, timeout=10)
    try:
        await _create_database(server, database)
        said = await server.fetchval(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1", database
        )
        if said and said != owner:
            raise ForeignDatabaseError(
                f"the database {database} on that server belongs to the installation of the log {said}: use its data "
                f"directory, another server, or drop the databases {database} and {NANOMDM} there"
            )
        literal = await server.fetchval("SELECT quote_literal($1)", owner)
        await server.execute(f"COMMENT ON DATABASE {_plain(database)} IS {literal}")
    finally:
        await server.close()


async def prepare(superuser_dsn: str, database: str, passwords: Mapping[str, str]) -> None:
    """Make the database, and roles and schemas for the services named in `passwords`. Doing it again only sets the
    passwords and what is missing. `superuser_dsn` names another database of the same server."""
    server = await asyncpg.connect(superuser_dsn, timeout=10)
    try:
        # Roles belong to the whole server: two installations that are made at once on one server wait here.
        await server.execute("SELECT pg_advisory_lock(hashtext('lostphone-roles'))")
        for service, password in passwords.items():
            await _role(server, service, password)
            await _role(server, f"{service}_owner", None)
        await _role(server, f"{VAULT}_owner", None)
        await _create_database(server, database)
    finally:
        await server.close()
    inside = await asyncpg.connect(superuser_dsn, database=database, timeout=10)
    try:
        async with inside.transaction():
            await inside.execute(f"REVOKE ALL ON DATABASE {_plain(database)} FROM PUBLIC")
            await inside.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            await inside.execute(_NO_LARGE_OBJECTS)
            await _schema(inside, VAULT)
            for service in passwords:
                await make_schema(inside, service)
    finally:
        await inside.close()


async def make_schema(inside: asyncpg.Connection, service: str) -> None:
    """A service's schema, unless it is there, with its rights and no more."""
    await _schema(inside, service)
    await _grant(inside, await inside.fetchval("SELECT current_database()"), service)


async def migrate_all(dsn: str, services: Mapping[str, str] | tuple[str, ...]) -> list[str]:
    """Run the migrations of the vault and of every service. Returns the names of what was applied."""
    applied = await migrate(dsn, VAULT, _ROOT / "shared/vault/migrations", owner=f"{VAULT}_owner")
    for service in services:
        folders = (_ROOT / "shared/messaging/migrations", _ROOT / f"services/{service}/migrations")
        # Migrations of a release mean what they do; see services/audit/ddl_guard.sql.
        open_guard = f"{dsn}{'&' if '?' in dsn else '?'}lostphone.guard=open"
        applied += await migrate(open_guard, service, *folders, owner=f"{service}_owner")
    await _keep_from_services(dsn, services)
    if "audit" in services:
        await _guard_timeline(dsn)
    return applied


async def _guard_timeline(dsn: str) -> None:
    """Refuse DDL on the tables of the timeline. Only a superuser may say so; services and owners cannot unsay it."""
    inside = await asyncpg.connect(dsn, timeout=10)
    try:
        async with inside.transaction():
            await inside.execute((_ROOT / "services/audit/ddl_guard.sql").read_text())
    finally:
        await inside.close()


async def _keep_from_services(dsn: str, services: Iterable[str]) -> None:
    """Which migrations were applied is for a service to read, not to say."""
    inside = await asyncpg.connect(dsn, timeout=10)
    try:
        for service in services:
            name = _plain(service)
            await inside.execute(f"REVOKE INSERT, UPDATE, DELETE ON {name}.migration FROM {name}")
    finally:
        await inside.close()


async def prepare_nanomdm(superuser_dsn: str, password: str, tables: str, reader: str) -> None:
    """Make the MDM server's own role and database with its tables (SQL), and let `reader` see the queue and end a
    command. Doing it again only sets the password."""
    server = await asyncpg.connect(superuser_dsn, timeout=10)
    try:
        await _role(server, NANOMDM, password)
        await _create_database(server, NANOMDM, f"OWNER {NANOMDM}")
    finally:
        await server.close()
    inside = await asyncpg.connect(superuser_dsn, database=NANOMDM, timeout=10)
    try:
        async with inside.transaction():
            await inside.execute(f"REVOKE ALL ON DATABASE {NANOMDM} FROM PUBLIC")
            await inside.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            await inside.execute(_NO_LARGE_OBJECTS)
            await inside.execute(f"ALTER SCHEMA public OWNER TO {NANOMDM}")
            await inside.execute(f"SET LOCAL ROLE {NANOMDM}")
            if await inside.fetchval("SELECT to_regclass('public.devices') IS NULL"):
                await inside.execute(tables)
            await inside.execute(_NANOMDM_READER.format(reader=_plain(reader)))
            await inside.execute("RESET ROLE")
            await inside.execute(f"GRANT CONNECT ON DATABASE {NANOMDM} TO {reader}")
    finally:
        await inside.close()


async def require_passwords(superuser_dsn: str, password: str) -> None:
    """Let nobody in without a password, on a server that was made for this installation. `superuser_dsn` holds
    the same password, so that it works before and after."""
    server = await asyncpg.connect(superuser_dsn, timeout=10)
    try:
        literal = await server.fetchval("SELECT quote_literal($1)", password)
        await server.execute(f"ALTER ROLE CURRENT_USER PASSWORD {literal}")
        # Here no other program of the machine has a database, and a service needs its own only.
        await server.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
        if _replace_rules(Path(await server.fetchval("SHOW hba_file"))):
            await server.execute("SELECT pg_reload_conf()")
    finally:
        await server.close()


def _replace_rules(file: Path) -> bool:
    """Whether the file had to change. It is written in place: it belongs to the server's account."""
    if file.read_text() == _HBA_RULES:
        return False
    file.write_text(_HBA_RULES)
    return True


def _plain(name: str) -> str:
    if not _PLAIN.match(name):
        raise ValueError(f"{name!r} is not a plain name")
    return name


async def _create_database(server: asyncpg.Connection, name: str, owned: str = "") -> None:
    """Unless it is there."""
    if not await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
        await server.execute(f"CREATE DATABASE {_plain(name)} {owned} TEMPLATE template0 ENCODING 'UTF8'")


async def _role(server: asyncpg.Connection, name: str, password: str | None) -> None:
    if not await server.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name):
        await server.execute(f"CREATE ROLE {_plain(name)} NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOLOGIN")
    if password is not None:
        # A utility statement takes no parameters; the server quotes the literal.
        literal = await server.fetchval("SELECT quote_literal($1)", password)
        await server.execute(f"ALTER ROLE {_plain(name)} LOGIN PASSWORD {literal}")


async def _schema(inside: asyncpg.Connection, name: str) -> None:
    owner = f"{_plain(name)}_owner"
    await inside.execute(f"CREATE SCHEMA IF NOT EXISTS {name} AUTHORIZATION {owner}")
    # PostgreSQL lets everyone call a new function, until its owner says otherwise.
    await inside.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")


async def _grant(inside: asyncpg.Connection, database: str, service: str) -> None:
    by_default = f"ALTER DEFAULT PRIVILEGES FOR ROLE {service}_owner IN SCHEMA {service} GRANT"
    await inside.execute(f"GRANT CONNECT ON DATABASE {database} TO {service}")
    await inside.execute(f"GRANT USAGE ON SCHEMA {service} TO {service}")
    await inside.execute(f"{by_default} SELECT, INSERT, UPDATE, DELETE ON TABLES TO {service}")
    await inside.execute(f"{by_default} USAGE ON SEQUENCES TO {service}")
    await inside.execute(f"{by_default} EXECUTE ON FUNCTIONS TO {service}")
