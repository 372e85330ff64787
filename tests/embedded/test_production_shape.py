"""docker-compose.yml and deploy/: what can be checked where no Docker engine runs."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from confluent_kafka import KafkaException, Producer

from lostphone.embedded import EmbeddedKafka, SaslSsl
from lostphone.embedded.kafka_properties import Plaintext, broker_properties
from lostphone.named import Named
from lostphone.stack import LocalStack, open_installation
from lostphone.topics import manifest
from services.audit.settings import Settings as AuditSettings
from services.mdm_actions.settings import Settings as MdmActionsSettings
from services.notifier.settings import Settings as NotifierSettings
from services.reporter.settings import Settings as ReporterSettings
from shared.events import LOG_TOPIC

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "reporter": ReporterSettings,
    "mdm_actions": MdmActionsSettings,
    "notifier": NotifierSettings,
    "audit": AuditSettings,
}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "deploy" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    folder.mkdir()
    script("make_secrets").main(folder)
    return folder


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as Docker Compose itself reads it."""
    environment = {"PATH": "/usr/bin:/bin", "OIDC_ISSUER": "https://login.example", "OIDC_CLIENT_SECRET": "secret"}
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "docker-compose", "--project-directory", ROOT, "config"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


def test_docker_compose_reads_the_file(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"kafka", "postgres", "prepare", *SETTINGS}


def test_without_an_identity_provider_it_says_what_is_missing() -> None:
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "docker-compose", "--project-directory", ROOT, "config", "-q"],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "the address of the identity provider" in done.stderr


@pytest.mark.parametrize("service", SETTINGS)
def test_each_service_gets_every_setting_that_it_demands(compose: dict[str, Any], secrets: Path, service: str) -> None:
    lines = (secrets / f"{service}.env").read_text().splitlines()
    given = compose["services"][service]["environment"] | dict(line.split("=", 1) for line in lines)
    values = {name.removeprefix("LOSTPHONE_").lower(): value for name, value in given.items()}
    fields = SETTINGS[service].model_fields
    assert {name for name, field in fields.items() if field.is_required()} <= set(values)
    assert set(values) <= set(fields)


def test_every_secret_that_the_file_names_is_made(compose: dict[str, Any], secrets: Path) -> None:
    named = {Path(entry["file"]).relative_to(ROOT / "deploy" / "secrets") for entry in compose["secrets"].values()}
    assert {path for path in named if not (secrets / path).is_file()} == set()


def test_no_service_holds_the_key_of_another(compose: dict[str, Any]) -> None:
    for service in SETTINGS:
        sources = {secret["source"] for secret in compose["services"][service]["secrets"]}
        others = {name for name in sources if name.partition("-")[0].partition(".")[0] in set(SETTINGS) - {service}}
        assert others == set()


def test_no_secret_stands_in_the_environment_of_a_container(compose: dict[str, Any], secrets: Path) -> None:
    shown = yaml.safe_dump(compose)
    for file in secrets.glob("*.env"):
        for line in file.read_text().splitlines():
            assert line.split("=", 1)[1] not in shown or "USERNAME" in line


def test_making_secrets_again_keeps_what_is_there(secrets: Path) -> None:
    kept = ["broker.pem", "reporter.env", "prepare.env", "installation/keys/audit/log-ed25519.pem"]
    before = [(secrets / name).read_bytes() for name in kept]
    script("make_secrets").main(secrets)
    assert [(secrets / name).read_bytes() for name in kept] == before


def test_the_broker_of_production_guards_what_the_embedded_one_can_guard(tmp_path: Path) -> None:
    """The run below uses the properties that both have in common; they may differ in addresses and sizes only."""
    lines = (ROOT / "deploy" / "kafka" / "server.properties").read_text().splitlines()
    production = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    security = SaslSsl(Path("/run/secrets/broker.pem"), Path("/run/secrets/ca.pem"), {"broker": "secret"})
    open_names = set(broker_properties(tmp_path, 1, 2, Plaintext()))
    guarded = {name: value for name, value in security.lines().items() if "jaas" not in name}
    assert {name: production.get(name) for name in guarded} == guarded
    assert production["auto.create.topics.enable"] == "false"
    assert open_names - set(production) <= {
        "num.partitions", "offsets.topic.num.partitions", "transaction.state.log.num.partitions",
        "share.coordinator.state.topic.num.partitions", "group.initial.rebalance.delay.ms",
        "broker.session.timeout.ms", "broker.heartbeat.interval.ms", "num.network.threads", "num.io.threads",
        "log.cleaner.dedupe.buffer.size",
    }  # fmt: skip


@pytest.mark.timeout(300)  # a broker with TLS starts, and grants 300 rights, on whatever machine this is
def test_a_service_may_write_where_the_contracts_say_and_nowhere_else(secrets: Path, tmp_path: Path) -> None:
    """The embedded broker with the properties, certificates, users and ACLs of production."""
    environment = dict(line.split("=", 1) for line in (secrets / "reporter.env").read_text().splitlines())
    admin = dict(line.split("=", 1) for line in (secrets / "prepare.env").read_text().splitlines())
    jaas = (secrets / "broker.properties").read_text()
    users = {
        "broker": jaas.split('password="')[1].split('"')[0],
        "admin": admin["LOSTPHONE_KAFKA_PASSWORD"],
        "reporter": environment["LOSTPHONE_KAFKA_PASSWORD"],
    }
    security = SaslSsl(secrets / "broker.pem", secrets / "ca.pem", users)
    kafka = EmbeddedKafka(tmp_path / "kafka", security, archive=False)
    bootstrap = kafka.start()
    try:
        script("prepare").prepare_kafka(signed_in(bootstrap, secrets, "admin", users))
        assert write(signed_in(bootstrap, secrets, "reporter", users), LOG_TOPIC) is None
        for topic in ("lostphone.timeline.v1", "lostphone.device-lost.v1", "lostphone.unheard-of.v1"):
            assert "AUTHORIZATION_FAILED" in str(write(signed_in(bootstrap, secrets, "reporter", users), topic))
        assert len(manifest()) > 4
        assert not answers(signed_in(bootstrap, secrets, "reporter", users | {"reporter": "a guess"}))
        installed_on(bootstrap, secrets, users["admin"], tmp_path / "data")
    finally:
        kafka.stop()


def installed_on(bootstrap: str, secrets: Path, password: str, data_dir: Path) -> None:
    """An installation on this broker, as the environment names it: its services get users of their own there."""
    named = Named.by({
        "LOSTPHONE_KAFKA_BOOTSTRAP": bootstrap,
        "LOSTPHONE_KAFKA_SECURITY": "SASL_SSL",
        "LOSTPHONE_KAFKA_USERNAME": "admin",
        "LOSTPHONE_KAFKA_PASSWORD": password,
        "LOSTPHONE_KAFKA_CA_FILE": str(secrets / "ca.pem"),
    })  # fmt: skip
    assert named.kafka is not None
    named.kafka.require()
    installation = open_installation(data_dir, named)
    LocalStack(installation, named).prepare_broker()
    users = {service: installation.kafka_password(service) for service in SETTINGS}
    assert write(signed_in(bootstrap, secrets, "notifier", users), LOG_TOPIC) is None
    assert "AUTHORIZATION_FAILED" in str(write(signed_in(bootstrap, secrets, "notifier", users), "lostphone.ocsf.v1"))


def signed_in(bootstrap: str, secrets: Path, user: str, users: dict[str, str]) -> dict[str, str]:
    return {
        "bootstrap.servers": bootstrap,
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(secrets / "ca.pem"),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": users[user],
    }


def write(client: dict[str, str], topic: str) -> str | None:
    """None when the broker took it, else the name of the error."""
    said: list[str | None] = []
    producer = Producer(client | {"acks": "all", "message.timeout.ms": "20000"})
    producer.produce(topic, b"{}", key=b"x", on_delivery=lambda error, _: said.append(error.name() if error else None))
    producer.flush(30)
    return said[0]


def answers(client: dict[str, str]) -> bool:
    try:
        Producer(client | {"log_level": "0"}).list_topics(timeout=3)
    except KafkaException:
        return False
    return True
