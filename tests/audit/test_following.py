"""Positions and sequences follow the entries that were added at once; until they have, nothing depends on them."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copytree

import asyncpg
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.playing import served
from services.audit import store
from services.audit.publisher import Publisher
from services.audit.tlog import Checkpoint, Policy, SignedNote
from services.audit.witnesses import Witnesses
from shared.events import Received
from shared.messaging.position import read_positions
from shared.postgres import migrate
from shared.telemetry import Health
from tests.audit.conftest import LOG_KEYS, ORIGIN, Bench
from tests.audit.running import eventually
from tests.stack.installed import Installed

_SUBJECTS = [f"0192f0c1-0000-7000-8000-{at:012x}" for at in range(3)]
_ROOT = Path(__file__).parents[2]


async def _ahead(bench: Bench, number: int) -> list[Received]:
    """A log of three records that were taken the long way, and so many that were added at once."""
    records = [
        placed
        for at in range(3 + number)
        for placed in bench.place(bench.writers.record("DeviceLocked", _SUBJECTS[at % 3]), partition=at % 2)
    ]
    assert not await bench.consume(records[:3])
    for record in records[3:]:
        assert await bench.consume([record])
    return records


async def _heard(bench: Bench) -> dict[str, int]:
    return dict(await bench.pool.fetch("SELECT subject, sequence FROM heard"))


@pytest.mark.parametrize("stride", [2, 10_000])
async def test_they_follow_up_to_what_is_recorded_however_often(
    bench: Bench, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_STRIDE", stride)
    await _ahead(bench, 9)
    behind = await read_positions(bench.pool)
    assert set(behind.values()) < {1, 2, 3, 4, 5}
    for _ in range(2):
        await bench.follow()
        assert await read_positions(bench.pool) == dict.fromkeys(behind, 6)
        assert await _heard(bench) == dict.fromkeys(_SUBJECTS, 4)


async def test_records_that_are_read_again_because_they_had_not_followed_are_dropped(bench: Bench) -> None:
    records = await _ahead(bench, 6)
    before = await bench.entries()
    started_again = bench.new_writer()
    assert not await bench.consume(records[3:7], started_again)
    assert not await bench.consume(records[7:], started_again)
    assert await bench.entries() == before
    assert await _heard(bench) == dict.fromkeys(_SUBJECTS, 3)
    assert not await bench.outbox()
    following = bench.place(bench.writers.record("DeviceLocked", _SUBJECTS[0]), partition=1)
    assert not await bench.consume(following, started_again)
    assert await bench.consume(
        bench.place(bench.writers.record("DeviceLocked", _SUBJECTS[1]), partition=0), started_again
    )


async def test_a_position_that_somebody_moves_is_left_to_them(bench: Bench) -> None:
    await _ahead(bench, 7)
    held, free = (bench.writers.topic, 0), (bench.writers.topic, 1)
    before = await read_positions(bench.pool)
    async with bench.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM position WHERE partition = 0 FOR UPDATE")
        await asyncio.wait_for(bench.follow(), 10)
    assert before[held] < 5
    assert await read_positions(bench.pool) == {held: before[held], free: 5}
    following = bench.place(bench.writers.record("DeviceLocked", _SUBJECTS[0]), partition=0)
    assert await bench.consume(following)
    await bench.follow()
    assert await read_positions(bench.pool) == {held: 6, free: 5}


async def test_what_is_wrong_with_a_sequence_is_seen_before_they_have_followed(bench: Bench) -> None:
    await _ahead(bench, 6)
    late = bench.place(bench.writers.record("DeviceLocked", _SUBJECTS[0], sequence=2))
    assert not await bench.consume(late)
    missing = bench.place(bench.writers.record("DeviceLocked", _SUBJECTS[1], sequence=9))
    assert not await bench.consume(missing)
    rows = await bench.pool.fetch("SELECT value FROM outbox WHERE topic <> 'lostphone.ocsf.v1' ORDER BY place")
    assert [b"sequence_taken" in row["value"] or b"sequence_step_back" in row["value"] for row in rows] == [True, False]
    assert b"sequence_gap" in rows[1]["value"]


@contextlib.asynccontextmanager
async def _publishing(bench: Bench, health: Health, witnesses: Witnesses | None = None) -> AsyncIterator[None]:
    publisher = Publisher(bench.dsn, ORIGIN, LOG_KEYS, health, witnesses=witnesses)
    publishing = asyncio.create_task(publisher.run())
    try:
        yield
    finally:
        publishing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publishing


async def _follow_up_to(bench: Bench, *offsets: int) -> None:
    async def followed() -> bool:
        return sorted((await read_positions(bench.pool)).values()) == sorted(offsets)

    assert await eventually(followed)


async def test_the_publisher_lets_them_follow(bench: Bench) -> None:
    await _ahead(bench, 6)
    async with _publishing(bench, Health()):
        await _follow_up_to(bench, 5, 4)


async def test_they_follow_while_a_witness_refuses(bench: Bench) -> None:
    async def refuse(_: Request) -> Response:
        return PlainTextResponse("no", 403)

    await _ahead(bench, 6)
    health, app = Health(), Starlette(routes=[Route("/add-checkpoint", refuse, methods=["POST"])])

    async def is_refused() -> bool:
        return "HTTP 403" in str((await health.ready()).get("publisher"))

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        policy = Policy.parse(f"log {LOG_KEYS[0].verifier}\nwitness w {LOG_KEYS[0].verifier} {url}\nquorum w\n")
        async with (
            served(app, taken),
            httpx2.AsyncClient() as http,
            _publishing(bench, health, Witnesses(policy, http)),
        ):
            assert await eventually(is_refused)
            assert await bench.consume(bench.place(bench.writers.record("DeviceLocked", _SUBJECTS[0]), partition=1))
            await _follow_up_to(bench, 5, 5)
    assert await bench.reader.newest() is None


async def test_they_follow_where_a_fork_ended_the_signing_for_good(bench: Bench) -> None:
    await _ahead(bench, 6)
    other = Checkpoint(ORIGIN, 9, bytes(32))
    note = SignedNote(other.text(), (LOG_KEYS[0].sign(other, 1),))
    await bench.pool.execute(
        "INSERT INTO checkpoint (size, root, note, signed_at) VALUES ($1, $2, $3, now())",
        *(other.size, other.root, bytes(note)),
    )
    health = Health()

    async def is_forked() -> bool:
        return "does not continue it" in str((await health.ready()).get("publisher"))

    async with _publishing(bench, health):
        assert await eventually(is_forked)
        assert await bench.consume(bench.place(bench.writers.record("DeviceLocked", _SUBJECTS[0]), partition=1))
        await _follow_up_to(bench, 5, 5)
        assert await is_forked()
    assert await bench.pool.fetchval("SELECT max(size) FROM checkpoint") == other.size


async def test_repeats_in_a_log_of_an_earlier_release_are_numbered(installation: Installed, tmp_path: Path) -> None:
    kit, own = _ROOT / "shared/messaging/migrations", _ROOT / "services/audit/migrations"
    earlier = tmp_path / "services/audit/migrations"
    copytree(own, earlier)
    for file in earlier.glob("0009*"):
        file.unlink()
    dsn = installation.superuser_dsn
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("CREATE SCHEMA earlier; SET search_path = earlier")
        await migrate(dsn, "earlier", kit, earlier)
        for seq, event_id in enumerate(("a", "b", "a", None, "a")):
            await connection.execute(
                "INSERT INTO entry (seq, kind, leaf_hash, leaf, event_id) VALUES ($1, 'event', $2, $2, $3)",
                *(seq, bytes(32), event_id),
            )
        await migrate(dsn, "earlier", kit, own)
        numbered = await connection.fetch("SELECT event_id, repeat FROM entry ORDER BY seq")
        assert list(map(tuple, numbered)) == [("a", 0), ("b", 0), ("a", 1), (None, 0), ("a", 2)]
        with pytest.raises(asyncpg.PostgresError, match="only ever added to"):
            await connection.execute("UPDATE entry SET repeat = 7")
    finally:
        await connection.execute("DROP SCHEMA earlier CASCADE")
        await connection.close()
