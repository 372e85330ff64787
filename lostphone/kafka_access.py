"""How clients reach Kafka, and as whom: settings as librdkafka names them, and files that hold them.

A guarded installation keeps two files for each principal that is not a service, readable by their owner only:
`<principal>.conf` for librdkafka and what builds on it (kcat -F), `<principal>.properties` for Kafka's own tools
(--command-config).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from lostphone import status
from lostphone.embedded.kafka_properties import SCRAM, as_text
from lostphone.private_file import replace_private
from lostphone.screen import CouldNotError
from shared.events.contracts.acls import OPERATOR
from shared.messaging.kafka import KafkaConnection

SASL_SSL: Final = "SASL_SSL"
_SIGN_IN: Final = ("LOSTPHONE_KAFKA_USERNAME", "LOSTPHONE_KAFKA_PASSWORD", "LOSTPHONE_KAFKA_CA_FILE")


def signed_in(principal: str, password: str, ca_file: Path) -> dict[str, str]:
    """librdkafka's settings for signing in to a guarded broker."""
    return {
        "security.protocol": SASL_SSL,
        "sasl.mechanism": SCRAM,
        "sasl.username": principal,
        "sasl.password": password,
        "ssl.ca.location": str(ca_file),
    }


@dataclass(frozen=True)
class Guard:
    """How one signs in to a guarded broker: its CA, and the user who may do everything there."""

    ca_file: Path
    admin: str
    password: str = field(repr=False)

    def client(self) -> dict[str, str]:
        """librdkafka's settings for signing in as that user."""
        return signed_in(self.admin, self.password, self.ca_file)


def write_client_files(folder: Path, principal: str, password: str, ca_file: Path, *, name: str | None = None) -> Path:
    """Write the principal's two files, under another name if one is given; the path of librdkafka's."""
    conf = folder / f"{name or principal}.conf"
    replace_private(conf, as_text(signed_in(principal, password, ca_file)).encode())
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    properties = {
        "security.protocol": SASL_SSL,
        "sasl.mechanism": SCRAM,
        "sasl.jaas.config": f'{module} required username="{principal}" password="{password}";',
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ca_file),
    }
    replace_private(conf.with_suffix(".properties"), as_text(properties).encode())
    return conf


def running_connection(kafka: status.Kafka, principal: str = OPERATOR) -> dict[str, Any]:
    """How a command on this machine reaches the broker of the running installation. Raises `OSError` when the
    principal's file cannot be read."""
    connection: dict[str, Any] = {"bootstrap.servers": kafka.bootstrap}
    if kafka.security_protocol == SASL_SSL:
        lines = Path(kafka.clients[principal]).read_text().splitlines()
        connection |= dict(line.split("=", 1) for line in lines if line)
    return connection


def connection_from_environment(bootstrap: str | None, told: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The broker at `bootstrap`, else at the address that the services read too, signed in as their variables say.
    Raises `CouldNotError` when they do not say all of it."""
    servers = bootstrap or told.get("LOSTPHONE_KAFKA_BOOTSTRAP")
    connection: dict[str, Any] = {"bootstrap.servers": servers} if servers else {}
    if told.get("LOSTPHONE_KAFKA_SECURITY") == SASL_SSL:
        if missing := [name for name in _SIGN_IN if not told.get(name)]:
            raise CouldNotError(
                f"LOSTPHONE_KAFKA_SECURITY=SASL_SSL には {', '.join(missing)} も必要です。",
                f"LOSTPHONE_KAFKA_SECURITY=SASL_SSL needs {', '.join(missing)}, too.",
            )
        connection |= signed_in(
            told["LOSTPHONE_KAFKA_USERNAME"],
            told["LOSTPHONE_KAFKA_PASSWORD"],
            Path(told["LOSTPHONE_KAFKA_CA_FILE"]),
        )
    return connection


def as_service(connection: Mapping[str, Any]) -> KafkaConnection:
    """The same, for the client that the services have."""
    password = connection.get("sasl.password")
    return KafkaConnection(
        bootstrap=connection["bootstrap.servers"],
        security=connection.get("security.protocol", "PLAINTEXT"),
        username=connection.get("sasl.username"),
        password=None if password is None else SecretStr(password),
        ca_file=connection.get("ssl.ca.location"),
    )
