"""Offsets set back, the log replayed, a batch sent twice: nothing may change, inside or outside. And the timeline built
again from the log must be the timeline."""

import asyncio
import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

import services.audit
import shared.messaging
from lostphone.installation import SERVICES
from lostphone.log_keys import LOG_ORIGIN
from lostphone.supervisor import stop_all
from services.audit.domain.leaf import Kind, LeafBuilder
from services.audit.feeds.feeder import READ, outward
from services.audit.feeds.ocsf_versions import OcsfVersion
from services.audit.settings import Settings
from services.audit.timeline import Timeline
from shared.events import LOG_TOPIC, TIMELINE_TOPIC, KeyRing, Signer, read
from shared.messaging import Units
from shared.messaging.kafka import KafkaConnection, OutgoingRecord, Producer
from shared.postgres import connect, migrate
from tests.chaos.checks import log_ends, received, records, until_quiet
from tests.chaos.world import RELAY, World

_TWICE = 200
"""So many of the last records are sent once more."""
_BOOKKEEPING = frozenset({"position", "timer", "outbox", "migration", "clock", "feed"})
_AUDIT_GROWS = frozenset({"entry", "tile", "log_state", "followed", "checkpoint", "stream"})
_PARTS = ("carrier", "entra", "mail", "line", "alerts", "phones")
_REBUILT = "rebuilt"
_BATCH = 100


@dataclass(frozen=True)
class Picture:
    """Everything that must not move."""

    tables: dict[str, str]
    """Table → hash of its rows."""
    outside: dict[str, int]
    """Part of the sandbox → calls that it received, but for those that only ask: services look whether it is there."""
    topics: dict[str, int]
    """Topic → records, of those that hold events and dead letters."""
    chains: str
    """Hash of every entry of the timeline that stands in a chain."""

    def differences(self, other: "Picture") -> list[str]:
        found = []
        for name in ("tables", "outside", "topics"):
            before, after = getattr(self, name), getattr(other, name)
            found += [
                f"{name}: {key} was {before.get(key)}, is {after.get(key)}"
                for key in sorted({*before, *after})
                if before.get(key) != after.get(key)
            ]
        return found if self.chains == other.chains else [*found, "the chains of the timeline are others"]


async def picture(world: World) -> Picture:
    connection = await world.database()
    try:
        tables = {}
        rows = await connection.fetch(
            "SELECT table_schema AS schema, table_name AS name FROM information_schema.tables "
            "WHERE table_schema = ANY($1) AND table_type = 'BASE TABLE'",
            [*SERVICES, "vault"],
        )
        for schema, name in ((row["schema"], row["name"]) for row in rows):
            if name in _BOOKKEEPING or (schema == "audit" and name in _AUDIT_GROWS):
                continue
            lines = "coalesce(string_agg(row::text, E'\\n' ORDER BY row::text), '')"
            tables[f"{schema}.{name}"] = await connection.fetchval(f"SELECT md5({lines}) FROM {schema}.{name} AS row")
        chains = await connection.fetchval(
            "SELECT md5(string_agg(e::text, E'\\n' ORDER BY e.seq)) FROM audit.entry AS e WHERE subject IS NOT NULL"
        )
    finally:
        await connection.close()
    events = [topic for topic in world.topics() if topic not in (LOG_TOPIC, TIMELINE_TOPIC, "lostphone.ocsf.v1")]
    return Picture(
        tables,
        {part: sum(map(_acts, world.journal(part))) for part in _PARTS},
        {topic: sum(log_ends(world.bootstrap, topic).values()) for topic in events},
        chains,
    )


def _acts(call: dict[str, Any]) -> bool:
    """Whether a call to the outside is more than a question or a sign-in."""
    return call["method"] != "GET" and not call["path"].endswith(("/auth", "/token"))


async def check_replay(world: World, within: float) -> list[str]:
    """Stop the services, set every offset back, send a batch twice, start them again; what changed."""
    await until_quiet(world, time.monotonic() + within)
    before = await picture(world)
    names = [*SERVICES, RELAY]
    await asyncio.to_thread(stop_all, [world.parts[name] for name in names])
    ends = log_ends(world.bootstrap)
    _set_back(world, ends)
    connection = await world.database()
    try:
        for service in SERVICES:
            await connection.execute(f"UPDATE {service}.position SET next_offset = 0")
    finally:
        await connection.close()
    twice = records(world.bootstrap, LOG_TOPIC)[-_TWICE:]
    await _send(world, [OutgoingRecord(LOG_TOPIC, one.key(), one.headers() or (), one.value()) for one in twice])
    for name in names:
        await asyncio.to_thread(world.restart, name)
    await asyncio.to_thread(world.await_ready)
    await until_quiet(world, time.monotonic() + within)
    wrong = before.differences(await picture(world))
    again = sum(log_ends(world.bootstrap).values()) - sum(ends.values())
    if again != len(twice):
        wrong.append(f"the log grew by {again} records, not by the {len(twice)} that were sent twice")
    return [f"replay: {what}" for what in wrong]


def _set_back(world: World, ends: dict[int, int]) -> None:
    """Kafka's own offsets of all groups to the beginning, as an operator's tool does it."""
    admin = AdminClient({"bootstrap.servers": world.bootstrap})
    for group in SERVICES:
        places = [TopicPartition(LOG_TOPIC, partition, 0) for partition in ends]
        (done,) = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]).values()
        done.result(30)


async def _send(world: World, again: list[OutgoingRecord]) -> None:
    producer = Producer(KafkaConnection(world.bootstrap), "chaos-twice")
    try:
        assert not any(await producer.send(again))
    finally:
        await producer.close()


# -- built again -------------------------------------------------------------------------------------------------------


async def check_rebuilt(world: World) -> list[str]:
    """Record the whole log into a fresh schema, in the order that the timeline's topic tells, and compare."""
    server = await world.database("postgres")
    try:
        await server.execute(f"DROP DATABASE IF EXISTS {_REBUILT} WITH (FORCE)")
        await server.execute(f"CREATE DATABASE {_REBUILT}")
    finally:
        await server.close()
    dsn = world.superuser(_REBUILT)
    inside = await asyncpg.connect(dsn)
    await inside.execute("CREATE SCHEMA audit")
    await inside.close()
    kit, own = (Path(module.__file__ or "").parent / "migrations" for module in (shared.messaging, services.audit))
    await migrate(dsn, "audit", kit, own)
    pool = await connect(dsn, "audit", max_size=2)
    original = await connect(world.superuser(), "audit", max_size=2)
    try:
        await _record(world, pool)
        return [f"rebuilt: {what}" for what in await _compare(world, original, pool)]
    finally:
        await pool.close()
        await original.close()


async def _record(world: World, pool: asyncpg.Pool) -> None:
    keys = world.installation
    log = {(one.topic(), one.partition(), one.offset()): received(one) for one in records(world.bootstrap, LOG_TOPIC)}
    keyring = KeyRing(keys.event_keys_file)
    ordered = [read(log[place], keyring) for place in _order(world)]
    assert len(ordered) == len(log), "the timeline's topic does not name every record of the log"
    told = Settings.model_construct(blinding_key_file=keys.key_file("audit", "blinding.key"))
    sink = Timeline(LeafBuilder(told.blinding_key()))
    units = Units(pool, Signer.from_pem("audit", keys.key_file("audit", "event-signing.pem")))
    for at in range(0, len(ordered), _BATCH):
        async with units.begin() as unit:
            await sink.take(unit, ordered[at : at + _BATCH])


def _order(world: World) -> list[tuple[str, int, int]]:
    """Where each entry that is a record of the log lies in it, in the order of the timeline."""
    entries = {}
    for one in records(world.bootstrap, TIMELINE_TOPIC):
        said = json.loads(one.value())
        entries[said["seq"]] = said  # the feeder may have told one twice
    assert sorted(entries) == list(range(len(entries))), "the timeline's topic has a hole"
    return [
        (said["topic"], said["partition"], said["offset"])
        for _, said in sorted(entries.items())
        if said.get("topic") is not None and said["kind"] != Kind.GAP
    ]


_ROWS = """
SELECT e.seq, e.kind, e.leaf_hash, e.leaf, e.detached, s.topic, s.partition, e.kafka_offset, e.subject, e.n,
    e.organisation, e.source, e.event_id, e.event_type
FROM entry e LEFT JOIN stream s ON s.id = e.stream_id ORDER BY e.seq
"""
_SAME = {
    "entries": _ROWS,
    "tiles": "SELECT level, idx, hashes, root FROM tile ORDER BY level, idx",
    "tree": "SELECT size, root FROM log_state",
    "detached parts": "SELECT sha256, data FROM detached ORDER BY sha256",
}


async def _compare(world: World, original: asyncpg.Pool, rebuilt: asyncpg.Pool) -> list[str]:
    wrong = []
    for name, query in _SAME.items():
        one, other = [[tuple(row) for row in await pool.fetch(query)] for pool in (original, rebuilt)]
        if one != other:
            first = next(
                (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
            )
            wrong.append(f"{name} differ: {len(one)} and {len(other)}, first at {first}")
    outside = [
        [
            _bytes(record)
            for row in await pool.fetch(READ, 0, 10**9)
            for record in outward(row, LOG_ORIGIN, OcsfVersion.V1_8)
        ]
        for pool in (original, rebuilt)
    ]
    if outside[0] != outside[1]:
        wrong.append("what goes to the outward topics differs")
    wanted = {topic for topic, *_ in outside[1]}
    there = Counter(
        _bytes(OutgoingRecord(one.topic(), one.key(), one.headers() or (), one.value()))
        for one in records(world.bootstrap, *sorted(wanted))
        if not _said_by_audit(one.value())
    )
    if missing := set(outside[1]) - set(there):
        wrong.append(f"{len(missing)} records are missing in the outward topics, such as {min(missing)[:2]}")
    if strange := set(there) - set(outside[1]):
        wrong.append(f"{len(strange)} records in the outward topics are not in the log, such as {min(strange)[:2]}")
    return wrong


def _bytes(record: OutgoingRecord) -> tuple[str, str, str]:
    """Topic, key and a hash of everything in a record, byte for byte."""
    whole = hashlib.sha256()
    for name, value in record.headers:
        whole.update(repr((name, value)).encode())
    whole.update(repr(record.value).encode())
    return record.topic, repr(record.key), whole.hexdigest()


def _said_by_audit(value: bytes) -> bool:
    """Whether the SIEM is told of what the audit service says itself, by its own clock: that is not in the log."""
    said = json.loads(value)
    return said.get("metadata", {}).get("event_code") in ("TimelineSealed", "IntegrityFinding")
