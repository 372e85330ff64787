"""Broker and database that somebody else runs, as the environment names them to `up`, `demo` and `ops restore`.

    LOSTPHONE_KAFKA_BOOTSTRAP   host:port of the broker
    LOSTPHONE_KAFKA_SECURITY    SASL_SSL, when one signs in there by SCRAM-SHA-512; then also
    LOSTPHONE_KAFKA_USERNAME, LOSTPHONE_KAFKA_PASSWORD, LOSTPHONE_KAFKA_CA_FILE
                                of a user who may make topics, users and ACLs
    LOSTPHONE_POSTGRES_DSN      postgresql://user:password@host:port/postgres, of a superuser

The installation makes topics, roles and databases there, and uses them. It never starts or ends either.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import asyncpg

from lostphone.embedded import EmbeddedError
from lostphone.embedded.kafka import has_brokers
from lostphone.embedded.postgres import SUPERUSER
from lostphone.kafka_access import SASL_SSL, Guard, connection_from_environment
from lostphone.screen import why
from lostphone.sources import VARIABLES, Part, Source, choose

_ATTEMPTS = 5


@dataclass(frozen=True)
class NamedKafka:
    """A broker at an address in the environment; `guard` is None when it lets in everybody who reaches it."""

    bootstrap: str
    guard: Guard | None = None

    def __str__(self) -> str:
        return f"Kafka {self.bootstrap}"

    def require(self) -> None:
        """Raises `EmbeddedError` when no broker answers there."""
        client = self.guard.client() if self.guard else {}
        if not any(has_brokers(self.bootstrap, client) for _ in range(_ATTEMPTS)):
            raise EmbeddedError(f"no Kafka answers at {self.bootstrap}, which {VARIABLES['kafka', False]} names")


@dataclass(frozen=True)
class NamedPostgres:
    """A database server at an address in the environment."""

    address: str = field(repr=False)

    def __str__(self) -> str:
        return f"PostgreSQL {self._host}"

    @property
    def _host(self) -> str:
        return urlsplit(self.address).netloc.rpartition("@")[2]

    def require(self) -> None:
        """Raises `EmbeddedError` when no server lets us in there."""
        try:
            asyncio.run(_connect(self.address))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise EmbeddedError(
                f"no PostgreSQL lets us in at {self._host}, which {VARIABLES['postgres', False]} names: {why(error)}"
            ) from error

    def superuser_dsn(self, database: str) -> str:
        return urlsplit(self.address)._replace(path=f"/{database}").geturl()

    def dsn(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """For any user, without the password."""
        return urlsplit(self.address)._replace(netloc=f"{user}@{self._host}", path=f"/{database}").geturl()


@dataclass(frozen=True)
class Named:
    """What the environment names; None stands for one of the installation's own."""

    kafka: NamedKafka | None = None
    postgres: NamedPostgres | None = None

    @classmethod
    def by(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """By the rule of `lostphone.sources`."""
        _, bootstrap = choose("kafka", for_tests=False, environment=environment)
        _, address = choose("postgres", for_tests=False, environment=environment)
        kafka = NamedKafka(bootstrap, _guard(environment)) if bootstrap else None
        return cls(kafka, NamedPostgres(address) if address else None)

    @property
    def sources(self) -> dict[Part, Source]:
        """Who runs each of the two."""
        parts: dict[Part, object] = {"kafka": self.kafka, "postgres": self.postgres}
        return {name: Source.EMBEDDED if part is None else Source.ENVIRONMENT for name, part in parts.items()}


def _guard(environment: Mapping[str, str]) -> Guard | None:
    told = connection_from_environment(None, environment)
    if told.get("security.protocol") != SASL_SSL:
        return None
    return Guard(Path(told["ssl.ca.location"]), told["sasl.username"], told["sasl.password"])


async def _connect(dsn: str) -> None:
    await (await asyncpg.connect(dsn, timeout=10)).close()
