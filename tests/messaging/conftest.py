"""A database with the kit's tables for two services, a topic of its own, and keys."""

import asyncio
import json
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Producer as OtherProducer
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.events import KeyRing, Received, Signer
from shared.events.payload import Payload
from shared.events.signing import key_id
from shared.messaging import Scope, Units
from shared.messaging.consumer import Consumer
from shared.messaging.dead_letter import DeadLetters, ParkingLimit, dead_letter_topic
from shared.messaging.kafka import KafkaConnection, OutgoingRecord, Producer
from shared.messaging.relay import Relay
from shared.messaging.taking import Sink
from shared.postgres import connect, migrate
from shared.telemetry import Health

_KIT = Path(__file__).parents[2] / "shared" / "messaging" / "migrations"
_SERVICES = ("reporter", "notifier")


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 60) -> None:
    """Wait for a condition; fail with `what` when it does not come true in time."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():  # noqa: ASYNC110 - conditions lie in the database and the broker
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {seconds} s: {what}")


@dataclass
class Bus:
    """One topic on the real broker, one real database, and the services `reporter` (speaks) and `notifier` (hears)."""

    bootstrap: str
    dsn: str
    topic: str
    keys: dict[str, Ed25519PrivateKey]
    keyring: KeyRing
    pools: dict[str, asyncpg.Pool]

    def __post_init__(self) -> None:
        self.connection = KafkaConnection(self.bootstrap)
        self.speaker = self.units("reporter")
        self.hearer = self.units("notifier")
        self.health = Health()
        self.redrive_topic = f"{self.topic}.redrive"

    def units(self, service: str) -> Units:
        return Units(self.pools[service], Signer(service, self.keys[service]), log_topic=self.topic)

    async def say(self, *payloads: Payload, subject: str, organisation: str = "acme-kk") -> list[str]:
        async with self.speaker.begin() as unit:
            scope = Scope(subject, organisation)
            return [await unit.emit(payload, scope, actor="service/reporter") for payload in payloads]

    async def put(self, *records: OutgoingRecord) -> None:
        """Write records past the outbox, as somebody else with access to the topic would."""
        producer = Producer(self.connection, "stranger")
        try:
            assert not any(await producer.send(records))
        finally:
            await producer.close()

    def transactions(self) -> OtherProducer:
        """Somebody else with access to the topic, who writes in transactions; a key goes where ours would."""
        settings = {"bootstrap.servers": self.bootstrap, "transactional.id": self.topic, "log_level": 0}
        producer = OtherProducer(settings | {"partitioner": "murmur2"})
        producer.init_transactions()
        return producer

    @asynccontextmanager
    async def relaying(self, service: str = "reporter") -> AsyncIterator[Relay]:
        relay = Relay(
            self.dsn, service, Producer(self.connection, f"relay-{service}"), self.speaker.in_hand, self.health
        )
        task = asyncio.create_task(relay.run())
        try:
            yield relay
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def hearing(
        self,
        sink: Sink,
        *,
        limit: ParkingLimit | None = None,
        service: str = "notifier",
        redrive: bool = False,
        parking: KafkaConnection | None = None,
    ) -> AsyncIterator[Consumer]:
        """`parking`: another broker for what is parked."""
        producer = Producer(parking or self.connection, f"dead-letters-{service}")
        consumer = Consumer(
            service,
            self.connection,
            self.units(service),
            self.keyring,
            sink,
            dead_letters=DeadLetters(service, producer),
            health=self.health,
            topic=self.topic,
            redrive_topic=self.redrive_topic if redrive else None,
            group=f"{service}.{self.topic}",
            limit=limit,
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()
            await producer.close()

    async def position(self, service: str = "notifier") -> int:
        return await self.pools[service].fetchval("SELECT coalesce(sum(next_offset), 0)::bigint FROM position") or 0


async def all_records(bus: Bus) -> list[Received]:
    """What lies in the topic, in the order of each partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bus.bootstrap)
    await consumer.start()
    try:
        places = [TopicPartition(bus.topic, partition) for partition in range(3)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        found: list[Received] = []
        while len(found) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(
                    Received(r.topic, r.partition, r.offset, r.timestamp, r.key, tuple(r.headers), r.value)
                    for r in records
                )
        return found
    finally:
        await consumer.stop()


@pytest.fixture
async def bus(kafka: str, postgres: str, tmp_path: Path) -> AsyncIterator[Bus]:
    name = f"messaging_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(postgres)
    await admin.execute(f"CREATE DATABASE {name}")
    dsn = postgres.rsplit("/", 1)[0] + f"/{name}"
    setup = await asyncpg.connect(dsn)
    for service in _SERVICES:
        await setup.execute(f"CREATE SCHEMA {service}")
        await migrate(dsn, service, _KIT)
    await setup.close()
    keys = {service: Ed25519PrivateKey.generate() for service in ("reporter", "notifier", "mdm_actions")}
    keys_file = tmp_path / "event-keys.json"
    keys_file.write_text(
        json.dumps(
            {
                key_id(service, key.public_key()): {
                    "service": service,
                    "public_key": b64encode(key.public_key().public_bytes_raw()).decode(),
                }
                for service, key in keys.items()
            }
        )
    )
    topic = f"test.{name}"
    create_topics(kafka, topic, f"{topic}.redrive", dead_letter_topic("notifier"))
    pools = {service: await connect(dsn, service, max_size=5) for service in _SERVICES}
    try:
        yield Bus(kafka, dsn, topic, keys, KeyRing(keys_file), pools)
    finally:
        for pool in pools.values():
            await pool.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()
        broker = AdminClient({"bootstrap.servers": kafka})
        for deleted in broker.delete_topics([topic, f"{topic}.redrive"]).values():
            deleted.result(10)


def create_topics(bootstrap: str, *topics: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    there = admin.list_topics(timeout=10).topics
    wanted = [NewTopic(topic, num_partitions=3, replication_factor=1) for topic in topics if topic not in there]
    if wanted:
        for created in admin.create_topics(wanted).values():
            try:
                created.result(10)
            except KafkaException as error:
                # All workers share the dead-letter topic, and another may have made it meanwhile.
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise


@pytest.fixture
def incident() -> str:
    return f"0192f0c1-0000-7000-8000-{secrets.token_hex(6)}"
