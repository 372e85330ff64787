"""docker-compose.yml and deploy/: what can be checked where no Docker engine runs."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from confluent_kafka import KafkaException, Producer

from lostphone.embedded import EmbeddedKafka, SaslSsl
from lostphone.embedded.kafka_properties import Plaintext, broker_properties
from lostphone.log_keys import LOG_ORIGIN
from lostphone.named import Named
from lostphone.stack import LocalStack, open_installation
from lostphone.topics import manifest
from services.audit.tlog import Checkpoint, LogKey, Policy, SignedNote, leaf_hash
from services.audit.witnesses import Witnesses
from shared.events import LOG_TOPIC
from tests.audit.running import eventually
from tests.embedded.deployed import ROOT, SETTINGS, script
from tests.stack.service import free_port


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
    assert set(compose["services"]) == {"kafka", "postgres", "prepare", "witness", *SETTINGS}


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


def test_the_witness_is_a_process_of_its_own_that_sees_neither_the_broker_nor_a_key_of_the_log(
    compose: dict[str, Any],
) -> None:
    witness, audit = compose["services"]["witness"], compose["services"]["audit"]
    assert set(witness["networks"]) == {"witness"}
    assert compose["networks"]["witness"]["internal"]
    assert "witness" in audit["networks"]
    assert not witness.get("depends_on")
    assert {secret["source"] for secret in witness["secrets"]} == {
        "witness.json", "witness-ed25519.pem", "witness-mldsa44.pem"
    }  # fmt: skip
    assert audit["environment"]["LOSTPHONE_LOG_STATE_DIR"] in {volume["target"] for volume in audit["volumes"]}


async def test_the_witness_as_configured_signs_what_the_policy_as_made_asks_for(secrets: Path, tmp_path: Path) -> None:
    config = json.loads((secrets / "witness.json").read_text())
    port = free_port()
    keys = [str(secrets / "installation" / "keys" / "witness" / Path(name).name) for name in config["keys"]]
    config |= {"host": "127.0.0.1", "port": port, "data_dir": str(tmp_path), "keys": keys}
    (tmp_path / "witness.json").write_text(json.dumps(config))
    policy = (secrets / "log-policy.txt").read_text().replace("http://witness:8080", f"http://127.0.0.1:{port}")
    log = secrets / "installation" / "keys" / "audit"
    own = [LogKey.from_pem(log / name, LOG_ORIGIN) for name in ("log-ed25519.pem", "log-mldsa44.pem")]
    checkpoint = Checkpoint(LOG_ORIGIN, 1, leaf_hash(b"one"))
    note = SignedNote(checkpoint.text(), tuple(key.sign(checkpoint, 1) for key in own))
    environment = {"LOSTPHONE_WITNESS_CONFIG": str(tmp_path / "witness.json")}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "sandbox.witness", cwd=ROOT, env=environment)
    try:
        async with httpx2.AsyncClient(timeout=10) as http:
            await eventually(lambda: answers_at(http, f"http://127.0.0.1:{port}/health/ready"))
            witnesses = Witnesses(Policy.parse(policy), http)
            answers = await witnesses.cosign(checkpoint, note, nothing_to_prove, 0)
            journal = await http.get(f"http://127.0.0.1:{port}/_journal")
    finally:
        process.terminate()
        await process.wait()
    assert answers.signed == {"ed25519", "mldsa44"}
    assert witnesses.policy.is_fulfilled(answers.signed)
    assert journal.status_code == 404, "what a test may do to a part of the sandbox, nobody may do here"


async def nothing_to_prove(_: int) -> list[bytes]:
    return []


async def answers_at(http: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).is_success
    except httpx2.HTTPError:
        return False


def test_what_is_not_on_the_way_of_the_lock_yields_the_processor(compose: dict[str, Any]) -> None:
    yielding = {name for name, service in compose["services"].items() if "cpu_shares" in service}
    assert yielding == {"notifier", "audit", "witness"}


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
