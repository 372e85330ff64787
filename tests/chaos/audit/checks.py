"""What must be true once all is quiet: nothing twice, nothing missing, one history in every checkpoint ever signed."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import asyncpg
import orjson
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import Message, TopicPartition

from lostphone.verify import HttpSource, Outcome, run
from services.audit.feeds.feeder import READ, outward
from services.audit.feeds.ocsf_versions import OcsfVersion
from services.audit.tlog import Checkpoint, SignedNote
from shared.events import TIMELINE_TOPIC
from shared.events.contracts.topics import OCSF_TOPIC
from shared.events.contracts.topics import topics as registered
from tests.audit.conftest import LOG_KEYS, ORIGIN
from tests.chaos.audit.ground import Ground, newest
from tests.chaos.audit.load import Load
from tests.chaos.ends import end_of

_SECONDS = 30.0
_ALL = 2**31 - 1


async def still_moving(place: Ground) -> str | None:
    """What is not at its end yet: the writer, the publisher or the feeder."""
    ends = await asyncio.to_thread(_ends, place.bootstrap, [place.topic])
    connection = await asyncpg.connect(place.superuser, timeout=10)
    try:
        rows = await connection.fetch("SELECT partition, next_offset FROM audit.position WHERE topic = $1", place.topic)
        taken = {row["partition"]: row["next_offset"] for row in rows}
        if any(end and taken.get(at, 0) < end for (_, at), end in ends.items()):
            return f"the writer: {taken} of {ends}"
        size = await connection.fetchval("SELECT size FROM audit.log_state")
        if (fed := await connection.fetchval("SELECT next_seq FROM audit.feed")) < size:
            return f"the feeder: {fed} of {size}"
    finally:
        await connection.close()
    note = await newest(place)
    return None if note is not None and Checkpoint.parse(note.text).size == size else f"the publisher, before {size}"


async def takeovers(place: Ground) -> int:
    """How often the log went on under another writer than before."""
    connection = await asyncpg.connect(place.superuser, timeout=10)
    try:
        return int(await connection.fetchval("SELECT epoch FROM audit.log_state"))
    finally:
        await connection.close()


async def check(place: Ground, load: Load, seen: Sequence[bytes], starts: dict[tuple[str, int], int]) -> list[str]:
    """Sentences about what is wrong. `seen`: every checkpoint that was served or cosigned; `starts`: where each outward
    topic ended before the run."""
    wrong = await _check_proofs(place, seen)
    connection = await asyncpg.connect(place.superuser, timeout=10)
    try:
        await connection.execute("SET search_path TO audit")
        log = await asyncio.to_thread(_read, place.bootstrap, [place.topic], {})
        wrong += [*_check_entries(await _entries(connection), log, load)]
        wrong += [*_check_own(await _own(connection), load)]
        rows = await connection.fetch(READ, 0, _ALL)
    finally:
        await connection.close()
    outside = await asyncio.to_thread(_read, place.bootstrap, _outward_topics(), starts)
    return [*wrong, *_check_outward(rows, outside, load.subjects)]


async def _check_proofs(place: Ground, seen: Sequence[bytes]) -> list[str]:
    """`lostphone verify` with every checkpoint anybody ever saw: one history."""
    roots: dict[int, set[bytes]] = defaultdict(set)
    for note in seen:
        checkpoint = Checkpoint.parse(SignedNote.parse(note).text)
        roots[checkpoint.size].add(checkpoint.root)
    wrong = [f"{len(found)} roots were signed for size {size}" for size, found in roots.items() if len(found) > 1]
    keys = [key.verifier for key in LOG_KEYS]
    with HttpSource(str(place.told["public_url"]), await place.token()) as source:
        report = await asyncio.to_thread(run, source, keys, earlier=seen, keyring=place.writers.keyring())
    if report.outcome is not Outcome.PROVED:
        wrong += [f"{check.name}: {check.outcome} {check.detail.en}" for check in report.checks]
        wrong += [str(offence.document()) for offence in report.offences[:5]]
    (compared,) = [check.detail.en for check in report.checks if check.name == "consistency"] or [""]
    if str(len(seen)) not in compared.split():
        wrong.append(f"{len(seen)} checkpoints were seen, and verify compared: {compared}")
    return wrong


async def _entries(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return list(
        await connection.fetch(
            "SELECT seq, kind, event_id, partition, kafka_offset FROM entry JOIN stream ON stream.id = stream_id "
            "WHERE kafka_offset IS NOT NULL AND kind <> 'seal' ORDER BY seq"
        )
    )


def _check_entries(entries: Sequence[asyncpg.Record], log: Sequence[Message], load: Load) -> Iterator[str]:
    """Each record of Kafka is one entry, and each event is an event once."""
    in_kafka = Counter((record.partition(), record.offset()) for record in log)
    recorded = Counter((entry["partition"], entry["kafka_offset"]) for entry in entries)
    if in_kafka != recorded:
        yield f"Kafka has {len(in_kafka)} records; missing {in_kafka - recorded}, too many {recorded - in_kafka}"
    if len(log) < len(load.sent):
        yield f"{len(load.sent)} records were acknowledged, and Kafka has {len(log)}"
    events = Counter(entry["event_id"] for entry in entries if entry["kind"] == "event")
    if twice := [event_id for event_id, count in events.items() if count > 1]:
        yield f"{len(twice)} events were recorded twice, such as {twice[0]}"
    if set(events) != load.ids:
        yield f"{len(load.ids - set(events))} events are missing, {len(set(events) - load.ids)} were never sent"


async def _own(connection: asyncpg.Connection) -> dict[str, Counter[str]]:
    """By kind, what the log says about itself, and what it told of seals."""
    seals = await connection.fetch("SELECT subject FROM entry WHERE kind = 'seal'")
    indexes = await connection.fetchval("SELECT count(*) FROM entry WHERE kind = 'index'")
    made = await connection.fetchval("SELECT count(*) FROM index_made JOIN entry USING (seq) WHERE kind = 'index'")
    told = await connection.fetch("SELECT key FROM outbox WHERE topic = 'lostphone.timeline-sealed.v1'")
    return {
        "seal": Counter(row["subject"] for row in seals),
        "told": Counter(row["key"] for row in told),
        "index": Counter({"logged": indexes, "kept": made}),
    }


def _check_own(own: dict[str, Counter[str]], load: Load) -> Iterator[str]:
    once = Counter(load.closed)
    for kind in ("seal", "told"):
        if own[kind] != once:
            yield f"{kind}: {sum(own[kind].values())} of {len(once)} closed incidents"
    if not own["index"]["logged"] or own["index"]["logged"] != own["index"]["kept"]:
        yield f"indexes: {dict(own['index'])}"


def _check_outward(rows: Sequence[asyncpg.Record], outside: Sequence[Message], subjects: set[str]) -> Iterator[str]:
    """Every copy is there, under its id, and whatever came twice is the same to the byte."""
    wanted = {
        _identity(one.topic, one.key, one.value, one.headers): one
        for row in rows
        for one in outward(row, ORIGIN, OcsfVersion.V1_8)
    }
    found: Counter[tuple[str, bytes | None, str]] = Counter()
    for record in outside:
        identity = _identity(record.topic(), record.key(), record.value(), record.headers() or [])
        one = wanted.get(identity)
        if one is not None:
            found[identity] += 1
            if (record.value(), record.headers() or []) != (one.value, list(one.headers)):
                yield f"{record.topic()} {record.partition()}-{record.offset()} differs from what is recorded"
        elif (record.key() or b"").decode() in subjects:
            yield f"{record.topic()} {record.partition()}-{record.offset()} is nowhere in the log"
    if missing := wanted.keys() - found.keys():
        yield f"{len(missing)} of {len(wanted)} outward records are missing, such as {min(missing, key=str)}"


def _identity(
    topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
) -> tuple[str, bytes | None, str]:
    """By what an integrator knows a record again. With its key: others on the broker may give their events our ids."""
    if topic == TIMELINE_TOPIC:
        return topic, key, orjson.loads(value or b"")["leaf"]
    if topic == OCSF_TOPIC:
        # What others write there need not be OCSF.
        return topic, key, orjson.loads(value or b"").get("metadata", {}).get("uid", "")
    return topic, key, (dict(headers)["ce_id"] or b"").decode()


def _outward_topics() -> list[str]:
    return [topic.name for topic in registered() if topic.name.startswith("lostphone.") and "dead" not in topic.name]


def starts(bootstrap: str) -> dict[tuple[str, int], int]:
    """Where the outward topics end now: others may have written there before."""
    return _ends(bootstrap, _outward_topics())


def _consumer(bootstrap: str) -> KafkaConsumer:
    return KafkaConsumer({"bootstrap.servers": bootstrap, "group.id": "chaos-audit", "enable.auto.commit": False})


def _ends(bootstrap: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    consumer = _consumer(bootstrap)
    try:
        known = consumer.list_topics(timeout=_SECONDS).topics
        return {
            (topic, at): end_of(consumer, TopicPartition(topic, at))
            for topic in topics
            for at in known[topic].partitions
        }
    finally:
        consumer.close()


def _read(bootstrap: str, topics: Sequence[str], starts: dict[tuple[str, int], int]) -> list[Message]:
    """From `starts` up to the present ends."""
    ends = {place: end for place, end in _ends(bootstrap, topics).items() if end > starts.get(place, 0)}
    consumer = _consumer(bootstrap)
    found: list[Message] = []
    try:
        consumer.assign([TopicPartition(*place, starts.get(place, 0)) for place in ends])
        while ends:
            record = consumer.poll(_SECONDS)
            assert record is not None, "the broker went silent"
            assert record.error() is None, record.error()
            place = (record.topic(), record.partition())
            if place in ends:
                found.append(record)
                if record.offset() + 1 >= ends[place]:
                    del ends[place]
    finally:
        consumer.close()
    return found
