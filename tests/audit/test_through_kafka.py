"""From a record in Kafka to a signed checkpoint and the topics for integrators, with all parts at work."""

import asyncio
import struct
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from confluent_kafka.admin import AdminClient, NewTopic

from lostphone.installation import Installation
from lostphone.verify import HttpSource, run
from services.audit.evidence import verify
from services.audit.feeds.feeder import Feeder
from services.audit.feeds.timeline_entry import TimelineEntry
from services.audit.tlog import Checkpoint, SignedNote
from shared.events import Event, Received, read
from shared.events.contracts.topics import OCSF_TOPIC
from shared.messaging.kafka import KafkaConnection, Producer
from shared.telemetry import Health
from tests.audit.conftest import LOG_KEYS, ORIGIN
from tests.audit.running import OPERATOR, Audit, at_work, audit_at, eventually, outgoing
from tests.stack.installed import Installed, copy_of

_OUTWARD = ("lostphone.device-lost.v1", "lostphone.device-locked.v1", "lostphone.timeline.v1")
_OWN = ("lostphone.timeline-sealed.v1", "lostphone.integrity-finding.v1")


def _incident(folder: Path) -> str:
    """An id that no other test uses: the topics are shared."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, str(folder)))


@pytest.fixture
async def audit(
    topics: str, postgres: str, template: str, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Audit]:
    more = getattr(request, "param", {})
    files = Installation.open(tmp_path / "installation")
    folder = tmp_path / "audit"
    folder.mkdir()
    async with copy_of(template, postgres) as dsn, audit_at(Installed(topics, dsn, files), folder, **more) as audit:
        admin = AdminClient({"bootstrap.servers": topics})
        topic = audit.bench.writers.topic
        admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(30)
        yield audit
        admin.delete_topics([topic])[topic].result(30)


@asynccontextmanager
async def _listening(bootstrap: str, *topics: str) -> AsyncIterator[AIOKafkaConsumer]:
    """From the present end of these topics on."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic, at) for topic in topics for at in consumer.partitions_for_topic(topic) or ()]
        if not places:
            await consumer._client.force_metadata_update()
            for topic in topics:
                await consumer._client.add_topic(topic)
            places = [TopicPartition(topic, at) for topic in topics for at in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        yield consumer
    finally:
        await consumer.stop()


async def _until(consumer: AIOKafkaConsumer, wanted: int, mine: Any) -> list[Any]:
    found: list[Any] = []
    async with asyncio.timeout(60):
        while len(found) < wanted:
            more = await consumer.getmany(timeout_ms=200)
            found += [record for records in more.values() for record in records if mine(record)]
    return found


async def _size(audit: Audit) -> int:
    answer = await audit.get("/checkpoint")
    if answer.status_code != 200:
        return -1
    return Checkpoint.parse(SignedNote.parse(answer.content).text).size


@pytest.mark.parametrize("audit", [{"ocsf_version": "1.9.0"}], indirect=True, ids=["1.9.0"])
async def test_everything_on_the_feed_has_the_version_of_the_setting(audit: Audit, tmp_path: Path) -> None:
    """What is recorded, what is refused, the seal, and what audit finds: four ways lead to the feed."""
    incident, writers = _incident(tmp_path), audit.bench.writers
    lost, closed = writers.record("DeviceLost", incident), writers.record("IncidentClosed", incident)
    forged = replace(lost, value=b"{}")
    topic = writers.topic

    def mine(record: Any) -> bool:
        return incident.encode() in record.value or topic.encode() in record.value

    async with _listening(audit.kit.settings.kafka_bootstrap, OCSF_TOPIC) as outside, at_work(audit) as producer:
        assert await producer.send([outgoing(record, topic) for record in (lost, forged, closed)]) == [None] * 3
        events = [orjson.loads(record.value) for record in await _until(outside, 5, mine)]
    assert {event["metadata"]["event_code"]: event["metadata"]["version"] for event in events} == dict.fromkeys(
        ("DeviceLost", "RecordUnverified", "IntegrityFinding", "IncidentClosed", "TimelineSealed"), "1.9.0"
    )


async def test_a_record_reaches_the_checkpoint_and_the_outward_topics_unchanged(audit: Audit, tmp_path: Path) -> None:
    incident, writers = _incident(tmp_path), audit.bench.writers
    lost, locked = writers.record("DeviceLost", incident), writers.record("DeviceLocked", incident)
    forged = replace(locked, value=locked.value + b" " if locked.value else b"")
    closed = writers.record("IncidentClosed", incident)
    bootstrap = audit.kit.settings.kafka_bootstrap
    topic = writers.topic
    async with _listening(bootstrap, *_OUTWARD, *_OWN) as outside, at_work(audit) as producer:
        errors = await producer.send([outgoing(record, topic) for record in (lost, locked, forged, locked, closed)])
        assert errors == [None] * 5
        await eventually(lambda: _is(audit, 6))
        records = await _until(
            outside,
            2 + 6 + 2,
            lambda record: (
                record.key == incident.encode()
                or (record.topic == "lostphone.timeline.v1" and topic.encode() in record.value)
                or (record.topic == "lostphone.integrity-finding.v1" and topic.encode() in record.value)
            ),
        )
        by_topic: dict[str, list[Any]] = {}
        for record in records:
            by_topic.setdefault(record.topic, []).append(record)
        for sent, name in zip((lost, locked), _OUTWARD[:2], strict=True):
            (got,) = by_topic[name]
            assert (got.key, got.value, got.headers) == (sent.key, sent.value, sent.headers)
            received = Received(name, 0, 0, 0, got.key, tuple(got.headers), got.value)
            assert isinstance(read(received, audit.bench.keyring), Event)
        places = sorted(
            (TimelineEntry.model_validate_json(record.value) for record in by_topic["lostphone.timeline.v1"]),
            key=lambda place: place.seq,
        )
        assert [(place.seq, place.kind, place.n) for place in places] == [
            (0, "event", 0),
            (1, "event", 1),
            (2, "unverified", None),
            (3, "duplicate", None),
            (4, "event", 2),
            (5, "seal", 3),
        ]
        assert [place.incident for place in places] == [incident, incident, None, None, incident, incident]
        (sealed,) = by_topic["lostphone.timeline-sealed.v1"]
        assert orjson.loads(sealed.value)["head"] == places[4].leaf
        (finding,) = by_topic["lostphone.integrity-finding.v1"]
        assert (finding.key, orjson.loads(finding.value)["finding"]) == (b"log", "signature_invalid")

        bearer = await audit.token(OPERATOR, "auditor")
        report = await asyncio.to_thread(_verify, audit, bearer)
        assert report.exit_status == 0, report.document()
        await _assert_receipts(audit, places, bearer)


async def _assert_receipts(audit: Audit, places: list[TimelineEntry], bearer: str) -> None:
    """Whoever sent a record proves by its place in Kafka that it is in the log."""
    for place in places[:5]:
        answer = await audit.get(f"/v1/receipts/{place.topic}/{place.partition}/{place.offset}")
        index, hashes, note = verify.read_proof(answer.content)
        checkpoint, _ = Checkpoint.signed(SignedNote.parse(note), [key.verifier for key in LOG_KEYS])
        assert index == place.seq
        assert verify.is_included(index, checkpoint.size, bytes.fromhex(place.leaf), hashes, checkpoint.root)
    missing = await audit.get(f"/v1/receipts/{places[0].topic}/{places[0].partition}/{5}")
    assert (missing.status_code, missing.json()["code"], missing.headers["retry-after"]) == (
        404, "not_recorded_yet", "2"
    )  # fmt: skip
    assert (await audit.get("/v1/streams", await audit.token("acme-kk", "auditor"))).status_code == 403
    (stream,) = (await audit.get("/v1/streams", bearer)).json()["streams"]
    taken = {"topic": places[0].topic, "partition": places[0].partition, "next_offset": 5, "lag": 0, "gaps": []}
    assert stream == taken


async def test_of_a_partition_that_ends_with_a_transaction_nothing_waits_that_is_no_record(
    audit: Audit, tmp_path: Path
) -> None:
    incident, writers = _incident(tmp_path), audit.bench.writers
    bootstrap, bearer = audit.kit.settings.kafka_bootstrap, await audit.token(OPERATOR, "auditor")
    writer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=writers.topic)

    async def lag() -> int:
        (stream,) = (await audit.get("/v1/streams", bearer)).json()["streams"]
        return int(stream["lag"])

    async def say(*records: Received) -> None:
        async with writer.transaction():
            for record in records:
                await writer.send(writers.topic, record.value, incident.encode(), headers=list(record.headers))

    async with writer:
        async with at_work(audit):
            await say(writers.record("DeviceLost", incident))
            await eventually(lambda: _is(audit, 1))
        assert await lag() == 0, "the end of the transaction is no record"
        await say(writers.record("DeviceLocked", incident), writers.record("DeviceLocked", incident))
        assert await lag() == 3, "two records, and what lies between them and the end"
        async with at_work(audit):
            await eventually(lambda: _is(audit, 4))  # with the gap
        assert await lag() == 0


def _verify(audit: Audit, bearer: str) -> Any:
    with HttpSource(audit.url, bearer) as source:
        return run(source, [key.verifier for key in LOG_KEYS], keyring=audit.bench.keyring)


async def _is(audit: Audit, size: int) -> bool:
    return await _size(audit) >= size


async def test_reading_the_partition_again_records_and_feeds_nothing_again(audit: Audit, tmp_path: Path) -> None:
    incident, writers = _incident(tmp_path), audit.bench.writers
    records = [outgoing(writers.record("DeviceLocked", incident), writers.topic) for _ in range(150)]
    async with at_work(audit) as producer:
        await producer.send(records[:100])
        await eventually(lambda: _is(audit, 100))
    before = await audit.bench.entries()
    # A group of its own reads from the start: offsets in Kafka do not matter.
    async with at_work(audit) as producer:
        await producer.send(records[100:])
        await eventually(lambda: _is(audit, 150))
    after = await audit.bench.entries()
    assert after[:100] == before
    assert len(after) == 150
    assert {entry["kind"] for entry in after} == {"event"}


async def test_what_is_huge_unpacked_is_evidence_as_it_lies_in_kafka(audit: Audit, tmp_path: Path) -> None:
    incident, topic = _incident(tmp_path), audit.bench.writers.topic
    lost, locked = (audit.bench.writers.record(name, incident) for name in ("DeviceLost", "DeviceLocked"))
    bootstrap = audit.kit.settings.kafka_bootstrap
    writer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type="zstd", max_request_size=1 << 30)
    async with at_work(audit) as producer, writer:
        await producer.send([outgoing(lost, topic)])
        partition = (await writer.send_and_wait(topic, bytes(100 << 20), key=incident.encode())).partition
        await producer.send([outgoing(locked, topic)])
        await eventually(lambda: _is(audit, 3))
        entries = await audit.bench.entries()
        assert [(entry["kind"], entry["n"]) for entry in entries] == [("event", 0), ("unparsed", None), ("event", 1)]
        header, key, value = entries[1]["leaf"].split(b"\n", 2)
        said = orjson.loads(header)
        assert (said["reason"], said["p"], said["o"]) == ("batch_not_unpacked", partition, 1)
        assert orjson.loads(key) == {"h": [], "key": None}
        assert value[8:12] == struct.pack(">i", len(value) - 12), "the batch, with the length that Kafka gives it"
        report = await asyncio.to_thread(_verify, audit, await audit.token(OPERATOR, "auditor"))
        assert report.exit_status == 0, report.document()


async def test_the_feed_begins_again_where_kafka_had_acknowledged(audit: Audit, tmp_path: Path) -> None:
    incident, writers = _incident(tmp_path), audit.bench.writers
    await audit.bench.record(*(writers.record("DeviceLocked", incident) for _ in range(3)))
    bootstrap = audit.kit.settings.kafka_bootstrap
    nowhere = Feeder(audit.bench.dsn, ORIGIN, Producer(KafkaConnection("127.0.0.1:1"), "nowhere"), Health())
    async with audit.bench.pool.acquire() as connection, _listening(bootstrap, "lostphone.timeline.v1") as outside:
        with pytest.raises(KafkaConnectionError):
            await nowhere.feed(connection)
        producer = Producer(KafkaConnection(bootstrap), "test-feeder")
        feeder = Feeder(audit.bench.dsn, ORIGIN, producer, Health())
        try:
            assert await feeder.feed(connection) == 3
            assert await feeder.feed(connection) == 0
        finally:
            await producer.close()
        got = await _until(outside, 3, lambda record: record.key == incident.encode())
    assert [orjson.loads(record.value)["seq"] for record in got] == [0, 1, 2]
