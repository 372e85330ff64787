"""Apache Kafka as a child process: one broker in KRaft mode, from its own jars."""

import base64
import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from lostphone.embedded import jars
from lostphone.embedded.child import Child, Outcome, let_outlive
from lostphone.embedded.errors import EmbeddedError
from lostphone.embedded.java import Java, find_java
from lostphone.embedded.kafka_properties import SCRAM, Plaintext, SaslSsl, Security, as_text, broker_properties
from lostphone.embedded.place import tools_folder
from lostphone.embedded.ports import LOOPBACK, Claims, answers, kept_port, kept_ports

START_SECONDS = 60
SCRAM_ITERATIONS = 8192

LOG_TO_CONSOLE = """\
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
"""


class EmbeddedKafka:
    """The broker whose topics lie in `folder/data`; stopped or killed, it keeps what was acknowledged."""

    def __init__(self, folder: Path, security: Security | None = None, *, archive: bool = True) -> None:
        """`archive`: after the first clean stop, make a class archive in the background, which halves later starts."""
        self.folder = folder.resolve()
        self.security: Security = security or Plaintext()
        self.child = Child(folder, "kafka")
        self._archive = archive
        self._claims = Claims()

    @property
    def bootstrap(self) -> str:
        """Where clients begin: "127.0.0.1:port". Known as soon as it was started once."""
        return f"{LOOPBACK}:{kept_port(self.folder / 'ports.json', 'client')}"

    @property
    def running(self) -> bool:
        return self.child.pid is not None

    def start(self) -> str:
        """Start it and return its bootstrap address, once the broker is registered and serves clients."""
        self.child.kill()
        java, class_path = find_java(), jars.class_path()
        archive = tools_folder() / java.archive_name(class_path)
        data = self.folder / "data"
        ports = kept_ports(self.folder / "ports.json", ["client", "controller"], self._claims)
        configuration = self._configure(data, ports)
        if not (data / "meta.properties").exists():
            self._format(java, class_path, archive, configuration)
        self.child.start([
            *java.command(class_path, archive),
            f"-Djava.io.tmpdir={self._empty_scratch()}",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "kafka.Kafka",
            configuration,
        ])  # fmt: skip
        try:
            self.child.wait_until(self.serves, within=START_SECONDS)
        except EmbeddedError:
            self.child.kill()
            raise
        return self.bootstrap

    def stop(self) -> Outcome:
        outcome = self.child.stop(within=30)
        self._claims.release()
        if outcome == "stopped" and self._archive:
            make_archive_later()
        return outcome

    def kill(self) -> None:
        """As a power cut would: SIGKILL."""
        self.child.kill()
        self._claims.release()

    def _empty_scratch(self) -> Path:
        """Where it unpacks its library for zstd: the system's folder may be full, or let nothing be run, and it would
        take no record. A broker that is killed leaves it behind."""
        scratch = self.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        return scratch

    def _configure(self, data: Path, ports: dict[str, int]) -> Path:
        configuration = self.folder / "server.properties"
        properties = broker_properties(data, ports["client"], ports["controller"], self.security)
        configuration.touch(mode=0o600)
        configuration.write_text(as_text(properties))
        (self.folder / "log4j2.properties").write_text(LOG_TO_CONSOLE)
        return configuration

    def _format(self, java: Java, class_path: list[Path], archive: Path, configuration: Path) -> None:
        users = self.security.users if isinstance(self.security, SaslSsl) else {}
        added = [word for name, password in users.items() for word in ("--add-scram", scram(name, password))]
        done = subprocess.run(
            [*java.command(class_path, archive), "kafka.tools.StorageTool", "format",
             "-t", _cluster_id(), "-c", configuration, *added],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip().replace("\n", " | ")[-600:]
            raise EmbeddedError(f"Kafka could not make its data folder {self.folder / 'data'}: {said}")

    def serves(self) -> bool:
        """Whether a broker is registered and answers clients at `bootstrap`."""
        if not answers(kept_port(self.folder / "ports.json", "client")):
            return False
        return has_brokers(self.bootstrap, self._client())

    def _client(self) -> dict[str, str | int | float | bool]:
        if not isinstance(self.security, SaslSsl):
            return {}
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.security.truststore),
            "sasl.mechanism": SCRAM,
            "sasl.username": "broker",
            "sasl.password": self.security.users["broker"],
        }


def has_brokers(bootstrap: str, client: Mapping[str, str | int | float | bool] | None = None) -> bool:
    """Whether a cluster with a controller answers there. `client` holds librdkafka's settings for signing in."""
    quick: dict[str, str | int | float | bool] = {
        "bootstrap.servers": bootstrap,
        "log_level": 0,
        "reconnect.backoff.ms": 20,
    }
    try:
        cluster = AdminClient(quick | dict(client or {})).list_topics(timeout=2)
    except KafkaException:
        return False
    return bool(cluster.brokers) and cluster.controller_id >= 0


def make_archive_later() -> None:
    """Start, and do not wait for, the process that makes the class archive when there is none yet."""
    try:
        java, class_path = find_java(), jars.class_path()
    except EmbeddedError:
        return
    if not (tools_folder() / java.archive_name(class_path)).exists():
        popen = subprocess.Popen(
            [sys.executable, "-m", "lostphone.embedded", "archive"],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        let_outlive(popen)


def _cluster_id() -> str:
    while (cluster := base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")).startswith("-"):
        pass
    return cluster


def scram(name: str, password: str) -> str:
    """A user for `--add-scram`, salted here so that no password stands in the process list."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, SCRAM_ITERATIONS)
    return (
        f'{SCRAM}=[name={name},iterations={SCRAM_ITERATIONS},salt="{base64.b64encode(salt).decode()}",'
        f'saltedpassword="{base64.b64encode(salted).decode()}"]'
    )
