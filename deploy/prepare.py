"""The one-shot job of docker-compose.yml: topics and ACLs as in `contracts/`, database roles, schemas and migrations.

Doing it again changes nothing. Settings come from the environment, as deploy/make_secrets.py writes them.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from lostphone import acls, database, topics
from lostphone.installation import INTEGRATORS, SERVICES
from lostphone.kafka_access import connection_from_environment

REPLICAS = int(os.environ.get("LOSTPHONE_REPLICAS", "1"))


def prepare_kafka(client: Mapping[str, Any]) -> None:
    topics.apply(client, topics.manifest(), replicas=REPLICAS)
    acls.apply(client, INTEGRATORS)


async def prepare_postgres(superuser_dsn: str, passwords: Mapping[str, str]) -> None:
    await database.prepare(superuser_dsn, database.DATABASE, passwords)
    await database.migrate_all(f"{superuser_dsn.rpartition('/')[0]}/{database.DATABASE}", SERVICES)


def main() -> None:
    prepare_kafka(connection_from_environment(None))
    passwords = {service: os.environ[f"LOSTPHONE_PASSWORD_{service.upper()}"] for service in SERVICES}
    asyncio.run(prepare_postgres(os.environ["LOSTPHONE_POSTGRES_DSN"], passwords))


if __name__ == "__main__":
    main()
