"""Where a benchmark runs: a PostgreSQL of its own with fsync on, made for the run and ended with it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from lostphone import database
from lostphone.embedded import EmbeddedPostgres
from lostphone.installation import SERVICES

_SETTINGS = (
    "ALTER SYSTEM SET max_wal_size = '8GB'",
    "ALTER SYSTEM SET min_wal_size = '2GB'",
    "SELECT pg_reload_conf()",
)
"""With PostgreSQL's own 1 GB a checkpoint comes every 18 s at 2,000 events a second, and whoever writes while it
reaches the disk waits for it: in turns of five seconds, one path or the other. A server for such rates is set so that
checkpoints come by the clock, as its log asks for."""
_SEGMENTS = 96
"""16 MiB each: what the longest part writes."""
_PASSWORDS: dict[str, str] = dict.fromkeys(SERVICES, "lostphone-bench")


class Ground:
    """One server. Each benchmark makes the databases that it needs on it."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server

    def superuser(self, name: str) -> str:
        """The superuser's DSN of this database."""
        return self._server.dsn(name)

    def dsn(self, name: str, role: str) -> str:
        """The database as a service sees it."""
        return self._server.dsn(name, role)

    async def make(self, name: str) -> None:
        """A database with every schema, role and table, on a server as it is when it has run for a while."""
        await database.prepare(self._server.dsn(), name, _PASSWORDS)
        await database.migrate_all(self._server.dsn(name), SERVICES)
        await _run_in(self._server.dsn(name))


async def _run_in(dsn: str) -> None:
    """The files of the write-ahead log are there to be used again, then. Without them every writer stops for 20 ms when
    the next one is made, and who writes more stops more often."""
    connection = await asyncpg.connect(dsn)
    try:
        for setting in _SETTINGS:
            await connection.execute(setting)
        await connection.execute("CREATE TABLE segments (at integer)")
        for at in range(_SEGMENTS):
            await connection.execute("INSERT INTO segments VALUES ($1)", at)
            await connection.execute("SELECT pg_switch_wal()")
        await connection.execute("DROP TABLE segments")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


@contextmanager
def ground() -> Iterator[Ground]:
    """A server in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="lostphone-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            yield Ground(server)
        finally:
            server.stop()
