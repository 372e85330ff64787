"""Where a benchmark runs: a PostgreSQL of its own with fsync on, made for the run and ended with it."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from lostphone import database
from lostphone.embedded import EmbeddedPostgres
from lostphone.installation import SERVICES

_SEGMENTS = 24
"""16 MiB each."""
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
        """A database with every schema, role and table."""
        await database.prepare(self._server.dsn(), name, _PASSWORDS)
        await database.migrate_all(self._server.dsn(name), SERVICES)


async def _run_in(dsn: str) -> None:
    """As a server is that has run for a while: the files of its write-ahead log are there to be used again. A new one
    stops every writer for 20 ms whenever it has to make one, and who writes more is stopped more often."""
    connection = await asyncpg.connect(dsn)
    try:
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
            asyncio.run(_run_in(server.dsn()))
            yield Ground(server)
        finally:
            server.stop()
