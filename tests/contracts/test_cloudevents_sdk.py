"""The CloudEvents SDK reads what we write, and we read what it writes."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.v1.event import CloudEvent
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.events import Event, EventType, KeyRing, Received, Rejection, Signer, event_types, read
from shared.events.contracts.sample import SUBJECT, envelope_of


@pytest.fixture(scope="module")
def signers() -> dict[str, Signer]:
    return {
        name: Signer(name, Ed25519PrivateKey.generate()) for name in ("reporter", "mdm_actions", "notifier", "audit")
    }


@pytest.fixture(scope="module")
def keyring(signers: dict[str, Signer], tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    path: Path = tmp_path_factory.mktemp("keys") / "events.json"
    public = {
        signer.keyid: {
            "service": signer.service,
            "public_key": base64.b64encode(signer.key.public_key().public_bytes_raw()).decode(),
        }
        for signer in signers.values()
    }
    path.write_text(json.dumps(public))
    return KeyRing(path)


def received(headers: dict[str, bytes], value: bytes) -> Received:
    return Received("lostphone.log.v1", 0, 0, 0, SUBJECT.encode(), tuple(headers.items()), value)


def written(entry: EventType, signers: dict[str, Signer]) -> tuple[dict[str, bytes], bytes]:
    headers, value = envelope_of(entry).sign(signers[entry.writer], entry.model.model_validate(entry.example))
    return dict(headers), value


@pytest.mark.parametrize("entry", event_types(), ids=lambda entry: entry.name)
def test_the_sdk_reads_every_event_that_we_write(
    entry: EventType, signers: dict[str, Signer], keyring: KeyRing
) -> None:
    headers, value = written(entry, signers)
    assert isinstance(read(received(headers, value), keyring), Event)
    event = kafka.from_kafka_event(kafka.KafkaMessage(headers, SUBJECT, value))
    assert event.get_type() == entry.type
    assert event.get_subject() == SUBJECT
    assert event.get_source() == f"/lostphone/{entry.writer}"
    assert event.get_extension("sequence") == "0000000007"
    assert event.get_extension("organisation") == "acme-kk"
    assert event.get_extension("drill") == "false"
    assert event.get_data() == json.loads(value)


def of_sdk(signer: Signer) -> CloudEvent:
    return CloudEvent(
        attributes={
            "id": "0192f0c1-8a00-7c3e-9a51-2f0d6b7c8e90",
            "source": "/lostphone/reporter",
            "type": "lostphone.incident-reopened.v1",
            "specversion": "1.0",
            "subject": SUBJECT,
            "time": datetime(2026, 11, 24, 15, 5, 0, 123000, tzinfo=UTC),
            "datacontenttype": "application/json",
            "partitionkey": SUBJECT,
            "sequence": "0000000007",
            "organisation": "acme-kk",
            "actor": "service/reporter",
            "drill": "true",
            "keyid": signer.keyid,
        },
        data={"reason": "phone_handed_in"},
    )


def test_we_read_what_the_sdk_writes_in_binary_mode(signers: dict[str, Signer], keyring: KeyRing) -> None:
    message = kafka.to_binary_event(of_sdk(signers["reporter"]))
    signature = signers["reporter"].sign(SUBJECT.encode(), message.headers.items(), message.value)
    reading = read(received({**message.headers, "ce_signature": signature.encode()}, message.value), keyring)
    assert isinstance(reading, Event)
    assert reading.envelope.time == datetime(2026, 11, 24, 15, 5, 0, 123000, tzinfo=UTC)
    assert reading.envelope.drill
    assert reading.envelope.sequence == 7


def test_we_read_what_the_sdk_writes_in_structured_mode(signers: dict[str, Signer], keyring: KeyRing) -> None:
    message = kafka.to_structured_event(of_sdk(signers["reporter"]))
    reading = read(received(message.headers, message.value), keyring)
    assert isinstance(reading, Rejection)
    assert reading.reason == "signature_missing"

    document = json.loads(message.value)
    headers = {
        f"ce_{name}": str(value).encode() for name, value in document.items() if name not in ("data", "datacontenttype")
    }
    value = json.dumps(document["data"], separators=(",", ":")).encode()
    document["signature"] = signers["reporter"].sign(SUBJECT.encode(), headers.items(), value)
    reading = read(received(message.headers, json.dumps(document).encode()), keyring)
    assert isinstance(reading, Event)
    assert reading.envelope.drill
    assert json.loads(reading.value) == {"reason": "phone_handed_in"}


def test_a_boolean_attribute_in_structured_mode_reads_like_its_header(
    signers: dict[str, Signer], keyring: KeyRing
) -> None:
    document = json.loads(kafka.to_structured_event(of_sdk(signers["reporter"])).value) | {"drill": True}
    headers = {
        f"ce_{name}": (b"true" if value is True else str(value).encode())
        for name, value in document.items()
        if name not in ("data", "datacontenttype")
    }
    value = json.dumps(document["data"], separators=(",", ":")).encode()
    document["signature"] = signers["reporter"].sign(SUBJECT.encode(), headers.items(), value)
    content_type = {"content-type": b"application/cloudevents+json; charset=utf-8"}
    reading = read(received(content_type, json.dumps(document).encode()), keyring)
    assert isinstance(reading, Event)
    assert reading.envelope.drill


def test_an_attribute_that_is_null_in_structured_mode_is_not_there(
    signers: dict[str, Signer], keyring: KeyRing
) -> None:
    document = json.loads(kafka.to_structured_event(of_sdk(signers["reporter"])).value)
    headers = {
        f"ce_{name}": str(value).encode() for name, value in document.items() if name not in ("data", "datacontenttype")
    }
    value = json.dumps(document["data"], separators=(",", ":")).encode()
    document["signature"] = signers["reporter"].sign(SUBJECT.encode(), headers.items(), value)
    content_type = {"content-type": b"application/cloudevents+json"}
    nothing = {"causationid": None, "traceparent": None, "dataschema": None}
    reading = read(received(content_type, json.dumps(document | nothing).encode()), keyring)
    assert isinstance(reading, Event)
    assert (reading.envelope.causationid, reading.envelope.traceparent, reading.envelope.dataschema) == (None,) * 3
    reading = read(received(content_type, json.dumps(document | {"organisation": None}).encode()), keyring)
    assert isinstance(reading, Rejection)
    assert reading.reason == "header_missing:organisation"
