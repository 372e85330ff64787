"""The feed as it runs: out of the database to Kafka, in the order of the timeline, and built again with equal bytes."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.audit.domain.leaf import LeafBuilder
from services.audit.feeds.feeder import Feeder
from services.audit.feeds.ocsf_versions import OcsfVersion
from services.audit.feeds.replay import from_own_topics, from_timeline
from services.audit.timeline import Timeline
from shared.events import event_types
from shared.messaging.in_hand import InHand
from shared.messaging.kafka import KafkaConnection, OutgoingRecord, Producer
from shared.messaging.relay import Relay
from shared.telemetry import Health
from tests.audit.conftest import BLINDING, ORIGIN, Bench, bench_on
from tests.audit.running import eventually
from tests.siem.ocsf_rules import problems
from tests.stack.installed import Installed

TOPIC = "lostphone.ocsf.v1"
_FROM_LOG = [entry.name for entry in event_types() if entry.writer != "audit" and entry.name != "IncidentClosed"]


_EITHER = pytest.mark.parametrize("version", OcsfVersion, ids=str, indirect=True)


@pytest.fixture
def version(request: pytest.FixtureRequest) -> OcsfVersion:
    """Which the service is told to write; the default, unless a test asks for either."""
    return getattr(request, "param", OcsfVersion.V1_8)


@pytest.fixture
async def bench(installation: Installed, tmp_path: Path, version: OcsfVersion) -> AsyncIterator[Bench]:
    async with bench_on(installation.dsn("audit"), tmp_path) as bench:
        bench.timeline = Timeline(LeafBuilder(BLINDING), ocsf=version)
        yield bench


class Reader:
    """Reads the feed from where it ended when the test began; the topic is shared."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def until(self, count: int, *subjects: str) -> list[Any]:
        found: list[Any] = []
        async with asyncio.timeout(60):
            while len(found) < count:
                more = await self._consumer.getmany(timeout_ms=200)
                found += [one for records in more.values() for one in records if one.key.decode() in subjects]
        return found


@pytest.fixture
async def outside(topics: str) -> AsyncIterator[Reader]:
    consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=topics, enable_auto_commit=False)
    await consumer.start()
    places = [TopicPartition(TOPIC, at) for at in range(12)]
    consumer.unsubscribe()
    consumer.assign(places)
    await consumer.seek_to_end(*places)
    for place in places:
        await consumer.position(place)
    yield Reader(consumer)
    await consumer.stop()


async def _story(bench: Bench, incident: str, organisation: str) -> None:
    """Every event once, a forged record, a repeat, and the end."""
    records = [bench.writers.record(name, incident, organisation=organisation) for name in _FROM_LOG]
    forged = replace(records[0], value=b"{}")
    closed = bench.writers.record("IncidentClosed", incident, organisation=organisation)
    await bench.record(*records, forged, records[3], closed)


async def _feed(bench: Bench, bootstrap: str, version: OcsfVersion = OcsfVersion.V1_8) -> int:
    producer = Producer(KafkaConnection(bootstrap), "test-siem-feeder")
    try:
        async with bench.pool.acquire() as connection:
            return await Feeder(bench.dsn, ORIGIN, producer, Health(), ocsf=version).feed(connection)
    finally:
        await producer.close()


async def _relayed(bench: Bench, bootstrap: str) -> None:
    """Send what lies in the outbox."""
    relay = Relay(bench.dsn, "audit", Producer(KafkaConnection(bootstrap), "test-siem"), InHand(), Health())
    work = asyncio.ensure_future(relay.run())
    await eventually(lambda: bench.pool.fetchval("SELECT count(*) = 0 FROM outbox"))
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


def _events(records: list[Any]) -> list[dict[str, Any]]:
    return [orjson.loads(record.value) for record in records]


@_EITHER
async def test_each_event_comes_once_in_the_order_of_the_timeline(
    bench: Bench, outside: Reader, topics: str, version: OcsfVersion
) -> None:
    incidents = {str(uuid.uuid4()): "acme-kk", str(uuid.uuid4()): "beta-gk"}
    for incident, organisation in incidents.items():
        await _story(bench, incident, organisation)
    await _feed(bench, topics, version)
    told = _events(await outside.until(2 * (len(_FROM_LOG) + 1), *incidents))
    assert [problem for event in told for problem in problems(event, version)] == []
    for incident, organisation in incidents.items():
        of_one = [event for event in told if event["metadata"]["correlation_uid"] == incident]
        assert [event["metadata"]["event_code"] for event in of_one] == [*_FROM_LOG, "IncidentClosed"]
        assert [event["metadata"]["sequence"] for event in of_one] == list(range(len(_FROM_LOG) + 1))
        assert {event["metadata"]["tenant_uid"] for event in of_one} == {organisation}
        stored = {
            row["event_id"]: row["leaf_hash"].hex() for row in await bench.entries() if row["subject"] == incident
        }
        assert {event["metadata"]["uid"]: event["unmapped"]["log_leaf"] for event in of_one} == {
            event_id: leaf for event_id, leaf in stored.items() if event_id is not None
        }


async def test_what_is_fed_twice_is_the_same_to_the_byte(bench: Bench, outside: Reader, topics: str) -> None:
    incident = str(uuid.uuid4())
    await _story(bench, incident, "acme-kk")
    await _feed(bench, topics)
    await bench.pool.execute("UPDATE feed SET next_seq = 0")
    await _feed(bench, topics)
    records = await outside.until(2 * (len(_FROM_LOG) + 1), incident)
    half = len(records) // 2
    assert [record.value for record in records[:half]] == [record.value for record in records[half:]]


@_EITHER
async def test_the_replay_gives_the_bytes_that_the_feed_gave(
    bench: Bench, outside: Reader, topics: str, version: OcsfVersion
) -> None:
    incident = str(uuid.uuid4())
    await _story(bench, incident, "acme-kk")
    await _feed(bench, topics, version)
    await _relayed(bench, topics)
    fed = await outside.until(len(_FROM_LOG) + 2, incident)
    async with bench.pool.acquire() as connection:
        again = [record async for record in from_timeline(connection, version)]
        own = from_own_topics(KafkaConnection(topics), connection, bench.keyring, version)
        again += [record async for record in own if record.key == incident.encode()]
    mine = [record for record in again if record.key == incident.encode()]
    # The seal's event goes its own way, through the outbox: everything else is in one order.
    assert sorted(record.value for record in fed) == sorted(record.value or b"" for record in mine)
    sealed = [event for event in _events(fed) if event["metadata"]["event_code"] == "TimelineSealed"]
    assert [event["metadata"]["sequence"] for event in sealed] == [len(_FROM_LOG) + 1]
    codes = [event["metadata"]["event_code"] for event in _events(again)]
    assert codes.count("RecordUnverified") == 1


async def test_the_chain_of_a_story_closes_over_its_seal(bench: Bench, outside: Reader, topics: str) -> None:
    """What a SIEM does with 1.9.0: sort by place, and hold each event against the one before."""
    bench.timeline = Timeline(LeafBuilder(BLINDING), ocsf=OcsfVersion.V1_9)
    incident = str(uuid.uuid4())
    await _story(bench, incident, "acme-kk")
    await bench.record(bench.writers.record("IncidentReopened", incident))
    await _feed(bench, topics, OcsfVersion.V1_9)
    await _relayed(bench, topics)
    told = _events(await outside.until(len(_FROM_LOG) + 3, incident))
    chain = sorted((event for event in told if _attested(event)), key=lambda event: event["metadata"]["sequence"])
    assert [event["metadata"]["event_code"] for event in chain[-3:]] == [
        "IncidentClosed",
        "TimelineSealed",
        "IncidentReopened",
    ]
    assert [event["metadata"]["sequence"] for event in chain] == list(range(len(_FROM_LOG) + 3))
    assert "prev_event" not in _attested(chain[0])
    for event, after in pairwise(chain):
        assert _attested(after)["prev_event"]["fingerprint"] == _attested(event)["fingerprint"]
        assert _attested(after)["chain_uid"] == incident
    stored = [row["leaf_hash"].hex() for row in await bench.entries() if row["subject"] == incident]
    assert [_attested(event)["fingerprint"]["value"] for event in chain] == stored


def _attested(event: dict[str, Any]) -> dict[str, Any]:
    """What the timeline vouches for; nothing for what is not in it."""
    (attested,) = event.get("attestation_list", [{}])
    return attested


async def test_the_replay_begins_where_it_is_told_to(bench: Bench) -> None:
    incident = str(uuid.uuid4())
    await bench.record(*(bench.writers.record("DeviceLocked", incident) for _ in range(5)))
    async with bench.pool.acquire() as connection:
        everything = [record async for record in from_timeline(connection, OcsfVersion.V1_8)]
        third = _logged(everything[2])
        assert [record async for record in from_timeline(connection, OcsfVersion.V1_8, third)] == everything[2:]


def _logged(record: OutgoingRecord) -> datetime:
    return datetime.fromtimestamp(orjson.loads(record.value or b"")["metadata"]["logged_time"] / 1000, UTC)


async def _command(bench: Bench, bootstrap: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    told = {
        **os.environ,
        "LOSTPHONE_POSTGRES_DSN": bench.dsn,
        "LOSTPHONE_KAFKA_BOOTSTRAP": bootstrap,
        "LOSTPHONE_EVENT_KEYS_FILE": str(bench.writers.keys_file),
        "LOSTPHONE_LANG": "en",
    }
    command = [sys.executable, "-m", "lostphone", "ops", "ocsf", "replay", *arguments]
    return await asyncio.to_thread(subprocess.run, command, env=told, capture_output=True, timeout=90, check=False)


@_EITHER
async def test_the_command_prints_counts_and_sends(
    bench: Bench, outside: Reader, topics: str, version: OcsfVersion
) -> None:
    incident = str(uuid.uuid4())
    await _story(bench, incident, "acme-kk")
    await _feed(bench, topics, version)
    fed = await outside.until(len(_FROM_LOG) + 1, incident)
    told = ("--ocsf-version", version) if version is not OcsfVersion.V1_8 else ()
    printed = await _command(bench, topics, "--stdout", *told)
    assert printed.returncode == 0, printed.stderr
    lines = [line for line in printed.stdout.splitlines() if incident.encode() in line]
    assert lines == [record.value for record in fed]
    counted = await _command(bench, topics, "--dry-run", "--json")
    said = orjson.loads(counted.stdout)
    assert (said["sent"], said["by_event"]["DeviceLost"]) == (False, 1)
    assert said["events"] == len(printed.stdout.splitlines())
    sent = await _command(bench, topics, "--json", *told)
    assert orjson.loads(sent.stdout)["events"] == said["events"]
    again = await outside.until(len(_FROM_LOG) + 1, incident)
    assert [record.value for record in again] == [record.value for record in fed]


async def test_the_command_says_what_it_could_not_reach(bench: Bench, topics: str) -> None:
    answer = await _command(bench, topics, "--dsn", "postgresql://audit@127.0.0.1:1/postgres", "--dry-run")
    assert answer.returncode == 2
    assert b"It could not be finished" in answer.stderr
    assert b"Traceback" not in answer.stderr


async def test_the_feed_never_writes_to_the_timeline(bench: Bench) -> None:
    await bench.record(bench.writers.record("DeviceLocked", str(uuid.uuid4())))
    async with bench.pool.acquire() as connection, connection.transaction(readonly=True):
        assert [record async for record in from_timeline(connection, OcsfVersion.V1_8)]
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("UPDATE feed SET next_seq = 0")
