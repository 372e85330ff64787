"""Appending to the timeline against PostgreSQL alone: batches against COPY, one event against one INSERT."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from benchmarks.figures import compared, progress, say
from benchmarks.ground import Ground
from benchmarks.records import Records
from services.audit.domain.leaf import LeafBuilder
from services.audit.timeline import Timeline
from shared.events import KeyRing, Reading, Received, Signer, read
from shared.messaging.position import claim
from shared.messaging.unit import Units
from shared.postgres import connect

BLINDING = bytes(range(32))

# The columns and unique keys of `entry`; no triggers, no foreign keys, no other index.
_BARE = """
CREATE TABLE {name} (
    seq bigint PRIMARY KEY, kind text NOT NULL, leaf_hash bytea NOT NULL, leaf bytea NOT NULL, detached bytea,
    stream_id smallint, kafka_offset bigint, subject text, n bigint, organisation text, source text, event_id text,
    event_type text, UNIQUE (stream_id, kafka_offset), UNIQUE (subject, n));
ALTER TABLE {name} ALTER COLUMN leaf SET STORAGE EXTERNAL
"""
_PLAIN = "CREATE TABLE {name} (LIKE {like}); ALTER TABLE {name} ALTER COLUMN leaf SET STORAGE EXTERNAL"
_ENTRIES = "SELECT * FROM audit.entry WHERE seq >= $1 ORDER BY seq"


@dataclass
class Writer:
    """A timeline without Kafka before it: takes records as the consume loop does."""

    pool: asyncpg.Pool
    units: Units
    timeline: Timeline
    keyring: KeyRing
    records: Records
    size: int = field(default=0)

    async def append(self, readings: Sequence[Reading]) -> None:
        """One batch, durable: everything that the consume loop does after it has checked the signatures."""
        if not await self.timeline.take_at_once(self.units, readings):
            async with self.units.begin() as unit:
                await claim(unit, [reading.received for reading in readings])
                await self.timeline.take(unit, readings)
        self.size += len(readings)

    def read(self, records: Sequence[Received]) -> list[Reading]:
        """Decode and verify."""
        return [read(record, self.keyring) for record in records]


async def open_writer(ground: Ground, database: str, records: Records) -> Writer:
    """A new log in a new database."""
    await ground.make(database)
    pool = await connect(ground.dsn(database, "audit"), "audit")
    signer = Signer("audit", records.private_key())
    return Writer(pool, Units(pool, signer), Timeline(LeafBuilder(BLINDING)), records.keyring(), records)


class Bare:
    """The same rows into tables of their own, through the same driver, committed."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    @classmethod
    async def open(cls, ground: Ground, database: str) -> "Bare":
        connection = await asyncpg.connect(ground.superuser(database))
        await connection.execute("CREATE SCHEMA bare; SET search_path = bare")
        await connection.execute(_BARE.format(name="keyed"))
        await connection.execute(_PLAIN.format(name="plain", like="keyed"))
        await connection.execute(_BARE.format(name="single"))
        return cls(connection)

    async def entries(self, start: int) -> list[tuple[object, ...]]:
        """What the timeline wrote from here on."""
        return [tuple(row.values()) for row in await self.connection.fetch(_ENTRIES, start)]

    async def copy(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        async with self.connection.transaction():
            await self.connection.copy_records_to_table(table, schema_name="bare", records=rows)

    async def insert(self, row: tuple[object, ...]) -> None:
        values = ", ".join(f"${at}" for at in range(1, len(row) + 1))
        await self.connection.execute(f"INSERT INTO bare.single VALUES ({values})", *row)  # noqa: S608 - placeholders


def _database(size: int) -> str:
    """Plain letters: a database of each size of batches."""
    return "append_" + "".join(chr(ord("a") + int(digit)) for digit in str(size))


async def batches(ground: Ground, size: int, rounds: int) -> None:
    """Whole batches in turn: the timeline, COPY into a table with the same unique keys, COPY into one without."""
    progress(f"appending batches of {size} …")
    database = _database(size)
    writer = await open_writer(ground, database, Records())
    bare = await Bare.open(ground, database)
    took: dict[str, list[float]] = {"ours": [], "keyed": [], "plain": [], "checked": []}
    for at in range(rounds + 2):
        records = writer.records.take(size)
        before = time.perf_counter()
        readings = writer.read(records)
        checked = time.perf_counter()
        start = writer.size
        await writer.append(readings)
        ended = time.perf_counter()
        rows = await bare.entries(start)
        marks = [time.perf_counter()]
        for table in ("keyed", "plain"):
            await bare.copy(table, rows)
            marks.append(time.perf_counter())
        if at >= 2:
            took["ours"].append(ended - checked)
            took["checked"].append(ended - before)
            took["keyed"].append(marks[1] - marks[0])
            took["plain"].append(marks[2] - marks[1])
    await writer.pool.close()
    await bare.connection.close()
    rates = {name: [size / seconds for seconds in values] for name, values in took.items()}
    say(compared(f"audit_append_{size}", rates["ours"], rates["keyed"], against="COPY, the same unique keys"))
    say(compared(f"audit_append_{size}_no_keys", rates["ours"], rates["plain"], against="COPY, no keys at all"))
    say(
        compared(
            f"audit_append_{size}_signatures", rates["checked"], rates["keyed"], against="COPY, the same unique keys"
        )
    )


async def singles(ground: Ground, number: int) -> None:
    """One event at a time, durable and in the tree, in turn with one INSERT."""
    progress("appending single events …")
    writer = await open_writer(ground, "append_single", Records())
    bare = await Bare.open(ground, "append_single")
    ours: list[float] = []
    theirs: list[float] = []
    for at in range(number + 20):
        (reading,) = writer.read(writer.records.take(1))
        before = time.perf_counter()
        await writer.append([reading])
        between = time.perf_counter()
        (row,) = await bare.entries(at)
        started = time.perf_counter()
        await bare.insert(row)
        if at >= 20:
            ours.append(between - before)
            theirs.append(time.perf_counter() - started)
    await writer.pool.close()
    await bare.connection.close()
    say(
        compared(
            "audit_append_single",
            [1 / s for s in ours],
            [1 / s for s in theirs],
            against="INSERT, the same unique keys",
        )
    )
