"""The one-shot job of docker-compose.yml: topics and ACLs as in `contracts/`, database roles, schemas and migrations.

Doing it again changes nothing. Settings come from the environment, as deploy/make_secrets.py writes them.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

import yaml
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from lostphone import database, topics
from lostphone.installation import SERVICES

ACLS = Path(__file__).parents[1] / "contracts" / "acls.yaml"
# librdkafka calls the cluster as a whole a broker.
RESOURCES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER}
_EVERY_ACL = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)
REPLICAS = int(os.environ.get("LOSTPHONE_REPLICAS", "1"))


def bindings(text: str) -> list[AclBinding]:
    """What contracts/acls.yaml grants, each once: reading and writing a topic both bring `describe`."""
    granted = [
        AclBinding(
            RESOURCES[entry["resource"]],
            entry["name"],
            ResourcePatternType[entry["pattern"].upper()],
            entry["principal"],
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )
        for entry in yaml.safe_load(text)["acls"]
        for operation in entry["operations"]
    ]
    return list(dict.fromkeys(granted))


def prepare_kafka(client: Mapping[str, str]) -> None:
    topics.apply(client, topics.manifest(), replicas=REPLICAS)
    admin = AdminClient(dict(client))
    granted = bindings(ACLS.read_text())
    for answer in admin.create_acls(granted).values():
        answer.result(timeout=30)
    # The controller has them; a broker refuses until it has heard of them, and a producer takes that as final.
    deadline = time.monotonic() + 60
    while missing := set(granted) - set(admin.describe_acls(_EVERY_ACL).result(timeout=30)):
        if time.monotonic() > deadline:
            raise SystemExit(f"{len(missing)} of {len(granted)} ACLs are not in force after a minute: try again.")
        time.sleep(0.1)


async def prepare_postgres(superuser_dsn: str, passwords: Mapping[str, str]) -> None:
    await database.prepare(superuser_dsn, database.DATABASE, passwords)
    await database.migrate_all(f"{superuser_dsn.rpartition('/')[0]}/{database.DATABASE}", SERVICES)


def main() -> None:
    prepare_kafka({
        "bootstrap.servers": os.environ["LOSTPHONE_KAFKA_BOOTSTRAP"],
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": os.environ["LOSTPHONE_KAFKA_CA_FILE"],
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": os.environ["LOSTPHONE_KAFKA_USERNAME"],
        "sasl.password": os.environ["LOSTPHONE_KAFKA_PASSWORD"],
    })  # fmt: skip
    passwords = {service: os.environ[f"LOSTPHONE_PASSWORD_{service.upper()}"] for service in SERVICES}
    asyncio.run(prepare_postgres(os.environ["LOSTPHONE_POSTGRES_DSN"], passwords))


if __name__ == "__main__":
    main()
