"""An installation with a guarded broker: the story, everybody's rights on the bus, where secrets lie, and new keys."""

import json
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from confluent_kafka import Producer

from lostphone.installation import OUTSIDERS, SERVICES, Installation
from lostphone.screen import CouldNotError
from lostphone.topics import manifest as topics
from shared.events import LOG_TOPIC
from shared.events.contracts.topics import OCSF_TOPIC
from tests.secure.bus import signs_in
from tests.secure.conftest import Guarded, command
from tests.secure.hidden import hidden

pytestmark = pytest.mark.timeout(600)

PRINCIPALS = [*SERVICES, *(principal for principal in OUTSIDERS if principal != "admin")]
READABLE = {"siem": OCSF_TOPIC, "integrator-example": "lostphone.device-lost.v1"}
STRANGE_TOPIC = "strange.topic.v1"
TOPICS = [topic.name for topic in topics()]


def test_a_broker_that_was_made_open_is_not_guarded_afterwards(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    Installation.open(data_dir)
    (data_dir / "kafka" / "data").mkdir()
    (data_dir / "kafka" / "data" / "meta.properties").touch()
    with pytest.raises(CouldNotError, match="made without --secure"):
        Installation.open(data_dir, secure=True)
    assert not Installation.open(data_dir).secure


def test_a_guarded_installation_stays_guarded(tmp_path: Path) -> None:
    made = Installation.open(tmp_path / "data", secure=True)
    assert made.secure
    assert Installation.open(tmp_path / "data") == made


def test_the_whole_story_runs_on_a_guarded_broker(guarded: Guarded) -> None:
    heard = guarded.heard()
    assert all(event["verified"] for event in heard)
    told = [event["type"] for event in heard]
    for name in ("device-lost", "device-locked", "wipe-confirmed", "carrier-suspended", "disclosure-issued"):
        assert told.count(f"lostphone.{name}.v1") == 1, name
    outward = guarded.lostphone("tail", "carrier-suspended", "timeline", "--until-end", "--json").splitlines()
    assert len(outward) > len(heard)


def test_the_feed_of_the_siem_is_built_again_whole(guarded: Guarded) -> None:
    """What audit says on topics of its own, such as the seal, is of the feed, too."""
    on_the_feed = guarded.lostphone("tail", "ocsf", "--until-end", "--json").splitlines()
    said = guarded.json("ops", "ocsf", "replay", "--dry-run")
    assert said["events"] == len(on_the_feed)
    assert said["by_event"]["TimelineSealed"] == 1


def test_the_demo_does_not_pass_an_open_broker_off_as_a_guarded_one(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    Installation.open(data_dir)
    (data_dir / "kafka" / "data").mkdir()
    (data_dir / "kafka" / "data" / "meta.properties").touch()
    refused = command("demo", "--secure", data_dir=data_dir)
    assert refused.returncode == 2
    assert "made without --secure" in refused.stderr


def test_status_says_how_a_tool_joins_in_and_names_no_password(guarded: Guarded) -> None:
    kafka = guarded.json("status")["kafka"]
    assert (kafka["security_protocol"], kafka["sasl_mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert "BEGIN CERTIFICATE" in Path(kafka["ca_file"]).read_text()
    assert set(kafka["clients"]) == set(OUTSIDERS)
    for file in kafka["clients"].values():
        lines = dict(line.split("=", 1) for line in Path(file).read_text().splitlines())
        assert signs_in({"bootstrap.servers": kafka["bootstrap"], **lines})
    assert not [name for name in guarded.installation.passwords if guarded.installation.passwords[name] in str(kafka)]


def test_topics_and_acls_are_as_the_manifests_say(guarded: Guarded) -> None:
    assert {topic["state"] for topic in guarded.json("ops", "topics", "list")} == {"unchanged"}
    assert {acl["state"] for acl in guarded.json("ops", "acls", "list")} == {"unchanged"}


def test_nobody_signs_in_without_name_password_and_encryption(guarded: Guarded) -> None:
    good = guarded.connection("reporter")
    bootstrap = {"bootstrap.servers": guarded.status.kafka.bootstrap}
    assert signs_in(good)
    assert not signs_in(good | {"sasl.password": guarded.installation.kafka_password("audit")})
    assert not signs_in(good | {"sasl.username": "stranger"})
    assert not signs_in(good | {"security.protocol": "SASL_PLAINTEXT"})
    assert not signs_in(bootstrap)


# The secrets come before the rights: a right that is tried leaves a record on the log.


def test_a_backup_of_it_is_restored_elsewhere_and_is_guarded_there(guarded: Guarded, tmp_path: Path) -> None:
    backup, keys, place = tmp_path / "backup", tmp_path / "keys", tmp_path / "place"
    _leave_holes(guarded)
    before = len(guarded.heard())
    guarded.lostphone("ops", "backup", str(backup), "--keys", str(keys))
    restored = command("ops", "restore", str(backup), "--keys", str(keys), "--json", data_dir=place)
    assert restored.returncode == 0, restored.stderr
    said = json.loads(restored.stdout)
    assert said["log"] == "written"
    assert said["records"] >= before > 0
    assert Installation.read(place).secure


def _leave_holes(guarded: Guarded) -> None:
    """As somebody else's transactional producer does who takes his records back: their offsets are no records."""
    settings = {**guarded.connection("admin"), "transactional.id": "stranger"}
    producer = Producer(settings)
    producer.init_transactions()
    producer.begin_transaction()
    for partition in range(12):
        producer.produce(LOG_TOPIC, b"{}", b"nothing", partition=partition)
    assert producer.flush(30) == 0
    producer.abort_transaction()


def test_no_secret_is_in_a_log_a_process_list_an_answer_or_a_journal(guarded: Guarded) -> None:
    secrets = hidden(guarded)
    assert len(secrets) > 30
    assert all(len(secret) >= 16 for secret in secrets.values())
    places = list(_places(guarded))
    found = [(place, name) for place, text in places for name, secret in secrets.items() if secret in text]
    assert found == []
    tokens = [place for place, text in places if re.search(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]+", text)]
    assert tokens == []


def _places(guarded: Guarded) -> Iterator[tuple[str, str]]:
    """Where people and programs look."""
    logs = [*guarded.data_dir.rglob("*.log"), *guarded.data_dir.rglob("*.log.1")]
    assert len(logs) >= 8
    for log in logs:
        if not log.is_relative_to(guarded.data_dir / "kafka" / "data"):
            yield f"log {log.stem}", log.read_text(errors="replace")
    yield "up and demo", guarded.said
    yield "ps", subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    status = guarded.json("status")
    # The promise of status --json: how a tool reaches the databases and the log of an embedded stack.
    del status["postgres"], status["log"]["bearer"]
    yield "status --json", json.dumps(status)
    yield "status", guarded.lostphone("status")
    yield "a wrong password", guarded.lostphone(
        "ops", "topics", "list", "--bootstrap", guarded.status.kafka.bootstrap, exits=2,
        LOSTPHONE_KAFKA_SECURITY="SASL_SSL", LOSTPHONE_KAFKA_USERNAME="operator",
        LOSTPHONE_KAFKA_PASSWORD=f"not {guarded.installation.kafka_password('operator')[:10]}",
        LOSTPHONE_KAFKA_CA_FILE=str(guarded.status.kafka.ca_file),
    )  # fmt: skip
    yield "the log", json.dumps(guarded.heard())
    for part, url in guarded.status.sandbox.items():
        if url.startswith("http"):
            yield f"journal of {part}", httpx2.get(f"{url}/_journal", timeout=60).text
    for service, url in guarded.status.http.items():
        for path in ("/health/ready", "/metrics", "/v1/incidents", "/nothing-here"):
            answer = httpx2.get(f"{url}{path}", headers={"Authorization": "Bearer nobody"})
            yield f"{path} of {service}", f"{answer.headers} {answer.text}"


def test_every_file_that_holds_a_secret_is_its_owners_alone(guarded: Guarded) -> None:
    secrets = [secret.encode() for secret in hidden(guarded).values()]
    data = [guarded.data_dir / part / "data" for part in ("kafka", "postgres")]
    holding = [
        file
        for file in guarded.data_dir.rglob("*")
        if file.is_file() and not any(file.is_relative_to(folder) for folder in data) and _holds(file, secrets)
    ]
    assert len(holding) > 10
    assert [file for file in holding if stat.S_IMODE(file.stat().st_mode) & 0o077] == []


def _holds(file: Path, secrets: list[bytes]) -> bool:
    content = file.read_bytes()
    return any(secret in content for secret in secrets)


def test_a_service_reaches_no_database_but_its_own(guarded: Guarded) -> None:
    servers = {service: database.dsn.rpartition("/")[0] for service, database in guarded.status.postgres.items()}
    reached = [
        (service, name)
        for service, server in servers.items()
        for name in ("lostphone", "postgres", "template1", "nanomdm")
        if _connects(f"{server}/{name}")
    ]
    # mdm_actions reads the queue of the MDM server.
    assert set(reached) == {*((service, "lostphone") for service in servers), ("mdm_actions", "nanomdm")}


def _connects(dsn: str) -> bool:
    # In a process of its own: a connection that the server refuses is not closed by the library.
    code = f"import asyncio, asyncpg; asyncio.run(asyncpg.connect({dsn!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 or "permission denied for database" in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("principal", PRINCIPALS)
def test_a_principal_may_do_on_the_bus_what_the_manifest_says_and_nothing_else(
    guarded: Guarded, principal: str
) -> None:
    bus, rights = guarded.bus(principal), guarded.rights(principal)
    groups = [*SERVICES, *(f"{name}.x" for name in PRINCIPALS), "strangers"]
    seen = {
        "read": bus.reads(TOPICS, f"{principal}.rights"),
        "write": bus.writes(TOPICS),
        "group": bus.groups(groups, READABLE.get(principal, "lostphone.log.v1")),
        "create": {topic: bus.creates(topic) for topic in ("lostphone.extra.v1", "extra.v1")},
        "alter_configs": bus.alters(TOPICS),
        "alter": bus.adds_partitions(TOPICS),
        "delete": bus.deletes_records(TOPICS),
        "delete the topic": bus.deletes([*TOPICS, STRANGE_TOPIC]),
    }
    wrong = {
        (act, name, "let" if allowed else "refused")
        for act, tried in seen.items()
        for name, allowed in tried.items()
        if allowed
        != (rights.allows("read", "group", name) if act == "group" else rights.allows(act.split()[0], "topic", name))
    }
    assert wrong == set()
    assert bus.sees_acls() == rights.allows("describe", "cluster", "kafka-cluster")
    assert not bus.grants(principal, "lostphone.log.v1")
    assert not bus.sets_password("admin")
    assert not bus.transacts(f"{principal}.rights")
    assert not bus.configures_the_broker()
    assert not any(bus.deletes_groups(groups).values())


def test_a_new_signing_key_loses_no_event(guarded: Guarded) -> None:
    before = guarded.heard()
    _report(guarded, "ACME-0002")
    said = guarded.json("ops", "rotate", "event-key", "reporter")
    assert said["before"] != said["after"]
    _report(guarded, "ACME-0003")
    keys = json.loads(guarded.installation.event_keys_file.read_text())
    assert {said["before"], said["after"]} <= set(keys)
    new = guarded.heard()[len(before) :]
    assert all(event["verified"] for event in new)
    signed = [event["keyid"] for event in new if event["keyid"].startswith("reporter-")]
    assert list(dict.fromkeys(signed)) == [said["before"], said["after"]]
    guarded.lostphone("verify")


def test_a_new_password_shuts_out_the_old_one_and_the_service_goes_on(guarded: Guarded) -> None:
    old = guarded.installation.kafka_password("reporter")
    guarded.lostphone("ops", "rotate", "kafka-password", "reporter")
    assert not signs_in(guarded.connection("reporter", old))
    assert signs_in(guarded.connection("reporter"))
    _report(guarded, "ACME-0001")
    guarded.lostphone("ops", "rotate", "kafka-password", "operator")
    assert guarded.heard()


def _report(guarded: Guarded, phone: str) -> None:
    """Report a phone and wait until audit has recorded the report."""
    incident = guarded.json(
        "report", "--phone", phone, "--holder", "佐藤", "--callback", "080-0000-9999", "--who", "acme-suzuki"
    )["incident"]
    deadline = time.monotonic() + 60
    while not _recorded(guarded, incident):
        assert time.monotonic() < deadline, f"the report of {phone} is not in the timeline"
        time.sleep(0.2)


def _recorded(guarded: Guarded, incident: str) -> bool:
    done = command("timeline", incident, "--json", data_dir=guarded.data_dir)
    return done.returncode == 0 and "lostphone.device-lost.v1" in done.stdout
