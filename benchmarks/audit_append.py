"""Appending to the timeline against PostgreSQL alone: batches against COPY, one event against one INSERT."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path

import asyncpg

from benchmarks.figures import Figure, compared, progress, say
from benchmarks.ground import Ground
from benchmarks.records import Records
from services.audit import store
from services.audit.added import Added
from services.audit.at_once import SESSION
from services.audit.domain.leaf import LeafBuilder
from services.audit.publisher import INTERVAL_SECONDS
from services.audit.timeline import Timeline
from shared.events import KeyRing, Reading, Received, Signer, read
from shared.messaging.position import claim
from shared.messaging.unit import Units
from shared.postgres import connect

BLINDING = bytes(range(32))
_LAP = 20_000
"""Entries; less than the log takes in a second, so that positions and sequences follow more often than beside the
publisher."""

# The columns and unique keys of `entry`; no triggers.
_BARE = """
CREATE TABLE {name} (
    seq bigint PRIMARY KEY, kind text NOT NULL, leaf_hash bytea NOT NULL, leaf bytea NOT NULL, detached bytea,
    stream_id smallint, kafka_offset bigint, subject text, n bigint, organisation text, source text, event_id text,
    event_type text, repeat integer NOT NULL, sequence bigint,
    UNIQUE (stream_id, kafka_offset), UNIQUE (subject, n), UNIQUE (event_id, repeat));
ALTER TABLE {name} ALTER COLUMN leaf SET STORAGE EXTERNAL
"""
_PLAIN = "CREATE TABLE {name} (LIKE {like}); ALTER TABLE {name} ALTER COLUMN leaf SET STORAGE EXTERNAL"
_ENTRIES = "SELECT * FROM audit.entry WHERE seq >= $1 ORDER BY seq"


@dataclass
class Writer:
    """A timeline without Kafka before it: takes records as the consume loop does."""

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

    async def append_and_follow(self, readings: Sequence[Reading]) -> None:
        """One batch, while positions and sequences follow the one before it: on a connection of their own, as the
        publisher lets them do once a second."""
        async with self.units.pool.acquire() as connection:
            await asyncio.gather(self.append(readings), store.follow(connection))

    async def server_pid(self) -> int:
        """The process of the server that takes the batches in."""
        pid: int = (await self.units.line.connection(SESSION)).get_server_pid()
        return pid

    async def close(self) -> None:
        await self.units.line.give_back()
        await self.units.pool.close()

    def read(self, records: Sequence[Received]) -> list[Reading]:
        """Decode and verify."""
        return [read(record, self.keyring) for record in records]


@asynccontextmanager
async def followed(pool: asyncpg.Pool) -> AsyncIterator[None]:
    """Positions and sequences follow once a second meanwhile, as the publisher lets them."""

    async def follow() -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            async with pool.acquire() as connection:
                await store.follow(connection)

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait([following])


async def open_writer(ground: Ground, database: str, records: Records) -> Writer:
    """A new log in a new database. Who waits for entries is in the writer's process, as in a service of one process."""
    await ground.make(database)
    pool = await connect(ground.dsn(database, "audit"), "audit")
    signer = Signer("audit", records.private_key())
    return Writer(Units(pool, signer), Timeline(LeafBuilder(BLINDING), added=Added()), records.keyring(), records)


class Laps:
    """Seconds of each lap, and the processor time that it took this process and one server process, in µs (Linux):
    what a rate on a busy machine hides. A lap is so many pieces together. The first `warm` laps do not count."""

    def __init__(self, server_pid: int, warm: int, pieces: int = 1) -> None:
        self._server = Path(f"/proc/{server_pid}/schedstat")
        self._warm = warm
        self._pieces = pieces
        self._seconds: list[float] = []
        self._processor: list[float] = []

    def __enter__(self) -> None:
        self._began = time.perf_counter(), self._used()

    def __exit__(self, *_: object) -> None:
        self._seconds.append(time.perf_counter() - self._began[0])
        self._processor.append(self._used() - self._began[1])

    def _used(self) -> float:
        return time.process_time() * 1e6 + int(self._server.read_text().split()[0]) / 1e3

    @property
    def seconds(self) -> list[float]:
        return self._laps(self._seconds)

    @property
    def processor(self) -> list[float]:
        return self._laps(self._processor)

    def _laps(self, pieces: Sequence[float]) -> list[float]:
        return [sum(lap) for lap in batched(pieces, self._pieces)][self._warm :]

    def against(self, bare: "Laps", name: str, size: int, against: str) -> Figure:
        """Rates and processor time of one event, where each lap was `size` events."""
        rates, theirs = ([size / seconds for seconds in laps.seconds] for laps in (self, bare))
        spent, bare_spent = (statistics.median(laps.processor) / size for laps in (self, bare))
        return compared(name, rates, theirs, against=against, processor_us=spent, bare_processor_us=bare_spent)


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
    database, pieces = _database(size), _LAP // size
    writer = await open_writer(ground, database, Records())
    bare = await Bare.open(ground, database)
    pids = [await writer.server_pid(), *[bare.connection.get_server_pid()] * 2]
    ours, keyed, plain = [Laps(pid, 1, pieces) for pid in pids]
    decoding = Laps(pids[0], 1, pieces)
    for at in range((rounds + 1) * pieces):
        records = writer.records.take(size)
        with decoding:
            readings = writer.read(records)
        start, append = writer.size, writer.append if at % pieces else writer.append_and_follow
        with ours:
            await append(readings)
        rows = await bare.entries(start)
        with keyed:
            await bare.copy("keyed", rows)
        with plain:
            await bare.copy("plain", rows)
    await writer.close()
    await bare.connection.close()
    name, same_keys = f"audit_append_{size}", "COPY, the same unique keys"
    say(ours.against(keyed, name, _LAP, same_keys))
    say(ours.against(plain, f"{name}_no_keys", _LAP, "COPY, no keys at all"))
    checked = [_LAP / (one + other) for one, other in zip(decoding.seconds, ours.seconds, strict=True)]
    say(compared(f"{name}_signatures", checked, [_LAP / one for one in keyed.seconds], against=same_keys))


async def singles(ground: Ground, number: int) -> None:
    """One event at a time, durable and in the tree, in turn with one INSERT."""
    progress("appending single events …")
    writer = await open_writer(ground, "append_single", Records())
    bare = await Bare.open(ground, "append_single")
    ours, theirs = Laps(await writer.server_pid(), 20), Laps(bare.connection.get_server_pid(), 20)
    async with followed(writer.units.pool):
        for at in range(number + 20):
            readings = writer.read(writer.records.take(1))
            with ours:
                await writer.append(readings)
            (row,) = await bare.entries(at)
            with theirs:
                await bare.insert(row)
    await writer.close()
    await bare.connection.close()
    say(ours.against(theirs, "audit_append_single", 1, "INSERT, the same unique keys"))
