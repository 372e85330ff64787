"""An installation for one test: a database of its own, keys on disk, and the run's broker with all topics."""

import secrets
import string
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from lostphone import database
from lostphone.installation import SERVICES, Installation
from shared.events import KeyRing

# Roles belong to the whole server, so that all tests, and all runs on one server, share them and this password.
PASSWORDS = dict.fromkeys(SERVICES, "lostphone-test")


@dataclass(frozen=True)
class Installed:
    """What a service, or a test in its place, needs to run. `files` holds keys and passwords as `up` makes them."""

    bootstrap: str
    superuser_dsn: str
    files: Installation

    def dsn(self, role: str) -> str:
        """The database as this role sees it, such as `reporter`."""
        scheme, _, rest = self.superuser_dsn.partition("://")
        return f"{scheme}://{role}:{PASSWORDS.get(role, '')}@{rest.rpartition('@')[2]}"

    @property
    def keyring(self) -> KeyRing:
        return KeyRing(self.files.event_keys_file)

    def new_organisation(self) -> str:
        """A name that no other test uses: the topics are shared by the whole run."""
        return f"org{secrets.token_hex(6)}"


async def make_template(superuser_dsn: str) -> str:
    """A database with every role, schema and table; its name. Made once for a run, and copied for each test."""
    name = f"lostphone_template_{_letters(12)}"
    await database.prepare(superuser_dsn, name, PASSWORDS)
    await database.migrate_all(with_database(superuser_dsn, name), SERVICES)
    return name


@asynccontextmanager
async def copy_of(template: str, superuser_dsn: str) -> AsyncIterator[str]:
    """A database like the template; its superuser's DSN. It is dropped at the end."""
    name = f"lostphone_test_{_letters(16)}"
    server = await asyncpg.connect(superuser_dsn)
    try:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield with_database(superuser_dsn, name)
    finally:
        await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await server.close()


async def drop_database(name: str, superuser_dsn: str) -> None:
    server = await asyncpg.connect(superuser_dsn)
    try:
        await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await server.close()


def with_database(dsn: str, name: str) -> str:
    return f"{dsn.rpartition('/')[0]}/{name}"


def _letters(count: int) -> str:
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(count))
