"""Reading the log: verification from stored bytes and out of the database, proofs at a million entries, restarts."""

import hashlib
import secrets
import statistics
import tempfile
import time
from pathlib import Path

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.audit_append import BLINDING, open_writer
from benchmarks.figures import Figure, latency, progress, say
from benchmarks.ground import Ground
from benchmarks.records import Records
from lostphone.verify.source import DirectorySource
from lostphone.verify.verification import run as verify
from services.audit.domain.leaf import LeafBuilder
from services.audit.publisher import Publisher
from services.audit.reader import LogReader, Published
from services.audit.store import Connection
from services.audit.timeline import Timeline
from services.audit.tlog import Edge, LogKey
from services.audit.tlog.tiles import paths_of, unpack_bundle
from services.audit.tlog.tree import leaf_hashes
from shared.telemetry import Health

_ORIGIN = "bench.example/log"
_LEAVES = "SELECT leaf FROM audit.entry WHERE seq >= $1 AND seq < $2 ORDER BY seq"


async def verification(ground: Ground, entries: int) -> None:
    """A log of so many entries, verified again and again."""
    progress(f"a log of {entries} entries to verify …")
    writer = await open_writer(ground, "verification", Records())
    for _ in range(entries // 1000):
        await writer.append(writer.read(writer.records.take(1000)))
    key = LogKey(_ORIGIN, Ed25519PrivateKey.generate())
    publisher = Publisher(ground.dsn("verification", "audit"), _ORIGIN, [key], Health())
    async with writer.units.pool.acquire() as connection:
        await publisher.publish(connection)
    reader = LogReader(writer.units.pool)
    published = await reader.newest()
    if published is None:
        raise AssertionError("it was just published")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "checkpoint").write_bytes(published.note)
        for path in paths_of(published.size):
            file = folder / str(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(await reader.tile(path) or b"")
        _from_bytes(folder, published.size, (await writer.units.pool.fetchval("SELECT root FROM log_state")))
        _whole(folder, published.size, key)
    await _from_database(ground, published.size)
    await writer.close()


def _from_bytes(folder: Path, size: int, root: bytes) -> None:
    """Every leaf hashed again and the tree built from them."""
    bundles = [path for path in paths_of(size) if path.level is None]
    clock = _Clock(size)
    for _ in range(5):
        with clock:
            edge = Edge()
            for path in bundles:
                edge, _ = edge.append(leaf_hashes(unpack_bundle((folder / str(path)).read_bytes())))
        if edge.root() != root:
            raise AssertionError("the root differs")
    say(clock.figure("audit_verify_bytes", aim=200_000))


def _whole(folder: Path, size: int, key: LogKey) -> None:
    """Everything that `lostphone verify` checks: leaves, tiles, chains, order of the partitions."""
    clock = _Clock(size)
    for _ in range(3):
        with clock:
            report = verify(DirectorySource(folder), [key.verifier])
        if report.offences:
            raise AssertionError(report.offences[:3])
    say(clock.figure("audit_verify_whole"))


async def _from_database(ground: Ground, size: int) -> None:
    connection = await asyncpg.connect(ground.superuser("verification"))
    clock = _Clock(size)
    for _ in range(5):
        with clock:
            edge = Edge()
            for first in range(0, size, 1024):
                rows = await connection.fetch(_LEAVES, first, first + 1024)
                edge, _ = edge.append(leaf_hashes(row["leaf"] for row in rows))
        if edge.root() != await connection.fetchval("SELECT root FROM audit.log_state"):
            raise AssertionError("the root differs")
    await connection.close()
    say(clock.figure("audit_verify_database", aim=80_000))


class _Clock:
    """Entries a second of each round, by the wall and by this process's own processor time."""

    def __init__(self, entries: int) -> None:
        self._entries = entries
        self._rates: list[float] = []
        self._processor: list[float] = []

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self._rates.append(self._entries / (time.perf_counter() - self._began[0]))
        self._processor.append(self._entries / (time.process_time() - self._began[1]))

    def figure(self, name: str, **more: float) -> Figure:
        more |= {"processor_rate": statistics.median(self._processor), "entries": self._entries}
        return Figure(name, rate=statistics.median(self._rates), more=more)


async def million(ground: Ground, size: int, proofs: int) -> None:
    """Proofs out of the tiles of a log of a million entries, and a writer that starts on it. The tree is whole; of the
    entries only the last, open tile is there."""
    progress(f"a tree over {size} entries …")
    writer = await open_writer(ground, "million", Records())
    async with writer.units.pool.acquire() as connection, connection.transaction():
        await _plant(connection, size)
    key = LogKey(_ORIGIN, Ed25519PrivateKey.generate())
    async with writer.units.pool.acquire() as connection:
        await Publisher(ground.dsn("million", "audit"), _ORIGIN, [key], Health()).publish(connection)
    reader = LogReader(writer.units.pool)
    published: Published | None = await reader.newest()
    if published is None:
        raise AssertionError("it was just published")
    took = []
    for _ in range(20):
        await reader.proof(secrets.randbelow(size), published)
    for _ in range(proofs):
        began = time.perf_counter()
        await reader.proof(secrets.randbelow(size), published)
        took.append(time.perf_counter() - began)
    say(latency("audit_proof_at_a_million", took, aim_p99_ms=5))
    restarts = []
    for _ in range(10):
        fresh = Timeline(LeafBuilder(BLINDING))
        readings = writer.read(writer.records.take(1))
        began = time.perf_counter()
        async with writer.units.begin() as unit:
            await fresh.take(unit, readings)
        restarts.append(time.perf_counter() - began)
    say(latency("audit_restart_at_a_million", restarts, aim_ms=2000))
    await writer.close()


async def _plant(connection: Connection, size: int) -> None:
    hashes = [hashlib.sha256(at.to_bytes(8)).digest() for at in range(size)]
    edge, tiles = Edge().append(hashes)
    first = size - size % 256
    await connection.copy_records_to_table(
        "tile",
        records=[(tile.level, tile.index, tile.hashes, tile.root) for tile in tiles],
        columns=("level", "idx", "hashes", "root"),
    )
    await connection.copy_records_to_table(
        "entry",
        records=[(first + at, "event", value, b"") for at, value in enumerate(hashes[first:])],
        columns=("seq", "kind", "leaf_hash", "leaf"),
    )
    await connection.execute("UPDATE log_state SET size = $1, root = $2", size, edge.root())
