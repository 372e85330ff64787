"""A database from an old backup gets back, from a copy of the log, every entry byte for byte, and goes on."""

from pathlib import Path

import asyncpg
import pytest

from services.audit.guard import Guard
from services.audit.recovery import Recovery, RecoveryError
from services.audit.tlog.tiles import paths_of
from tests.audit.conftest import LOG_KEYS, ORIGIN, Bench, as_audit, bench_on
from tests.stack.installed import copy_of

_ONE = "0192f0c1-0000-7000-8000-000000000001"
_TWO = "0192f0c1-0000-7000-8000-000000000002"
_KEYS = [key.verifier for key in LOG_KEYS]


async def _fill(bench: Bench) -> None:
    writers = bench.writers
    first = writers.record("DeviceLost", _ONE)
    await bench.record(first, *(writers.record("DeviceLocked", _ONE) for _ in range(300)))
    await bench.take(bench.place(first))
    await bench.take(bench.place(writers.record("DeviceLost", _TWO), partition=1, skip=3))
    await bench.record(writers.record("PersonalDataErased", "org-acme-kk"), writers.record("IncidentClosed", _ONE))
    await bench.publish()


async def copy_log(bench: Bench, folder: Path) -> None:
    published = await bench.reader.newest()
    assert published is not None
    for path in paths_of(published.size):
        file = folder / str(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(await bench.reader.tile(path) or b"")
    (folder / "checkpoint").write_bytes(published.note)


_SAME = ("entry", "tile", "stream", "detached")


async def _rows(dsn: str) -> dict[str, list[tuple[object, ...]]]:
    connection = await asyncpg.connect(dsn)
    try:
        return {
            table: [tuple(row) for row in await connection.fetch(f"SELECT * FROM audit.{table} ORDER BY 1, 2")]
            for table in _SAME
        }
    finally:
        await connection.close()


async def test_a_restored_database_is_brought_to_where_it_was(template: str, postgres: str, tmp_path: Path) -> None:
    async with copy_of(template, postgres) as lost, copy_of(template, postgres) as restored:
        async with bench_on(as_audit(lost), tmp_path) as bench:
            await _fill(bench)
            await copy_log(bench, tmp_path / "copy")
            newest = await bench.reader.newest()
            assert newest is not None
            guard = Guard(ORIGIN, _KEYS, tmp_path / "outside", None)
            guard.keep(newest.note)
            keyring = bench.keyring
        async with bench_on(as_audit(restored), tmp_path) as bench:
            # The backup was made when the log had 40 entries.
            await bench.record(bench.writers.record("DeviceLost", _ONE))
            await bench.record(*(bench.writers.record("DeviceLocked", _ONE) for _ in range(39)))
            recovery = Recovery(tmp_path / "copy", _KEYS, keyring)
            assert await recovery.run(bench.pool) == newest.size - 40
            assert await recovery.run(bench.pool) == 0
            assert await _rows(restored) == await _rows(lost)
            async with bench.pool.acquire() as connection:
                await guard.check(connection, newest.size)
            # It goes on, and what it signs continues what was published.
            bench.offsets = {0: 304, 1: 4}
            bench.writers._ids = 1000
            await bench.take(bench.place(bench.writers.record("IncidentReopened", _ONE)), bench.new_writer())
            assert await bench.publish()
            assert (await bench.entries())[-1]["n"] == 303


async def test_a_copy_that_is_not_the_signed_log_is_refused(bench: Bench, tmp_path: Path) -> None:
    await _fill(bench)
    await copy_log(bench, tmp_path / "copy")
    size = await bench.pool.fetchval("SELECT size FROM log_state")
    bundle = tmp_path / "copy/tile/entries/000"
    whole = bundle.read_bytes()
    bundle.write_bytes(whole.replace(b'"n":7,', b'"n":8,', 1))
    with pytest.raises(RecoveryError, match="another history"):
        await Recovery(tmp_path / "copy", _KEYS, bench.keyring).run(bench.pool)
    bundle.write_bytes(whole[:-1])
    with pytest.raises(RecoveryError, match="cannot be read"):
        await Recovery(tmp_path / "copy", _KEYS, bench.keyring).run(bench.pool)
    bundle.write_bytes(whole)
    await bench.record(bench.writers.record("IncidentReopened", _ONE))
    with pytest.raises(RecoveryError, match="already"):
        await Recovery(tmp_path / "copy", _KEYS, bench.keyring).run(bench.pool)
    with pytest.raises(RecoveryError, match="no checkpoint"):
        Recovery(tmp_path, _KEYS, bench.keyring)
    assert await bench.pool.fetchval("SELECT size FROM log_state") == size + 1
