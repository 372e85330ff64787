"""A timeline of this test's own: a database with the audit schema, and the services' keys."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from services.audit import store
from services.audit.domain.leaf import LeafBuilder
from services.audit.publisher import Publisher
from services.audit.reader import LogReader
from services.audit.timeline import Timeline
from services.audit.tlog import LogKey
from services.audit.tlog.tiles import paths_of
from shared.events import KeyRing, Received, read
from shared.messaging.position import claim
from shared.messaging.unit import Units
from shared.postgres import connect
from shared.telemetry import Health
from tests.audit.records import Writers, at
from tests.stack.installed import PASSWORDS, Installed

ORIGIN = "log.example/acme"
BLINDING = bytes(range(32))
LOG_KEYS = (
    LogKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(range(32)))),
    LogKey(ORIGIN, MLDSA44PrivateKey.from_seed_bytes(bytes(range(32)))),
)


@dataclass
class Bench:
    """Takes records into a timeline as the consume loop does, without Kafka in between."""

    pool: asyncpg.Pool
    dsn: str
    units: Units
    keyring: KeyRing
    writers: Writers
    timeline: Timeline
    offsets: dict[int, int] = field(default_factory=dict)
    placed: list[Received] = field(default_factory=list)
    """What Kafka has, in the order in which it was given."""

    @property
    def reader(self) -> LogReader:
        return LogReader(self.pool)

    def new_writer(self) -> Timeline:
        return Timeline(LeafBuilder(BLINDING))

    def place(self, *records: Received, partition: int = 0, skip: int = 0) -> list[Received]:
        """The records at the next offsets of a partition."""
        placed = []
        for record in records:
            offset = self.offsets.get(partition, 0) + skip
            self.offsets[partition] = offset + 1
            placed.append(at(record, partition, offset))
        self.placed += placed
        return placed

    async def take(self, records: Sequence[Received], timeline: Timeline | None = None) -> None:
        async with self.units.begin() as unit:
            await (timeline or self.timeline).take(unit, [read(record, self.keyring) for record in records])

    async def long_way(self, records: Sequence[Received], timeline: Timeline | None = None) -> None:
        """As the consume loop has them taken that are not usual."""
        async with self.units.begin() as unit:
            new = await claim(unit, records)
            await (timeline or self.timeline).take(unit, [read(record, self.keyring) for record in new])

    async def at_once(self, records: Sequence[Received], timeline: Timeline | None = None) -> bool:
        """Whether they were added at once; if not, nothing of them was kept."""
        readings = [read(record, self.keyring) for record in records]
        try:
            return await (timeline or self.timeline).take_at_once(self.units, readings)
        finally:
            await self.units.line.give_back()

    async def consume(self, records: Sequence[Received], timeline: Timeline | None = None) -> bool:
        """As the consume loop takes them; whether it was done at once."""
        if await self.at_once(records, timeline):
            return True
        await self.long_way(records, timeline)
        return False

    async def follow(self) -> None:
        """Let positions and sequences follow."""
        async with self.pool.acquire() as connection:
            await store.follow(connection)

    async def record(self, *records: Received, partition: int = 0) -> None:
        await self.take(self.place(*records, partition=partition))

    async def publish(self) -> bool:
        publisher = Publisher(self.dsn, ORIGIN, LOG_KEYS, Health())
        async with self.pool.acquire() as connection:
            return await publisher.publish(connection)

    async def entries(self) -> list[asyncpg.Record]:
        return list(await self.pool.fetch("SELECT * FROM entry ORDER BY seq"))

    async def outbox(self) -> list[asyncpg.Record]:
        """Events on their way to their own topics; what goes with them to the SIEM is not shown."""
        return list(await self.pool.fetch("SELECT * FROM outbox WHERE topic <> 'lostphone.ocsf.v1' ORDER BY place"))


@dataclass(frozen=True)
class Files:
    """What is published of a log, as a verifier reads it."""

    files: dict[str, bytes]

    @classmethod
    async def of(cls, bench: Bench) -> "Files":
        published = await bench.reader.newest()
        assert published is not None
        files = {"checkpoint": published.note}
        for path in paths_of(published.size):
            data = await bench.reader.tile(path)
            assert data is not None
            files[str(path)] = data
        for row in await bench.pool.fetch("SELECT sha256, data FROM detached"):
            files[f"detached/{row['sha256'].hex()}"] = row["data"]
        return cls(files)

    def read(self, path: str) -> bytes:
        return self.files[path]


@asynccontextmanager
async def bench_on(dsn: str, folder: Path) -> AsyncIterator[Bench]:
    writers = Writers(folder)
    pool = await connect(dsn, "audit")
    units = Units(pool, writers.signer("audit"))
    try:
        yield Bench(pool, dsn, units, writers.keyring(), writers, Timeline(LeafBuilder(BLINDING)))
    finally:
        await units.line.give_back()
        await pool.close()


def as_audit(superuser_dsn: str) -> str:
    """The same database, seen by the service's own role."""
    scheme, _, rest = superuser_dsn.partition("://")
    return f"{scheme}://audit:{PASSWORDS['audit']}@{rest.rpartition('@')[2]}"


@pytest.fixture
async def bench(installation: Installed, tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_on(installation.dsn("audit"), tmp_path) as bench:
        yield bench
