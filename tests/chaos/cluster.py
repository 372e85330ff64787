"""Three brokers, of which one dies under load: what was committed is in the log, once in effect, in its order."""

import asyncio
import json
import secrets
import subprocess
import time
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import shared.messaging
from lostphone.embedded import Child, EmbeddedError, EmbeddedPostgres, jars, tools_folder
from lostphone.embedded.java import find_java
from lostphone.embedded.kafka import LOG_TO_CONSOLE, _cluster_id
from lostphone.embedded.kafka_properties import Plaintext, as_text, broker_properties
from lostphone.embedded.ports import LOOPBACK, Claims
from shared.events import KeyRing, Reading, Signer
from shared.events.reporter import IncidentCancelled
from shared.events.signing import key_id
from shared.messaging import Scope, Unit, Units, hear
from shared.messaging.consumer import Consumer
from shared.messaging.dead_letter import DeadLetters, dead_letter_topic
from shared.messaging.heard import Verdict
from shared.messaging.kafka import KafkaConnection, Producer
from shared.messaging.relay import Relay
from shared.postgres import connect, migrate
from shared.telemetry import Health
from tests.chaos.checks import records
from tests.chaos.people import until_true

_NODES = (1, 2, 3)
_UP_WITHIN = 300.0
_KIT = Path(shared.messaging.__file__ or "").parent / "migrations"
_SHORT = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.fetch.timeout.ms": "2000",
    "controller.quorum.election.timeout.ms": "1000",
}
_THREE = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}


class Cluster:
    """Three combined brokers and controllers on loopback, every topic three times, two of which must have a record."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        names = [f"{kind}{node}" for node in _NODES for kind in ("client", "controller")]
        self._claims = Claims()
        self._ports = self._claims.settle({}, names)
        self._children = {node: Child(folder / str(node), "kafka") for node in _NODES}

    @property
    def bootstrap(self) -> str:
        return ",".join(f"{LOOPBACK}:{self._ports[f'client{node}']}" for node in _NODES)

    def start(self) -> None:
        """All three, ready when each sees the others."""
        cluster = _cluster_id()
        with ThreadPoolExecutor(len(_NODES)) as pool:
            list(pool.map(lambda node: self._format(node, cluster), _NODES))
        for node in _NODES:
            self.start_one(node)
        self.await_brokers(len(_NODES))

    def start_one(self, node: int) -> None:
        configuration = self._folder / str(node) / "server.properties"
        log4j = f"-Dlog4j2.configurationFile={configuration.with_name('log4j2.properties')}"
        self._children[node].start([*_java(), log4j, "kafka.Kafka", configuration])

    def kill(self, node: int) -> None:
        self._children[node].kill()

    def stop(self) -> None:
        for child in self._children.values():
            child.kill()

    def await_brokers(self, count: int) -> None:
        deadline = time.monotonic() + _UP_WITHIN
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 500})
        while time.monotonic() < deadline:
            try:
                if len(admin.list_topics(timeout=5).brokers) == count:
                    return
            except Exception:  # noqa: BLE001, S110 - it is not up yet
                pass
            time.sleep(0.2)
        raise EmbeddedError(f"{count} brokers did not come up: {self._children[1].last_words()}")

    def create(self, topic: str, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for made in admin.create_topics([NewTopic(topic, partitions, 3)]).values():
            made.result(60)

    def _format(self, node: int, cluster: str) -> None:
        folder = self._folder / str(node)
        folder.mkdir(parents=True)
        client, controller = self._ports[f"client{node}"], self._ports[f"controller{node}"]
        voters = ",".join(f"{at}@{LOOPBACK}:{self._ports[f'controller{at}']}" for at in _NODES)
        properties = broker_properties(folder / "data", client, controller, Plaintext())
        properties |= {"node.id": str(node), "controller.quorum.voters": voters, **_THREE, **_SHORT}
        configuration = folder / "server.properties"
        configuration.write_text(as_text(properties))
        (folder / "log4j2.properties").write_text(LOG_TO_CONSOLE)
        command = [*_java(), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", configuration]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EmbeddedError(f"broker {node} could not be formatted: {done.stdout[-300:]}{done.stderr[-300:]}")


def _java() -> list[Any]:
    java, class_path = find_java(), jars.class_path()
    return list(java.command(class_path, tools_folder() / java.archive_name(class_path)))


# -- a service that speaks and one that hears --------------------------------------------------------------------------


class _Seen:
    """Keeps every event that it hears for the first time."""

    async def take(self, unit: Unit, readings: Sequence[Reading]) -> None:
        events = [reading for reading in readings if hasattr(reading, "envelope")]
        for event, verdict in zip(events, await hear(unit, events), strict=True):  # type: ignore[arg-type]
            if verdict is Verdict.NEXT:
                await unit.connection.execute("INSERT INTO seen VALUES ($1)", event.envelope.id)  # type: ignore[union-attr]


@dataclass
class _Load:
    """Events that were committed, by subject, in their order."""

    units: Units
    committed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    async def run(self, stop: asyncio.Event, pause: float) -> None:
        """Commit a few events at a time, as services do, until told to stop."""
        subjects = [f"0192f0c1-0000-7000-8000-{at:012d}" for at in range(24)]
        at = 0
        while not stop.is_set():
            subject = subjects[at % len(subjects)]
            async with self.units.begin() as unit:
                await unit.lock(subject)
                ids = [
                    await unit.emit(
                        IncidentCancelled(reason="load"), Scope(subject, "acme-kk"), actor="service/reporter"
                    )
                    for _ in range(3)
                ]
            self.committed[subject] += ids
            at += 1
            await asyncio.sleep(pause)

    def count(self) -> int:
        return sum(len(ids) for ids in self.committed.values())


@asynccontextmanager
async def _database(superuser: str) -> AsyncIterator[str]:
    name = f"cluster_{secrets.token_hex(4)}"
    server = await asyncpg.connect(superuser)
    await server.execute(f"CREATE DATABASE {name}")
    dsn = f"{superuser.rpartition('/')[0]}/{name}"
    inside = await asyncpg.connect(dsn)
    for schema in ("reporter", "notifier"):
        await inside.execute(f"CREATE SCHEMA {schema}")
        await migrate(dsn, schema, _KIT)
    await inside.execute("CREATE TABLE notifier.seen (event_id text PRIMARY KEY)")
    await inside.close()
    try:
        yield dsn
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


async def one_of_three_killed(folder: Path, *, seconds: float, superuser: str | None = None) -> dict[str, Any]:
    """Speak and hear through three brokers for so long; one is killed after a third of it, and comes back after two."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    postgres = EmbeddedPostgres(folder / "postgres") if superuser is None else None
    cluster = Cluster(folder / "kafka")
    try:
        dsn = superuser or (await asyncio.to_thread(postgres.start) if postgres is not None else "")
        await asyncio.to_thread(cluster.start)
        async with _database(dsn) as inside:
            return await _through(cluster, inside, folder, seconds)
    finally:
        cluster.stop()
        if postgres is not None:
            postgres.kill()


async def _through(cluster: Cluster, dsn: str, folder: Path, seconds: float) -> dict[str, Any]:
    topic = "lostphone.test.cluster"
    cluster.create(topic, 6)
    cluster.create(dead_letter_topic("notifier"), 1)
    key = Ed25519PrivateKey.generate()
    keys = folder / "event-keys.json"
    public = b64encode(key.public_key().public_bytes_raw()).decode()
    keys.write_text(json.dumps({key_id("reporter", key.public_key()): {"service": "reporter", "public_key": public}}))
    connection, health = KafkaConnection(cluster.bootstrap), Health()
    speaking, hearing = await connect(dsn, "reporter", max_size=4), await connect(dsn, "notifier", max_size=4)
    load = _Load(Units(speaking, Signer("reporter", key), log_topic=topic))
    relay = Relay(dsn, "reporter", Producer(connection, "cluster-relay"), load.units.in_hand, health)
    dead = Producer(connection, "cluster-dead-letters")
    units = Units(hearing, Signer("notifier", Ed25519PrivateKey.generate()), log_topic=topic)
    letters = DeadLetters("notifier", dead)
    consumer = Consumer(
        "notifier", connection, units, KeyRing(keys), _Seen(), dead_letters=letters, health=health, topic=topic
    )
    await consumer.start()
    stop = asyncio.Event()
    tasks = [asyncio.create_task(relay.run()), asyncio.create_task(load.run(stop, pause=0.02))]
    killed = secrets.choice(_NODES)
    try:
        await asyncio.sleep(seconds / 3)
        await asyncio.to_thread(cluster.kill, killed)
        await asyncio.sleep(seconds / 3)
        await asyncio.to_thread(cluster.start_one, killed)
        await asyncio.sleep(seconds / 3)
        stop.set()
        await tasks[1]
        began = time.monotonic()

        async def all_heard() -> bool:
            left = await speaking.fetchval("SELECT count(*) FROM outbox")
            return not left and await hearing.fetchval("SELECT count(*) FROM seen") >= load.count()

        await until_true(all_heard, "every event to be heard", time.monotonic() + _UP_WITHIN)
        settled = time.monotonic() - began
        seen = {row["event_id"] for row in await hearing.fetch("SELECT event_id FROM seen")}
    finally:
        stop.set()
        await consumer.stop()
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await dead.close()
        await speaking.close()
        await hearing.close()
    wrong = _wrong(cluster, topic, load, seen)
    return {"events": load.count(), "killed": killed, "settled_after": round(settled, 1), **wrong}


def _wrong(cluster: Cluster, topic: str, load: _Load, seen: set[str]) -> dict[str, Any]:
    first: dict[str, list[str]] = defaultdict(list)
    times = Counter[str]()
    for record in records(cluster.bootstrap, topic):
        headers = {name: (value or b"").decode() for name, value in record.headers() or ()}
        times[headers["ce_id"]] += 1
        if times[headers["ce_id"]] == 1:
            first[headers["ce_subject"]].append(headers["ce_id"])
    wrong = [
        f"{subject}: the log has {len(first[subject])} of {len(ids)} events, or another order"
        for subject, ids in load.committed.items()
        if first[subject] != ids
    ]
    if seen != set(times):
        wrong.append(f"{len(set(times) - seen)} events of the log were not heard")
    if parked := records(cluster.bootstrap, dead_letter_topic("notifier")):
        wrong.append(f"{len(parked)} records were parked")
    return {"sent_twice": sum(times.values()) - len(times), "wrong": wrong}
