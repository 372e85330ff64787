"""Through one service without the others: events a second against the bare batch loop; commit to acknowledged."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import asyncpg
import orjson
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer as FastProducer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.signing import VerifyKey

from benchmarks import bare
from benchmarks.audit_append import BLINDING, followed
from benchmarks.figures import compared, latency, progress, say
from benchmarks.installed import Installed
from benchmarks.records import PARTITIONS, Records
from lostphone import database
from lostphone.installation import SERVICES
from services.audit.domain.leaf import LeafBuilder
from services.audit.store import NEXT_OFFSET
from services.audit.timeline import Timeline
from shared.events import Event, Signer, event_types
from shared.events.reporter import DeviceLost
from shared.messaging import Scope
from shared.messaging.consumer import Consumer
from shared.messaging.dead_letter import DeadLetters
from shared.messaging.dispatch import Dispatch
from shared.messaging.in_turn import TakesAtOnce
from shared.messaging.kafka import KafkaConnection, OutgoingRecord, Producer
from shared.messaging.relay import Relay
from shared.messaging.taking import Sink
from shared.messaging.unit import Unit, Units
from shared.postgres import connect
from shared.telemetry import Health

_DATABASE = "bench"
_TAKEN = "SELECT coalesce(sum(next_offset), 0) FROM position WHERE topic = $1"
_RECORDED = f"SELECT coalesce(sum(({NEXT_OFFSET})), 0) FROM stream WHERE topic = $1"  # noqa: S608
_KEEP = "INSERT INTO kept (id, body) VALUES ($1, $2)"


async def _prepared(installed: Installed) -> None:
    """A database with all schemas, which no service looks at; made once."""
    if await installed.query("postgres", "SELECT FROM pg_database WHERE datname = $1", _DATABASE):
        return
    passwords: dict[str, str] = {name: installed.passwords[name] for name in SERVICES}
    await database.prepare(installed.superuser(), _DATABASE, passwords)
    await database.migrate_all(installed.superuser(_DATABASE), SERVICES)
    connection = await asyncpg.connect(installed.superuser(_DATABASE))
    await connection.execute(bare.TABLES)
    await connection.execute("CREATE TABLE reporter.kept (id text PRIMARY KEY, body jsonb NOT NULL)")
    await connection.execute("GRANT INSERT, SELECT ON reporter.kept TO reporter")
    await connection.close()


async def events(installed: Installed, number: int, rounds: int) -> None:
    """Records that lie in a topic: audit's own sink, and a service whose handler keeps one row for each event, against
    the bare batch loop over the same topic, and against one that checks a signature of each record too."""
    progress(f"{number} events through one service …")
    await _prepared(installed)
    ours: dict[str, list[float]] = {"audit": [], "handlers": []}
    theirs: list[float] = []
    checking: list[float] = []
    bootstrap = installed.status.kafka.bootstrap
    for _ in range(rounds):
        topic = f"bench.{secrets.token_hex(4)}"
        records = Records()
        public = VerifyKey(records.private_key().public_key().public_bytes_raw())
        await asyncio.to_thread(_fill, bootstrap, topic, records, number)
        for signer, rates in ((None, theirs), (public, checking)):
            dsn, group = installed.superuser(_DATABASE), secrets.token_hex(4)
            rates.append(await bare.drain(dsn, bootstrap, topic, group, number, signer=signer))
            await installed.query(_DATABASE, "TRUNCATE bench.event")
        ours["audit"].append(
            await _through(
                installed, "audit", Timeline(LeafBuilder(BLINDING)), records=records, topic=topic, number=number
            )
        )
        ours["handlers"].append(
            await _through(
                installed, "reporter", Dispatch({DeviceLost: _keep}), records=records, topic=topic, number=number
            )
        )
    for name, rates in ours.items():
        say(compared(f"events_through_{name}", rates, theirs, aim=0.5))
        say(compared(f"events_through_{name}_beside_checks", rates, checking))


async def _keep(unit: Unit, _payload: DeviceLost, event: Event) -> None:
    unit.later(_KEEP, event.envelope.id, event.envelope.id, orjson.Fragment(event.value))


def _fill(bootstrap: str, topic: str, records: Records, number: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    producer = FastProducer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "zstd"})
    key = records.private_key()
    for record in records.take(number):
        headers: list[tuple[str, str | bytes | None]] = [
            *record.headers,
            (bare.SIGNATURE, key.sign(record.value or b"")),
        ]
        while True:
            try:
                producer.produce(topic, record.value, record.key, partition=record.partition, headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(60)


async def _through(
    installed: Installed, service: str, sink: Sink, *, records: Records, topic: str, number: int
) -> float:
    """Events a second from the first batch that began to the last that was committed."""
    dsn = installed.status.postgres[service].dsn.rpartition("/")[0] + f"/{_DATABASE}"
    pool = await connect(dsn, service)
    units = Units(pool, Signer(service, Ed25519PrivateKey.generate()))
    timed = _Timed(sink)
    kafka = KafkaConnection(installed.status.kafka.bootstrap)
    producer = Producer(kafka, "bench-dead")
    consumer = Consumer(
        service, kafka, units, records.keyring(), timed, dead_letters=DeadLetters(service, producer),
        health=Health(), topic=topic, group=secrets.token_hex(4),
    )  # fmt: skip
    await consumer.start()
    is_audit = isinstance(sink, Timeline)
    try:
        async with asyncio.timeout(300), followed(pool) if is_audit else nullcontext():
            while await pool.fetchval(_RECORDED if is_audit else _TAKEN, topic) < number:  # noqa: ASYNC110 - tables say nothing
                await asyncio.sleep(0.05)
        return number / (time.perf_counter() - timed.began)
    finally:
        await consumer.stop()
        await producer.close()
        await pool.close()


class _Timed:
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.began = 0.0

    async def take(self, unit: Unit, readings: Sequence[Any]) -> None:
        self.began = self.began or time.perf_counter()
        await self._sink.take(unit, readings)

    async def take_at_once(self, units: Units, readings: Sequence[Any]) -> bool:
        self.began = self.began or time.perf_counter()
        return isinstance(self._sink, TakesAtOnce) and await self._sink.take_at_once(units, readings)


class _Clocked(Producer):
    """Says when each event was acknowledged."""

    def __init__(self, connection: KafkaConnection) -> None:
        super().__init__(connection, "bench-relay")
        self.acknowledged: dict[bytes, float] = {}

    async def send(self, records: Sequence[OutgoingRecord]) -> list[BaseException | None]:
        errors = await super().send(records)
        now = time.perf_counter()
        for record in records:
            self.acknowledged[dict(record.headers)["ce_id"] or b""] = now
        return errors


async def acknowledged(installed: Installed, number: int) -> None:
    """From the commit of one event until Kafka has it, against a producer that is handed it directly."""
    progress("commit to acknowledged …")
    await _prepared(installed)
    topic = f"bench.{secrets.token_hex(4)}"
    admin = AdminClient({"bootstrap.servers": installed.status.kafka.bootstrap})
    await asyncio.to_thread(admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result, 30)
    dsn = installed.status.postgres["reporter"].dsn.rpartition("/")[0] + f"/{_DATABASE}"
    pool = await connect(dsn, "reporter")
    kafka = KafkaConnection(installed.status.kafka.bootstrap)
    units = Units(pool, Signer("reporter", Ed25519PrivateKey.generate()), log_topic=topic)
    clocked = _Clocked(kafka)
    relaying = asyncio.create_task(Relay(dsn, "reporter", clocked, units.in_hand, Health()).run())
    plain = AIOKafkaProducer(**kafka.options(), acks="all", enable_idempotence=True)
    await plain.start()
    payload = DeviceLost.model_validate(next(e for e in event_types() if e.model is DeviceLost).example)
    ours: list[float] = []
    theirs: list[float] = []
    for at in range(number + 20):
        async with units.begin() as unit:
            identifier = await unit.emit(
                payload, Scope(f"{secrets.token_hex(8)}", "bench-kk"), actor="service/reporter"
            )
        committed = time.perf_counter()
        async with asyncio.timeout(30):
            while identifier.encode() not in clocked.acknowledged:  # noqa: ASYNC110 - the relay must not be touched
                await asyncio.sleep(0.0005)
        value = secrets.token_bytes(1000)
        await pool.execute("INSERT INTO kept (id, body) VALUES ($1, '{}')", identifier)
        began = time.perf_counter()
        await plain.send_and_wait(topic, value, key=b"key")
        if at >= 20:
            ours.append(clocked.acknowledged[identifier.encode()] - committed)
            theirs.append(time.perf_counter() - began)
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)
    await plain.stop()
    await pool.close()
    say(latency("commit_to_acknowledged", ours, theirs))
