"""Following topics: what verifies is shown as an event, what does not is shown as that."""

import base64
import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lostphone.commands.tail import describe, topic_name
from lostphone.tail import follow
from lostphone.topics import BrokerError, apply
from shared.events import Envelope, KeyRing, Signer, find, read
from shared.events.contracts import Topic

SUBJECT = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f"


@pytest.fixture
def topic(kafka: str) -> Iterator[str]:
    name = f"test.{secrets.token_hex(6)}"
    apply({"bootstrap.servers": kafka}, [Topic(name, 3, {}, (), "A test.")])
    yield name
    for answer in AdminClient({"bootstrap.servers": kafka, "log_level": 0}).delete_topics([name]).values():
        answer.exception(timeout=10)


@pytest.fixture
def signer() -> Signer:
    return Signer("reporter", Ed25519PrivateKey.generate())


@pytest.fixture
def keyring(signer: Signer, tmp_path: Path) -> KeyRing:
    public = base64.b64encode(signer.key.public_key().public_bytes_raw()).decode()
    file = tmp_path / "event-keys.json"
    file.write_text(json.dumps({signer.keyid: {"service": "reporter", "public_key": public}}))
    return KeyRing(file)


def send(kafka: str, topic: str, signer: Signer, *, sequence: int, tamper: bool = False) -> None:
    entry = find("lostphone.incident-cancelled.v1")
    assert entry is not None
    envelope = Envelope(
        id=f"event-{sequence}",
        source=entry.source,
        type=entry.type,
        subject=SUBJECT,
        time=datetime.now(UTC),
        sequence=sequence,
        organisation="acme-kk",
        actor="service/reporter",
    )
    headers, value = envelope.sign(signer, entry.model.model_validate(entry.example))
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0})
    producer.produce(topic, key=SUBJECT.encode(), headers=headers, value=value + (b" " if tamper else b""))
    assert producer.flush(10) == 0


def test_an_event_is_told_with_its_writer_and_a_changed_one_is_not_believed(
    kafka: str, topic: str, signer: Signer, keyring: KeyRing
) -> None:
    send(kafka, topic, signer, sequence=1)
    send(kafka, topic, signer, sequence=2, tamper=True)
    found = list(follow({"bootstrap.servers": kafka}, [topic], from_beginning=True, until_end=True))
    good, bad = [describe(read(record, keyring)) for record in found]
    assert good["verified"] is True
    assert good["type"] == "lostphone.incident-cancelled.v1"
    assert good["actor"] == "service/reporter"
    assert good["subject"] == SUBJECT
    assert bad == {
        "verified": False,
        "kind": "unverified",
        "reason": "signature_invalid",
        "key": SUBJECT,
        "topic": topic,
        "partition": good["partition"],
        "offset": good["offset"] + 1,
    }


def test_what_arrives_later_is_followed(kafka: str, topic: str, signer: Signer) -> None:
    send(kafka, topic, signer, sequence=1)
    records = follow({"bootstrap.servers": kafka}, [topic], from_beginning=True)
    assert next(records).offset == 0
    send(kafka, topic, signer, sequence=2)
    assert next(records).offset == 1
    records.close()  # type: ignore[attr-defined]


def test_an_empty_topic_ends_at_once_when_asked_for_what_is_there(kafka: str, topic: str) -> None:
    assert list(follow({"bootstrap.servers": kafka}, [topic], from_beginning=True, until_end=True)) == []


def test_a_topic_that_does_not_exist_is_one_sentence(kafka: str) -> None:
    with pytest.raises(BrokerError, match=r"topic lostphone\.nothing\.v1"):
        next(follow({"bootstrap.servers": kafka}, ["lostphone.nothing.v1"]))


def test_topics_go_by_their_short_names() -> None:
    assert topic_name("log") == "lostphone.log.v1"
    assert topic_name("device-lost") == "lostphone.device-lost.v1"
    assert topic_name("lostphone.device-lost.v1") == "lostphone.device-lost.v1"
