"""Only what is committed is signed, once, and never something that does not continue what was signed before."""

import asyncpg
import pytest

from services.audit.publisher import ForkError
from services.audit.tlog import EMPTY_ROOT, Checkpoint, SignedNote
from tests.audit.conftest import Bench
from tests.audit.naive import naive_root
from tests.stack.installed import Installed

_ONE = "0192f0c1-0000-7000-8000-000000000001"


async def _newest(bench: Bench) -> Checkpoint:
    published = await bench.reader.newest()
    assert published is not None
    return Checkpoint.parse(SignedNote.parse(published.note).text)


async def test_each_committed_size_is_signed_once(bench: Bench) -> None:
    assert await bench.publish()
    assert (await _newest(bench)).root == EMPTY_ROOT
    assert not await bench.publish()
    await bench.record(bench.writers.record("DeviceLost", _ONE))
    await bench.record(bench.writers.record("DeviceLocked", _ONE))
    assert await bench.publish()
    leaves = [entry["leaf"] for entry in await bench.entries()]
    assert await _newest(bench) == Checkpoint("log.example/acme", 2, naive_root(leaves))
    assert not await bench.publish()


async def test_a_log_that_went_back_behind_its_checkpoint_is_not_signed(bench: Bench, installation: Installed) -> None:
    await bench.record(bench.writers.record("DeviceLost", _ONE), bench.writers.record("DeviceLocked", _ONE))
    await bench.publish()
    superuser = await asyncpg.connect(installation.superuser_dsn)
    try:
        for statement in ("UPDATE audit.log_state SET size = 1", "UPDATE audit.log_state SET root = sha256('other')"):
            await superuser.execute(statement)
            with pytest.raises(ForkError, match="does not continue"):
                await bench.publish()
            await superuser.execute("UPDATE audit.log_state SET size = 2")
    finally:
        await superuser.close()
    assert (await _newest(bench)).size == 2
