"""A log is set aside: whatever ends that half-way, running it again goes on, and what audit had said is not lost."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import orjson
import pytest

from lostphone.closed_log import NothingToCloseError, TimelineInUseError, set_aside
from lostphone.installation import Installation
from lostphone.screen import CouldNotError
from lostphone.succession import SuccessionError, require_done, succeed
from services.audit.clerk import Clerk
from services.audit.domain.leaf import LeafBuilder
from services.audit.guard import Guard
from services.audit.publisher import Publisher
from services.audit.timeline import Timeline
from services.audit.tlog import Checkpoint, LogKey
from shared.postgres import MigrationError
from shared.telemetry import Health
from tests.audit.conftest import BLINDING, ORIGIN, Bench, bench_on
from tests.stack.installed import Installed

_ONE = "0192f0c1-0000-7000-8000-0000000000c1"
_SIZE = 5
_CLOSED = Checkpoint(ORIGIN, 4, bytes(32))
_ENDS_IT = """
CREATE FUNCTION public.ends_it() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE command_tag || ' ' || object_identity ~ '{at}') THEN
        RAISE EXCEPTION 'ended here';
    END IF;
END
$$;
CREATE EVENT TRIGGER ends_it ON ddl_command_end EXECUTE FUNCTION public.ends_it();
"""
_NO_LONGER = "DROP EVENT TRIGGER ends_it; DROP FUNCTION public.ends_it()"
_ENDS_AT_THE_OUTBOX = """
CREATE FUNCTION public.ends_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ended here'; END $$;
CREATE TRIGGER ends_it BEFORE DELETE ON audit.outbox FOR EACH ROW EXECUTE FUNCTION public.ends_it();
"""
_AT_THE_OUTBOX_NO_LONGER = "DROP FUNCTION public.ends_it() CASCADE"
_ENDINGS = {
    at: (_ENDS_IT.format(at=at), _NO_LONGER)
    for at in (
        "^COMMENT",
        r"^CREATE TABLE audit\.migration",
        r"^CREATE TABLE audit\.outbox",
        r"^CREATE TABLE audit\.entry",
        r"^CREATE TABLE audit\.timestamp_response",
        r"^CREATE FUNCTION timeline_guard",
    )
} | {"outbox": (_ENDS_AT_THE_OUTBOX, _AT_THE_OUTBOX_NO_LONGER)}


async def _as_superuser(installation: Installed, statement: str) -> None:
    connection = await asyncpg.connect(installation.superuser_dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _leave(bench: Bench, installation: Installed) -> None:
    """The audit service ends."""
    await bench.pool.close()
    # The server takes its leave of a connection a moment later.
    await _as_superuser(
        installation,
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
        "WHERE usename = 'audit' AND datname = current_database()",
    )


async def _spoken(bench: Bench) -> tuple[list[tuple[str, bytes]], dict[str, int]]:
    """What lies in the outbox, in its order, and the last number of each subject."""
    rows = await bench.pool.fetch("SELECT event_id, value FROM outbox ORDER BY place")
    numbers = await bench.pool.fetch("SELECT subject, last FROM subject_sequence")
    return [tuple(row) for row in rows], {row["subject"]: row["last"] for row in numbers}


@pytest.fixture
async def sealed(bench: Bench) -> Bench:
    """A log of `_SIZE` entries, which has said of a seal and of a hole and has not sent it."""
    await bench.record(bench.writers.record("DeviceLost", _ONE), bench.writers.record("IncidentClosed", _ONE))
    await bench.take(bench.place(bench.writers.record("DeviceLocated", _ONE), skip=2))
    assert len(await bench.outbox()) == 2
    assert len(await bench.entries()) == _SIZE
    return bench


@pytest.mark.parametrize("at", _ENDINGS)
async def test_closing_that_was_ended_at_any_step_goes_on_when_it_is_run_again(
    sealed: Bench, installation: Installed, at: str
) -> None:
    said = await _spoken(sealed)
    await _leave(sealed, installation)
    ends, no_longer = _ENDINGS[at]
    await _as_superuser(installation, ends)
    with pytest.raises((MigrationError, asyncpg.RaiseError), match="ended here"):
        await set_aside(installation.superuser_dsn)
    await _as_superuser(installation, no_longer)

    assert await set_aside(installation.superuser_dsn) == f"audit_closed_{_SIZE}"

    async with bench_on(sealed.dsn, installation.files.data_dir) as bench:
        assert await bench.entries() == []
        assert await _spoken(bench) == said
        await bench.record(bench.writers.record("DeviceLost", _ONE), bench.writers.record("IncidentClosed", _ONE))
        sent, numbers = await _spoken(bench)
        assert sent[: len(said[0])] == said[0], "what the closed log had said goes out first"
        assert numbers[_ONE] > said[1][_ONE], "and no number is given twice"


async def test_closing_again_changes_nothing_until_the_new_log_has_entries_of_its_own(
    sealed: Bench, installation: Installed
) -> None:
    dsn = installation.superuser_dsn
    with pytest.raises(TimelineInUseError):
        await set_aside(dsn)
    await _leave(sealed, installation)
    assert await set_aside(dsn) == await set_aside(dsn) == f"audit_closed_{_SIZE}"
    async with bench_on(sealed.dsn, installation.files.data_dir) as bench:
        builder = LeafBuilder(BLINDING)
        clerk = Clerk(bench.units, Timeline(builder), builder)
        await clerk.begin(_CLOSED, b"", Guard("log.example/acme-2", [], None, None))
        await _leave(bench, installation)
    assert await set_aside(dsn) == f"audit_closed_{_SIZE}"
    async with bench_on(sealed.dsn, installation.files.data_dir) as bench:
        assert [entry["kind"] for entry in await bench.entries()] == ["restore"]
        await bench.record(bench.writers.record("DeviceLost", _ONE))
        await _leave(bench, installation)
    assert await set_aside(dsn) == "audit_closed_2"
    async with bench_on(sealed.dsn, installation.files.data_dir) as bench:
        await bench.record(*(bench.writers.record("DeviceLost", _ONE) for _ in range(2)))
        await _leave(bench, installation)
    assert await set_aside(dsn) == "audit_closed_2_2", "two logs were closed at one size"


async def test_a_log_without_entries_is_not_closed(bench: Bench, installation: Installed) -> None:
    await _leave(bench, installation)
    with pytest.raises(NothingToCloseError):
        await set_aside(installation.superuser_dsn)


@asynccontextmanager
async def _still_connected(sealed: Bench, _: Installed) -> AsyncIterator[None]:
    async with sealed.pool.acquire():
        yield


@asynccontextmanager
async def _no_tables(_: Bench, installation: Installed) -> AsyncIterator[None]:
    ends, no_longer = _ENDINGS[r"^CREATE TABLE audit\.entry"]
    await _as_superuser(installation, ends)
    yield
    await _as_superuser(installation, no_longer)


@asynccontextmanager
async def _note_stays(sealed: Bench, installation: Installed) -> AsyncIterator[None]:
    """The first entry is written, and the old log's note cannot be put aside."""
    in_its_place = installation.files.log_state_dir / f"checkpoint.closed-{_SIZE}" / "in its place"
    in_its_place.mkdir(parents=True)
    yield
    in_its_place.rmdir()
    in_its_place.parent.rmdir()


@pytest.mark.parametrize("ended", [_still_connected, _no_tables, _note_stays])
async def test_an_installation_goes_on_with_one_new_log_whatever_ended_closing_the_old_one(
    sealed: Bench, installation: Installed, ended: Callable[[Bench, Installed], AbstractAsyncContextManager[None]]
) -> None:
    first = installation.files
    await _publish(sealed, first)
    if ended is not _still_connected:
        await _leave(sealed, installation)
    async with ended(sealed, installation):
        with pytest.raises((TimelineInUseError, MigrationError, OSError)):
            await succeed(first, installation.superuser_dsn)
    with pytest.raises(CouldNotError, match="Run lostphone ops close-log again"):
        require_done(Installation.read(first.data_dir))
    await _leave(sealed, installation)

    for _ in range(2):
        done = await succeed(Installation.read(first.data_dir), installation.superuser_dsn)
        assert (done.closed, done.size, done.origin) == (first.log_origin, _SIZE, f"{first.log_origin}-2")
    second = Installation.read(first.data_dir)
    require_done(second)
    assert set(second.closed_log_vkeys()) == set(first.log_keys.vkeys())
    assert {*second.log_keys.vkeys()}.isdisjoint(first.log_keys.vkeys())
    async with bench_on(sealed.dsn, first.data_dir) as bench:
        (restore,) = await bench.entries()
        assert orjson.loads(restore["leaf"])["origin"] == first.log_origin


async def test_a_log_that_has_published_nothing_is_not_followed_by_another(installation: Installed) -> None:
    with pytest.raises(SuccessionError, match="no checkpoint"):
        await succeed(installation.files, installation.superuser_dsn)
    assert Installation.read(installation.files.data_dir).log == 1


async def _publish(bench: Bench, files: Installation) -> None:
    keys = [LogKey.from_pem(file, files.log_origin) for file in files.log_keys.files]
    guard = Guard(files.log_origin, [key.verifier for key in keys], files.log_state_dir, None)
    publisher = Publisher(bench.dsn, files.log_origin, keys, Health(), guard=guard)
    async with bench.pool.acquire() as connection:
        assert await publisher.publish(connection)
