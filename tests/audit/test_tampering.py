"""The database's own superuser plays every trick on the log: each is detected, and named where it can be.

What nothing inside PostgreSQL can stop is caught by what is held outside: checkpoints, witnesses, copies.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest

from services.audit.domain.leaf import LeafBuilder
from services.audit.evidence import verify
from services.audit.guard import ForkedError, Guard
from services.audit.publisher import ForkError, Publisher
from services.audit.reader import DamagedError
from services.audit.timeline import Timeline
from services.audit.tlog import Checkpoint, Edge, SignedNote, leaf_hash
from services.audit.tlog.tiles import paths_of
from shared.telemetry import Health
from tests.audit.conftest import BLINDING, LOG_KEYS, ORIGIN, Bench
from tests.stack.installed import Installed

_ONE = "0192f0c1-0000-7000-8000-000000000001"
_TWO = "0192f0c1-0000-7000-8000-000000000002"
_KEEPERS = [key.verifier for key in LOG_KEYS]


@dataclass
class Attack:
    """A log of 12 entries, the superuser, and what somebody outside kept of it."""

    bench: Bench
    superuser: asyncpg.Connection
    kept: bytes
    """The checkpoint of the first 6 entries."""
    folder: Path

    async def sql(self, *statements: str) -> None:
        """With every guard taken away first, as only a superuser can."""
        async with self.superuser.transaction():
            await self.superuser.execute("SET LOCAL lostphone.guard = 'open'")
            for table in ("entry", "tile", "checkpoint"):
                await self.superuser.execute(f"ALTER TABLE audit.{table} DISABLE TRIGGER ALL")
            for statement in statements:
                await self.superuser.execute(statement)
            for table in ("entry", "tile", "checkpoint"):
                await self.superuser.execute(f"ALTER TABLE audit.{table} ENABLE TRIGGER ALL")
                for trigger in ("refuse_change", "refuse_truncate"):
                    await self.superuser.execute(f"ALTER TABLE audit.{table} ENABLE ALWAYS TRIGGER {trigger}")

    async def verified(self) -> verify.Report:
        """By an outsider who reads what is served, and kept an earlier checkpoint."""
        reader = self.bench.reader
        published = await reader.newest()
        assert published is not None
        files = {"checkpoint": published.note}
        for path in paths_of(published.size):
            files[str(path)] = await reader.tile(path) or b""
        for row in await self.bench.pool.fetch("SELECT sha256, data FROM detached"):
            files[f"detached/{row['sha256'].hex()}"] = row["data"]
        for name, data in files.items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        policy = verify.policy_of([str(_KEEPERS[0])])
        return verify.check_log(str(self.folder), verify.Options(policy, earlier=[self.kept]))

    async def sign_again(self) -> None:
        """Whoever has the log's keys as well: a checkpoint over whatever is in the tables."""
        leaves = [entry["leaf"] for entry in await self.bench.entries()]
        edge, _ = Edge().append(map(leaf_hash, leaves))
        checkpoint = Checkpoint(ORIGIN, len(leaves), edge.root())
        note = bytes(SignedNote(checkpoint.text(), tuple(key.sign(checkpoint, 1) for key in LOG_KEYS)))
        await self.sql("DELETE FROM audit.checkpoint")
        await self.superuser.execute(
            "INSERT INTO audit.checkpoint VALUES ($1, $2, $3, now())", checkpoint.size, checkpoint.root, note
        )
        await self.superuser.execute(
            "UPDATE audit.log_state SET size = $1, root = $2", checkpoint.size, checkpoint.root
        )


@pytest.fixture
async def attack(bench: Bench, installation: Installed, tmp_path: Path) -> AsyncIterator[Attack]:
    writers = bench.writers
    await bench.record(*(writers.record("DeviceLocked", _ONE) for _ in range(6)))
    await bench.publish()
    kept = await bench.reader.newest()
    assert kept is not None
    await bench.record(
        writers.record("DeviceLost", _TWO),
        *(writers.record("DeviceLocked", _ONE) for _ in range(3)),
        writers.record("ReportVerified", _TWO),
        writers.record("ReportVerified", _TWO),
    )
    await bench.publish()
    superuser = await asyncpg.connect(installation.superuser_dsn)
    try:
        yield Attack(bench, superuser, kept.note, tmp_path / "served")
    finally:
        await superuser.close()


def _found(report: verify.Report, check: str, seq: int | None) -> None:
    assert report.outcome == "disproved", report.document()
    assert any(offence["check"] == check for offence in report.offences), report.document()
    assert report.document()["first_offence"]["seq"] == seq, report.document()


_EDIT = "UPDATE audit.entry SET leaf = set_byte(leaf, length(leaf) - 2, 120) WHERE seq = 7"
_REHASH = "UPDATE audit.entry SET leaf_hash = sha256('\\x00'::bytea || leaf) WHERE seq = 7"


async def test_an_untouched_log_is_proved(attack: Attack) -> None:
    assert (await attack.verified()).outcome == "proved"


async def test_an_edited_entry_is_named(attack: Attack) -> None:
    await attack.sql(_EDIT)
    _found(await attack.verified(), "leaves", 7)


_AROUND_THE_GUARDS = (
    (
        "SET LOCAL lostphone.guard = 'open'",
        (
            "ALTER TABLE audit.entry ALTER COLUMN leaf TYPE bytea USING "
            "CASE seq WHEN 7 THEN set_byte(leaf, length(leaf) - 2, 120) ELSE leaf END"
        ),
    ),
    (
        "ALTER EVENT TRIGGER audit_refuse_alter DISABLE",
        "ALTER TABLE audit.entry DISABLE TRIGGER refuse_change",
        _EDIT,
    ),
    ("DROP EVENT TRIGGER audit_refuse_drop", "DROP TRIGGER refuse_change ON audit.entry", _EDIT),
    ("SET LOCAL allow_system_table_mods = on", "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname ~ '^refuse'", _EDIT),
    (
        (
            "CREATE OR REPLACE FUNCTION timeline_guard.refuse_alter() RETURNS event_trigger LANGUAGE plpgsql "
            "AS 'BEGIN END'"
        ),
        "CREATE OR REPLACE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        _EDIT,
    ),
)


@pytest.mark.parametrize("trick", _AROUND_THE_GUARDS)
async def test_whichever_way_around_the_guards_the_edited_entry_is_named(
    attack: Attack, trick: tuple[str, ...]
) -> None:
    async with attack.superuser.transaction():
        for statement in trick:
            await attack.superuser.execute(statement)
    _found(await attack.verified(), "leaves", 7)


async def test_a_full_tile_that_is_edited_is_named_by_the_entry_that_it_belies(attack: Attack) -> None:
    await attack.bench.record(*(attack.bench.writers.record("DeviceLocked", _ONE) for _ in range(250)))
    await attack.bench.publish()
    await attack.sql("UPDATE audit.tile SET hashes = set_byte(hashes, 7 * 32, get_byte(hashes, 7 * 32) # 1)")
    _found(await attack.verified(), "leaves", 7)


async def test_a_detached_part_that_is_edited_is_named_by_its_entry(attack: Attack) -> None:
    bench = attack.bench
    forged = replace(bench.writers.record("DeviceLost", _TWO), value=b"x" * 70_000)
    await bench.record(forged)
    await bench.publish()
    assert (await attack.verified()).outcome == "proved"
    await attack.sql(
        "ALTER TABLE audit.detached DISABLE TRIGGER ALL", "UPDATE audit.detached SET data = set_byte(data, 9, 1)"
    )
    _found(await attack.verified(), "detached", 12)


async def test_a_checkpoint_written_into_the_table_without_the_key_is_no_checkpoint(attack: Attack) -> None:
    await attack.sql(_EDIT, _REHASH)
    leaves = [entry["leaf"] for entry in await attack.bench.entries()]
    edge, _ = Edge().append(map(leaf_hash, leaves))
    text = Checkpoint(ORIGIN, len(leaves), edge.root()).text()
    newest = await attack.bench.reader.newest()
    assert newest is not None
    note = bytes(SignedNote(text, SignedNote.parse(newest.note).signatures))
    await attack.sql("DELETE FROM audit.checkpoint")
    await attack.superuser.execute("INSERT INTO audit.checkpoint VALUES (12, $1, $2, now())", edge.root(), note)
    report = await attack.verified()
    assert next(check["outcome"] for check in report.checks if check["name"] == "signature") == "disproved"


async def test_a_log_deleted_whole_is_missed_outside_and_not_begun_again(attack: Attack, tmp_path: Path) -> None:
    guard = Guard(ORIGIN, _KEEPERS, tmp_path / "outside", None)
    newest = await attack.bench.reader.newest()
    assert newest is not None
    guard.keep(newest.note)
    await attack.sql(
        "TRUNCATE audit.entry, audit.stream, audit.heard",
        "DELETE FROM audit.checkpoint",
        "UPDATE audit.log_state SET size = 0, root = sha256('')",
    )
    bench = attack.bench
    with pytest.raises(ForkedError, match="knows 12 signed entries and the database has 0"):
        await bench.take(bench.place(bench.writers.record("DeviceLost", _TWO)), Timeline(LeafBuilder(BLINDING), guard))
    # Whoever holds the key as well, and took the kept checkpoint away, meets the one that a reader kept.
    await bench.take(bench.place(bench.writers.record("DeviceLost", _TWO)), Timeline(LeafBuilder(BLINDING)))
    await bench.publish()
    assert any(offence["check"] == "consistency" for offence in (await attack.verified()).offences)


async def test_an_edited_entry_with_its_hash_is_named_by_the_one_that_follows_it(attack: Attack) -> None:
    await attack.sql(_EDIT, _REHASH)
    report = await attack.verified()
    _found(report, "chains", 8)
    assert any(offence["check"] == "root" for offence in report.offences)


async def test_the_last_entry_edited_with_its_hash_does_not_give_the_signed_root(attack: Attack) -> None:
    await attack.sql(_EDIT.replace("7", "11"), _REHASH.replace("7", "11"))
    _found(await attack.verified(), "root", None)


async def test_a_cut_tail_is_missed_by_the_signed_size_and_is_not_signed_again(attack: Attack) -> None:
    await attack.sql(
        "DELETE FROM audit.entry WHERE seq >= 10",
        "UPDATE audit.log_state SET size = 10, root = (SELECT sha256('any'))",
    )
    _found(await attack.verified(), "leaves", 10)
    with pytest.raises(ForkError):
        await attack.bench.publish()


async def test_a_tail_cut_together_with_its_checkpoint_is_caught_by_the_kept_one(attack: Attack) -> None:
    await attack.sql("DELETE FROM audit.entry WHERE seq >= 4")
    await attack.sign_again()
    _found(await attack.verified(), "consistency", 4)


async def _state(attack: Attack, size: int, root: bytes) -> None:
    await attack.superuser.execute("UPDATE audit.log_state SET size = $1, root = $2", size, root)


async def test_a_root_that_the_superuser_puts_into_the_state_is_not_signed(attack: Attack, tmp_path: Path) -> None:
    """Else he would have another history signed without a key, and the guard would take its note for the newest."""
    bench, guard = attack.bench, Guard(ORIGIN, _KEEPERS, tmp_path / "outside", None)
    newest = await bench.reader.newest()
    assert newest is not None
    guard.keep(newest.note)
    forged, _ = Edge().append([bytes(32)] * 13)
    await bench.record(bench.writers.record("ReportVerified", _TWO))
    await _state(attack, 13, forged.root())
    with pytest.raises(ForkError):
        await bench.publish()
    # Tables that give this root, and no checkpoint in them to hold against it: the kept one is.
    await attack.sql("DELETE FROM audit.checkpoint", f"UPDATE audit.entry SET leaf_hash = '\\x{bytes(32).hex()}'")
    publisher = Publisher(bench.dsn, ORIGIN, LOG_KEYS, Health(), guard=guard)
    async with bench.pool.acquire() as connection:
        with pytest.raises(ForkedError, match="are not those"):
            await publisher.publish(connection)
    assert await bench.reader.newest() is None


async def test_tiles_that_the_superuser_took_away_stop_the_signing(attack: Attack) -> None:
    bench = attack.bench
    await bench.record(*(bench.writers.record("ReportVerified", _TWO) for _ in range(300)))
    await attack.sql("DELETE FROM audit.tile")
    with pytest.raises(DamagedError, match=r"tables lack hashes of tile/1/000\.p/1"):
        await bench.publish()


async def test_an_entry_cut_out_of_the_middle_is_named(attack: Attack) -> None:
    await attack.sql(
        "DELETE FROM audit.entry WHERE seq = 7",
        "UPDATE audit.entry SET seq = seq - 100 WHERE seq > 7",
        "UPDATE audit.entry SET seq = seq + 99 WHERE seq < 0",
    )
    await attack.sign_again()
    _found(await attack.verified(), "chains", 7)


async def test_two_entries_swapped_are_named(attack: Attack) -> None:
    await attack.sql(
        "UPDATE audit.entry SET seq = -1 WHERE seq = 7",
        "UPDATE audit.entry SET seq = 7 WHERE seq = 8",
        "UPDATE audit.entry SET seq = 8 WHERE seq = -1",
    )
    report = await attack.verified()
    _found(report, "chains", 7)
    assert any(offence["check"] == "root" for offence in report.offences)


async def test_an_entry_put_in_between_is_named(attack: Attack) -> None:
    await attack.sql(
        "UPDATE audit.entry SET seq = -seq WHERE seq >= 7",
        "UPDATE audit.entry SET seq = 1 - seq WHERE seq < 0",
        "INSERT INTO audit.entry (seq, kind, leaf_hash, leaf) "
        "SELECT 7, 'event', leaf_hash, leaf FROM audit.entry WHERE seq = 3",
    )
    await attack.sign_again()
    _found(await attack.verified(), "chains", 7)


async def test_a_table_rebuilt_without_the_key_does_not_give_the_signed_root(attack: Attack) -> None:
    await _rebuild(attack)
    report = await attack.verified()
    assert report.outcome == "disproved"
    assert any(offence["check"] == "root" for offence in report.offences)


async def test_a_table_rebuilt_and_signed_with_the_key_is_caught_by_whoever_kept_a_checkpoint(attack: Attack) -> None:
    await _rebuild(attack)
    await attack.sign_again()
    report = await attack.verified()
    _found(report, "consistency", None)
    # Inside itself the forged log is perfect: only what was held outside tells.
    assert {offence["check"] for offence in report.offences} == {"consistency"}


async def test_a_database_from_an_older_backup_is_neither_written_to_nor_signed(attack: Attack, tmp_path: Path) -> None:
    guard = Guard(ORIGIN, _KEEPERS, tmp_path / "outside", None)
    newest = await attack.bench.reader.newest()
    assert newest is not None
    guard.keep(newest.note)
    bench = attack.bench
    root = await bench.reader.root(6)
    await attack.sql(
        "DELETE FROM audit.entry WHERE seq >= 6",
        "DELETE FROM audit.checkpoint WHERE size > 6",
        f"UPDATE audit.log_state SET size = 6, root = '\\x{root.hex()}'",
    )
    with pytest.raises(ForkedError, match="older backup"):
        await bench.take(bench.place(bench.writers.record("DeviceLost", _TWO)), Timeline(LeafBuilder(BLINDING), guard))
    assert len(await bench.entries()) == 6


async def test_an_index_made_while_the_end_of_a_chain_was_hidden_is_false_and_named(attack: Attack) -> None:
    from services.audit.clerk import Clerk

    last = f"(SELECT max(n) FROM audit.entry WHERE subject = '{_ONE}')"
    await attack.sql(f"UPDATE audit.entry SET subject = 'hidden' WHERE subject = '{_ONE}' AND n = {last}")
    clerk = Clerk(attack.bench.units, attack.bench.timeline, LeafBuilder(BLINDING))
    assert await clerk.index() == 12
    await attack.sql(f"UPDATE audit.entry SET subject = '{_ONE}' WHERE subject = 'hidden'")
    await attack.bench.publish()
    _found(await attack.verified(), "index", 12)


_GUARDED = (
    "UPDATE audit.entry SET kind = 'gap' WHERE seq = 1",
    "DELETE FROM audit.checkpoint",
    "TRUNCATE audit.tile",
    "ALTER TABLE audit.entry DISABLE TRIGGER refuse_change",
    "ALTER TABLE audit.entry ALTER COLUMN leaf TYPE bytea USING 'x'::bytea",
    "DROP TRIGGER refuse_change ON audit.entry",
    "DROP TABLE audit.timestamp_response",
    "DROP SCHEMA audit CASCADE",
    "CREATE RULE nothing AS ON INSERT TO audit.entry DO INSTEAD NOTHING",
)


async def test_guards_stop_every_mistake_of_the_owner_and_of_the_superuser(attack: Attack) -> None:
    for become in ("SET ROLE audit_owner", "SET session_replication_role = replica"):
        await attack.superuser.execute(become)
        for statement in _GUARDED:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await attack.superuser.execute(statement)
        await attack.superuser.execute("RESET ROLE")
    await attack.superuser.execute("RESET session_replication_role")


async def test_a_log_that_was_set_aside_is_guarded_as_well(attack: Attack) -> None:
    """Two logs that were closed at one size have numbers behind it."""
    for aside in ("audit_closed_12", "audit_closed_12_2"):
        await attack.superuser.execute(f"ALTER SCHEMA audit RENAME TO {aside}")
        for statement in _GUARDED:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await attack.superuser.execute(re.sub(r"\baudit\b", aside, statement))
        await attack.superuser.execute(f"ALTER SCHEMA {aside} RENAME TO audit")


_REFUSED_TO_THE_SERVICE = (
    *_GUARDED,
    "INSERT INTO audit.checkpoint SELECT * FROM audit.checkpoint ON CONFLICT (size) DO UPDATE SET note = excluded.note",
    "SET session_replication_role = replica",
    "SET ROLE audit_owner",
    "ALTER TABLE audit.entry ENABLE ROW LEVEL SECURITY",
)


async def test_the_service_itself_can_only_add(attack: Attack) -> None:
    async with attack.bench.pool.acquire() as service:
        await service.execute("SET lostphone.guard = 'open'")
        for statement in _REFUSED_TO_THE_SERVICE:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(statement)
    assert (await attack.verified()).outcome == "proved"


async def test_a_migration_that_means_it_may_change_the_tables(attack: Attack) -> None:
    async with attack.superuser.transaction():
        await attack.superuser.execute("SET LOCAL ROLE audit_owner")
        await attack.superuser.execute("CREATE TABLE audit.another (n bigint)")
        await attack.superuser.execute("SET LOCAL lostphone.guard = 'open'")
        await attack.superuser.execute("ALTER TABLE audit.entry ADD COLUMN more text")


async def _rebuild(attack: Attack) -> None:
    """The first entry is another, and all that follows is made anew to fit."""
    bench, builder = attack.bench, LeafBuilder(BLINDING)
    await attack.sql(
        "DELETE FROM audit.entry",
        "DELETE FROM audit.stream",
        "DELETE FROM audit.heard",
        "UPDATE audit.log_state SET size = 0, root = sha256('')",
    )
    bench.offsets.clear()
    await bench.take(
        bench.place(
            bench.writers.record("LockFailed", _ONE), *(bench.writers.record("DeviceLocked", _ONE) for _ in range(11))
        ),
        Timeline(builder),
    )
