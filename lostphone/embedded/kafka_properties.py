"""The broker's properties: one combined broker and controller, open on loopback or with SASL_SSL, SCRAM and ACLs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lostphone.embedded.ports import LOOPBACK

SCRAM = "SCRAM-SHA-512"


@dataclass(frozen=True)
class Plaintext:
    """No encryption and no names: for loopback only."""

    listener = "PLAINTEXT"
    session_timeout_ms = 6000
    """Half of what Kafka would take: a heartbeat of a busy machine may be seconds late."""

    def lines(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class SaslSsl:
    """Clients sign in by SCRAM over TLS; nobody but the super users may do what no ACL grants.

    `keystore` is a PEM file of PKCS#8 key, certificate and CA, for localhost and 127.0.0.1, with both usages;
    `truststore` is the CA. `users` are name → password, made when the data folder is made, with `broker` among them.
    """

    keystore: Path
    truststore: Path
    users: Mapping[str, str]
    super_users: tuple[str, ...] = ("broker", "admin")

    listener = "CLIENT"
    session_timeout_ms = 9000
    """A broker also gives up registering after this time, which on a busy machine its first handshakes can take."""

    def lines(self) -> dict[str, str]:
        return {
            "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:SSL",
            "sasl.enabled.mechanisms": SCRAM,
            "sasl.mechanism.inter.broker.protocol": SCRAM,
            **scram_login(self.users["broker"]),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.truststore),
            "listener.name.controller.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": ";".join(f"User:{name}" for name in self.super_users),
        }


def scram_login(password: str) -> dict[str, str]:
    """How the broker signs in to itself: the one property that holds a secret."""
    module = "org.apache.kafka.common.security.scram.ScramLoginModule"
    return {
        f"listener.name.client.{SCRAM.lower()}.sasl.jaas.config": (
            f'{module} required username="broker" password="{password}";'
        )
    }


type Security = Plaintext | SaslSsl


def broker_properties(data: Path, port: int, controller_port: int, security: Security) -> dict[str, str]:
    """What one broker on loopback needs; the ports are not in the data, so a data folder may move to other ports."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listeners": f"{security.listener}://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"{security.listener}://{LOOPBACK}:{port}",
        "inter.broker.listener.name": security.listener,
        "log.dirs": str(data),
        "num.partitions": "1",
        "default.replication.factor": "1",
        "auto.create.topics.enable": "false",
        # The defaults, 50 partitions and 3 replicas, cannot come up on one broker.
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # By default every first join waits 3 seconds for others.
        "group.initial.rebalance.delay.ms": "0",
        # After SIGKILL the next start waits until the old registration ends: 12 seconds by default, 7 with 6000.
        "broker.session.timeout.ms": str(security.session_timeout_ms),
        "broker.heartbeat.interval.ms": "500",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": "4194304",
        **security.lines(),
    }


def as_text(properties: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in properties.items())
