"""Broker and database as containers, through testcontainers: for tests on a machine whose Docker engine answers.

The same images as in docker-compose.yml, open on loopback, with the embedded broker's own properties.
"""

import time
from collections.abc import Callable
from pathlib import Path

import docker
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from lostphone.embedded.errors import EmbeddedError
from lostphone.embedded.kafka import has_brokers
from lostphone.embedded.kafka_properties import Plaintext, broker_properties
from lostphone.embedded.ports import LOOPBACK
from lostphone.embedded.postgres import SUPERUSER, takes_connections
from tests.stack.service import free_port

KAFKA_IMAGE = "apache/kafka:4.3.1"
POSTGRES_IMAGE = "postgres:18"
START_SECONDS = 180
KAFKA_PORT = 9092
CONTROLLER_PORT = 9093
POSTGRES_PORT = 5432


def kafka_variables(host: str, port: int) -> dict[str, str]:
    """For a broker that clients reach at host:port. The image takes each property as a variable, and then no file."""
    properties = broker_properties(Path("/var/lib/kafka/data"), KAFKA_PORT, CONTROLLER_PORT, Plaintext())
    properties["listeners"] = f"PLAINTEXT://0.0.0.0:{KAFKA_PORT},CONTROLLER://127.0.0.1:{CONTROLLER_PORT}"
    properties["advertised.listeners"] = f"PLAINTEXT://{host}:{port}"
    return {variable(name): value for name, value in properties.items()}


def start_kafka() -> tuple[str, str]:
    """Start a broker: its bootstrap address and the container's id, by which `remove` ends it."""
    port = free_port()
    host = _host()
    container = DockerContainer(KAFKA_IMAGE).with_envs(**kafka_variables(host, port))
    container.ports[KAFKA_PORT] = published(host, port)
    _start(container)
    _wait(lambda: has_brokers(f"{host}:{port}"), KAFKA_IMAGE)
    return f"{host}:{port}", container.get_wrapped_container().id


def start_postgres() -> tuple[str, str]:
    """Start a server: its superuser's DSN and the container's id, by which `remove` ends it."""
    port = free_port()
    host = _host()
    # It trusts everybody who reaches its port, as the embedded one does in tests.
    variables = {"POSTGRES_USER": SUPERUSER, "POSTGRES_HOST_AUTH_METHOD": "trust", "POSTGRES_DB": "postgres"}
    container = DockerContainer(POSTGRES_IMAGE).with_envs(**variables)
    container.with_command("postgres -c max_connections=300 -c fsync=off")
    container.ports[POSTGRES_PORT] = published(host, port)
    _start(container)
    _wait(lambda: takes_connections(host, port), POSTGRES_IMAGE)
    return f"postgresql://{SUPERUSER}@{host}:{port}/postgres", container.get_wrapped_container().id


def remove(container_id: str) -> None:
    docker.from_env().containers.get(container_id).remove(force=True, v=True)


def variable(name: str) -> str:
    """How the image spells a property as a variable of the environment."""
    return "KAFKA_" + name.replace("_", "__").replace("-", "___").replace(".", "_").upper()


def _start(container: DockerContainer) -> None:
    # The reaper ends containers with the process that started them, but one test worker may end before the others.
    testcontainers_config.ryuk_disabled = True
    container.start()


def published(host: str, port: int) -> int | tuple[str, int]:
    """Open to this machine only, unless the engine runs on another."""
    return (LOOPBACK, port) if host == LOOPBACK else port


def _host() -> str:
    host = DockerContainer(POSTGRES_IMAGE).get_docker_client().host()
    return LOOPBACK if host == "localhost" else host


def _wait(ready: Callable[[], bool], image: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{image} did not answer within {START_SECONDS} seconds; see `docker logs`.")
        time.sleep(0.1)
