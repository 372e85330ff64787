"""Following topics: what verifies is shown as an event, what does not is shown as that."""

import asyncio
import base64
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from itertools import islice
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer as OtherProducer
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from lostphone.commands.tail import _draw, describe, topic_name
from lostphone.topic_reader import follow
from lostphone.topics import BrokerError, apply
from shared.events import Envelope, KeyRing, Received, Signer, find, read
from shared.events.contracts import Topic
from shared.events.contracts.topics import OCSF_TOPIC
from shared.events.reporter import IncidentReopened
from shared.messaging.kafka import KafkaConnection, OutgoingRecord, Producer
from tests.messaging.names import NameInBytes, write_any_header_name

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


def _envelope(event_type: str = IncidentReopened.event_type, sequence: int = 1) -> Envelope:
    return Envelope(
        id=f"event-{sequence}",
        source="/lostphone/reporter",
        type=event_type,
        subject=SUBJECT,
        time=datetime.now(UTC),
        sequence=sequence,
        organisation="acme-kk",
        actor="service/reporter",
    )


def send(kafka: str, topic: str, signer: Signer, *, sequence: int, tamper: bool = False) -> None:
    entry = find("lostphone.incident-cancelled.v1")
    assert entry is not None
    headers, value = _envelope(entry.type, sequence).sign(signer, entry.model.model_validate(entry.example))
    producer = OtherProducer({"bootstrap.servers": kafka, "log_level": 0})
    producer.produce(topic, key=SUBJECT.encode(), headers=headers, value=value + (b" " if tamper else b""))
    assert producer.flush(10) == 0


def test_an_event_is_told_with_its_writer_and_a_changed_one_is_not_believed(
    kafka: str, topic: str, signer: Signer, keyring: KeyRing
) -> None:
    send(kafka, topic, signer, sequence=1)
    send(kafka, topic, signer, sequence=2, tamper=True)
    found = list(follow({"bootstrap.servers": kafka}, [topic], until_end=True))
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


async def test_a_record_with_a_header_name_that_is_not_utf8_is_no_event_and_those_behind_it_are_told(
    kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_any_header_name(monkeypatch)
    writer = Producer(KafkaConnection(kafka), "stranger")
    names = ("ce_id", NameInBytes(b"ce_\xff"), "ce_id")
    records = [OutgoingRecord(topic, SUBJECT.encode(), [(name, b"1")], b"x" * 3000) for name in names]
    assert await writer.send(records) == [None] * len(names)
    await writer.close()
    found = await asyncio.to_thread(list, follow({"bootstrap.servers": kafka}, [topic], until_end=True))
    assert [record.headers for record in found] == [
        (("ce_id", b"1"),),
        (("ce_\ufffd", b"1"),),
        (("ce_id", b"1"),),
    ]


@pytest.mark.parametrize("until_end", [True, False], ids=["what is there", "live"])
async def test_a_batch_that_unpacks_to_more_than_any_client_takes_is_no_event_and_those_behind_it_are_told(
    kafka: str, topic: str, keyring: KeyRing, *, until_end: bool
) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=kafka, compression_type="zstd", max_request_size=1 << 30, max_batch_size=1 << 30
    ) as producer:
        for value in (bytes(101 * 1024 * 1024), b"behind it"):
            batch = producer.create_batch()
            assert batch.append(key=b"k", value=value, timestamp=None) is not None
            await (await producer.send_batch(batch, topic, partition=0))
    records = follow({"bootstrap.servers": kafka}, [topic], from_beginning=True, until_end=until_end)
    bomb, behind = await asyncio.to_thread(lambda: list(islice(records, 2)))
    assert describe(read(bomb, keyring))["reason"] == "batch_not_unpacked"
    assert (behind.offset, behind.value) == (1, b"behind it")
    await asyncio.to_thread(records.close)  # type: ignore[attr-defined]


def test_an_event_whose_value_is_not_json_is_told_without_it(signer: Signer, keyring: KeyRing) -> None:
    class NotJson(IncidentReopened):
        def write(self) -> bytes:
            return b"not JSON"

    headers, value = _envelope().sign(signer, NotJson(reason="x"))
    told = describe(read(Received("t", 0, 0, 0, SUBJECT.encode(), tuple(headers), value), keyring))
    assert told["verified"] is True
    assert told["data"] is None


def test_an_event_at_an_end_of_the_calendar_is_drawn_too(signer: Signer, keyring: KeyRing) -> None:
    attributes = dict(replace(_envelope(), keyid=signer.keyid).headers()) | {"ce_time": b"0001-01-01T00:00:00+14:00"}
    signature = signer.sign(SUBJECT.encode(), attributes.items(), b"{}").encode()
    headers = (*attributes.items(), ("ce_signature", signature))
    out = StringIO()
    _draw(Console(file=out, width=200), read(Received("t", 0, 0, 0, SUBJECT.encode(), headers, b"{}"), keyring))
    assert "00:00:00.000 ✓ IncidentReopened" in out.getvalue()


def test_a_topic_without_events_is_shown_as_the_json_that_it_is(topics: str, tmp_path: Path) -> None:
    (tmp_path / "event-keys.json").write_text("{}")
    key, value = secrets.token_hex(8), b'{"time":1,"message":"A phone was lost [yes]"}'
    producer = OtherProducer({"bootstrap.servers": topics, "log_level": 0})
    producer.produce(OCSF_TOPIC, key=key, value=value)
    assert producer.flush(10) == 0
    asked = ["tail", "ocsf", "--until-end", "--incident", key, "--bootstrap", topics,
             "--keys", str(tmp_path / "event-keys.json"), "--data-dir", str(tmp_path)]  # fmt: skip
    assert _lostphone(*asked).encode() == value + b"\n"
    told = json.loads(_lostphone(*asked, "--json"))
    assert (told["topic"], told["data"]) == (OCSF_TOPIC, json.loads(value))


def _lostphone(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lostphone", *words], capture_output=True, text=True, env={**os.environ}, check=True
    )
    return done.stdout


def test_what_arrives_later_is_followed(kafka: str, topic: str, signer: Signer) -> None:
    send(kafka, topic, signer, sequence=1)
    records = follow({"bootstrap.servers": kafka}, [topic], from_beginning=True)
    assert next(records).offset == 0
    send(kafka, topic, signer, sequence=2)
    assert next(records).offset == 1
    records.close()  # type: ignore[attr-defined]


def test_an_empty_topic_ends_at_once_when_asked_for_what_is_there(kafka: str, topic: str) -> None:
    assert list(follow({"bootstrap.servers": kafka}, [topic], until_end=True)) == []


def test_a_topic_that_does_not_exist_is_one_sentence(kafka: str) -> None:
    with pytest.raises(BrokerError, match=r"topic lostphone\.nothing\.v1"):
        next(follow({"bootstrap.servers": kafka}, ["lostphone.nothing.v1"]))


def test_topics_go_by_their_short_names() -> None:
    assert topic_name("log") == "lostphone.log.v1"
    assert topic_name("device-lost") == "lostphone.device-lost.v1"
    assert topic_name("lostphone.device-lost.v1") == "lostphone.device-lost.v1"


def test_whoever_closes_the_pipe_ends_the_command_though_nothing_more_arrives(
    topics: str, tmp_path: Path, signer: Signer
) -> None:
    (tmp_path / "event-keys.json").write_text("{}")
    send(topics, OCSF_TOPIC, signer, sequence=1)
    command = [sys.executable, "-m", "lostphone", "tail", "ocsf", "--from-beginning", "--bootstrap", topics,
               "--keys", str(tmp_path / "event-keys.json"), "--data-dir", str(tmp_path)]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert following.stdout.readline()
        following.stdout.close()
        assert following.wait(30) == 2
        assert following.stderr is not None
        assert following.stderr.read() == b""


def test_who_follows_no_more_leaves_the_broker(kafka: str, topic: str) -> None:
    stop = threading.Event()
    stop.set()
    assert list(follow({"bootstrap.servers": kafka}, [topic], stop=stop)) == []
