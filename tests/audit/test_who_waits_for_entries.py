"""Who works behind the writer is told when entries were added: in the same process by it, in others by the database."""

import asyncio

import asyncpg
import pytest

from services.audit.added import Added
from services.audit.domain.leaf import LeafBuilder
from services.audit.listening import listen
from services.audit.timeline import Timeline
from tests.audit.conftest import BLINDING, Bench

_SUBJECT = "0192f0c1-0000-7000-8000-00000000000a"
_SECONDS = 10


class _Line:
    """A connection on which another process would listen."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.told = asyncio.Event()
        self.marked = asyncio.Event()

    @classmethod
    async def open(cls, dsn: str) -> "_Line":
        line = cls(await asyncpg.connect(dsn))
        await line.connection.add_listener("audit_entries", lambda *_: line.told.set())
        await line.connection.add_listener("mark", lambda *_: line.marked.set())
        return line

    async def heard(self, bench: Bench) -> bool:
        """Whether it was notified of entries before now: notifications come in the order of their commits."""
        await bench.pool.execute("SELECT pg_notify('mark', '')")
        await asyncio.wait_for(self.marked.wait(), _SECONDS)
        return self.told.is_set()


@pytest.mark.parametrize("here", [True, False])
async def test_the_database_is_asked_to_tell_only_where_somebody_waits_in_another_process(
    bench: Bench, here: bool
) -> None:
    added, wake = Added("feeder"), asyncio.Event()
    timeline = Timeline(LeafBuilder(BLINDING), added=added)
    assert not await bench.consume(bench.place(bench.writers.record("DeviceLost", _SUBJECT)), timeline)
    line = await _Line.open(bench.dsn)
    try:
        if here:
            added.begin("feeder", wake)
        assert await bench.consume(bench.place(bench.writers.record("DeviceLocked", _SUBJECT)), timeline)
        assert await line.heard(bench) is not here
        assert wake.is_set() is here
    finally:
        await line.connection.close()


async def test_work_is_done_here_from_its_turn_until_its_connection_is_closed(bench: Bench) -> None:
    added = Added("feeder")
    async with listen(bench.dsn, "feeder", added) as listening:
        assert added.elsewhere
        await listening.take_turn()
        assert not added.elsewhere
    assert added.elsewhere
