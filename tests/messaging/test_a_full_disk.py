"""A disk that is full stops the work with a clear word, loses nothing, and lets it go on once there is room."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lostphone.embedded import EmbeddedPostgres
from shared.events import Signer
from shared.events.reporter import IncidentCancelled
from shared.messaging import Scope, Units, is_outage
from shared.postgres import connect, migrate
from tests.messaging.conftest import _KIT
from tests.stack.small_disk import mounted

_MEGABYTES = 24


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    with mounted(place, f"size={_MEGABYTES}m"):
        yield place


async def _on(small_disk: Path, postgres: EmbeddedPostgres) -> str:
    """A database whose tables lie on the small disk."""
    folder = small_disk / "tables"
    folder.mkdir(mode=0o700)
    server = await asyncpg.connect(postgres.dsn())
    await server.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
    await server.execute("CREATE DATABASE small TABLESPACE small")
    await server.close()
    dsn = postgres.dsn("small")
    inside = await asyncpg.connect(dsn)
    await inside.execute("CREATE SCHEMA reporter")
    await inside.close()
    await migrate(dsn, "reporter", _KIT)
    return dsn


async def test_a_full_disk_refuses_the_work_and_loses_none(small_disk: Path, tmp_path: Path, incident: str) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    postgres.start()
    try:
        pool = await connect(await _on(small_disk, postgres), "reporter", max_size=3)
        units = Units(pool, Signer("reporter", Ed25519PrivateKey.generate()))

        async def say(reason: str) -> None:
            async with units.begin() as unit:
                await unit.emit(IncidentCancelled(reason=reason), Scope(incident, "acme-kk"), actor="service/reporter")

        met: list[Exception] = []

        async def until_full(more: Callable[[], Awaitable[object]]) -> int:
            for done in range(100_000):
                try:
                    await more()
                except asyncpg.DiskFullError as error:
                    met.append(error)
                    return done
            raise AssertionError("the disk never filled up")

        await say("before")
        await pool.execute("CREATE TABLE ballast (line text)")
        fill = "INSERT INTO ballast SELECT repeat('x', 2000) FROM generate_series(1, 200)"
        await until_full(lambda: pool.execute(fill))
        said = 1 + await until_full(lambda: say("during"))
        assert len(met) == 2
        assert all(is_outage(error) and "No space left on device" in str(error) for error in met)
        # What was committed stands, what was not has not happened, and the numbers have no gap.
        assert await pool.fetchval("SELECT count(*) FROM outbox") == said
        assert await pool.fetchval("SELECT last FROM subject_sequence") == said
        await pool.execute("DROP TABLE ballast")
        await say("after")
        sequences = [
            int(dict(row["headers"])["ce_sequence"])
            for row in await pool.fetch("SELECT headers FROM outbox ORDER BY place")
        ]
        assert sequences == list(range(1, said + 2))
        await pool.close()
    finally:
        postgres.kill()
