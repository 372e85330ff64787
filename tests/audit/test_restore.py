"""The database is lost and an older backup comes back: nothing is written that would fork the log. It goes on only as
the log that was published, byte for byte, or as another one that says so."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from lostphone import backup, database
from lostphone.installation import SERVICES
from lostphone.verify import DirectorySource, Report, run
from services.audit.clerk import Clerk
from services.audit.domain.leaf import LeafBuilder
from services.audit.evidence import verify as verify_file
from services.audit.guard import ForkedError, Guard
from services.audit.kept import Kept
from services.audit.publisher import Publisher
from services.audit.timeline import Timeline
from services.audit.tlog import LogKey
from shared.telemetry import Health
from tests.audit.conftest import BLINDING, LOG_KEYS, ORIGIN, Bench, as_audit, bench_on
from tests.audit.running import audit_settings
from tests.audit.test_recovery import copy_log
from tests.stack.installed import PASSWORDS, Installed

_ONE = "0192f0c1-0000-7000-8000-0000000000a1"
_TWO = "0192f0c1-0000-7000-8000-0000000000a2"
_NEW_ORIGIN = "log.example/acme-2"
_OLD = [key.verifier for key in LOG_KEYS]
_NEW_KEYS = (
    LogKey(_NEW_ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)),
    LogKey(_NEW_ORIGIN, MLDSA44PrivateKey.from_seed_bytes(bytes([7]) * 32)),
)
_NEW = [key.verifier for key in _NEW_KEYS]


@dataclass
class Ground:
    """A log, its backup, and those outside who keep what it publishes."""

    folder: Path
    installed: Installed
    bench: Bench
    kept: list[bytes] = field(default_factory=list)
    """Every checkpoint that was published."""

    @property
    def dsn(self) -> str:
        return self.installed.superuser_dsn

    def guard(self, origin: str = ORIGIN) -> Guard:
        return Guard(origin, _OLD if origin == ORIGIN else _NEW, self.folder / "outside", None)

    async def publish(self, bench: Bench, origin: str = ORIGIN) -> None:
        keys = LOG_KEYS if origin == ORIGIN else _NEW_KEYS
        publisher = Publisher(bench.dsn, origin, keys, Health(), guard=self.guard(origin))
        async with bench.pool.acquire() as connection:
            assert await publisher.publish(connection)
        newest = await bench.reader.newest()
        assert newest is not None
        self.kept.append(newest.note)

    async def destroy_and_restore(self) -> None:
        """As an operator does it by hand."""
        await self.bench.pool.close()
        server_dsn, _, name = self.dsn.rpartition("/")
        server = await asyncpg.connect(f"{server_dsn}/postgres")
        try:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        finally:
            await server.close()
        dump = str(self.folder / "backup.dump")
        backup.run("pg_restore", self.dsn, f"--dbname={name}", "--exit-on-error", "--single-transaction", dump)
        await database.prepare(f"{server_dsn}/postgres", name, PASSWORDS)
        await database.migrate_all(self.dsn, SERVICES)

    async def refuses(self) -> None:
        """The writer does not go on, and so there is nothing that the publisher could sign."""
        async with bench_on(as_audit(self.dsn), self.folder) as bench:
            record = bench.place(self.bench.writers.record("DeviceLocked", _TWO), partition=5)
            with pytest.raises(ForkedError, match="older backup"):
                await bench.take(record, Timeline(LeafBuilder(BLINDING), self.guard()))
            publisher = Publisher(bench.dsn, ORIGIN, LOG_KEYS, Health(), guard=self.guard())
            async with bench.pool.acquire() as connection:
                assert not await publisher.publish(connection), "what the backup has is signed already"

    def command(self, *arguments: str, origin: str = ORIGIN) -> "subprocess.CompletedProcess[str]":
        """`python -m services.audit` as an operator gives it."""
        told = audit_settings(self.folder, self.bench.writers, self.installed.files, (9, 9))
        told |= {"postgres_dsn": as_audit(self.dsn), "kafka_bootstrap": self.installed.bootstrap}
        told |= {"log_origin": origin, "log_state_dir": self.folder / "outside"}
        said = {f"LOSTPHONE_{name.upper()}": str(value) for name, value in told.items()}
        return _run("services.audit", *arguments, **said)

    def verdicts(self, copy: Path, earlier: list[bytes], *origins: str) -> tuple[Report, verify_file.Report]:
        """What both verifiers say of a copy."""
        keys = [key for origin in origins for key in (_OLD if origin == ORIGIN else _NEW)]
        policy = verify_file.policy_of([str(key) for key in keys])
        report = run(DirectorySource(copy), keys, earlier=earlier, keyring=self.bench.writers.keyring())
        return report, verify_file.check_log(str(copy), verify_file.Options(policy, earlier))


def _run(module: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
async def ground(installation: Installed, tmp_path: Path) -> AsyncIterator[Ground]:
    """A log that was backed up at 42 entries and then said everything that a log can say of itself."""
    async with bench_on(as_audit(installation.superuser_dsn), tmp_path) as bench:
        ground, writers = Ground(tmp_path, installation, bench), bench.writers
        await bench.record(
            writers.record("DeviceLost", _ONE), *(writers.record("DeviceLocked", _ONE) for _ in range(40))
        )
        await bench.record(writers.record("DeviceLost", _TWO), partition=1)
        await ground.publish(bench)
        backup.dump(ground.dsn, tmp_path / "backup.dump")
        clerk = Clerk(bench.units, bench.timeline, LeafBuilder(BLINDING))
        await bench.record(*(writers.record("DeviceLocated", _ONE) for _ in range(300)))
        await ground.publish(bench)
        await clerk.export(_ONE, "acme-kk", [], "service/audit")
        await bench.take(bench.place(writers.record("DeviceLocked", _TWO), partition=1, skip=3))
        Kept(tmp_path / "outside").keep(ground.kept[-1], b"a response")
        await clerk.anchor(342, ground.kept[-1], b"a response")
        await bench.record(writers.record("PersonalDataErased", "org-acme-kk"), writers.record("IncidentClosed", _ONE))
        await clerk.keys(LOG_KEYS[0], LOG_KEYS)
        await ground.publish(bench)
        yield ground


async def test_what_was_published_after_the_backup_comes_back_byte_for_byte_and_goes_on(ground: Ground) -> None:
    copy = ground.folder / "copy"
    await copy_log(ground.bench, copy)
    leaves = [row["leaf"] for row in await ground.bench.entries()]
    kinds = {row["kind"] for row in await ground.bench.entries()}
    assert kinds >= {"event", "gap", "index", "export", "anchor", "erasure", "seal", "key"}

    await ground.destroy_and_restore()
    await ground.refuses()
    done = ground.command("recover", str(copy))
    assert (done.returncode, done.stdout) == (0, f"{len(leaves) - 42} entries were added\n"), done.stderr

    async with bench_on(as_audit(ground.dsn), ground.folder) as bench:
        assert [row["leaf"] for row in await bench.entries()] == leaves
        newest = await bench.reader.newest()
        stamped = await bench.reader.checkpoint(342)
        assert newest is not None
        assert stamped is not None
        assert [stamped.note, newest.note] == ground.kept[-2:], "the notes that were kept outside are back"
        responses = [(row["size"], row["response"]) for row in await bench.reader.timestamps(len(leaves))]
        assert responses == [(342, b"a response")], "and what the authority had answered"
        bench.writers, bench.offsets = ground.bench.writers, ground.bench.offsets
        more = bench.place(bench.writers.record("IncidentReopened", _ONE))
        await bench.take(more, Timeline(LeafBuilder(BLINDING), ground.guard()))
        await ground.publish(bench)
        await copy_log(bench, ground.folder / "after")
    for report in ground.verdicts(ground.folder / "after", ground.kept[:-1], ORIGIN):
        assert report.outcome == "proved", report.document()


async def _close(ground: Ground) -> None:
    await ground.destroy_and_restore()
    await ground.refuses()
    done = _run("lostphone", "ops", "close-log", "--postgres", ground.dsn, "--json")
    assert json.loads(done.stdout) == {"schema": "audit_closed_42"}, done.stderr


async def _read_kafka_again(ground: Ground) -> list[bytes]:
    """Under the new origin, published and copied; the leaves of events."""
    async with bench_on(as_audit(ground.dsn), ground.folder) as bench:
        await bench.take(ground.bench.placed, Timeline(LeafBuilder(BLINDING), ground.guard(_NEW_ORIGIN)))
        await ground.publish(bench, _NEW_ORIGIN)
        await copy_log(bench, ground.folder / "after")
        return [row["leaf"] for row in await bench.entries() if row["kind"] == "event"]


async def test_a_log_that_cannot_be_recovered_goes_on_as_another_one_that_says_so_first(ground: Ground) -> None:
    events = [row["leaf"] for row in await ground.bench.entries() if row["kind"] == "event"]
    files = [ground.folder / f"kept-{at}" for at in range(len(ground.kept))]
    for file, note in zip(files, ground.kept, strict=True):
        file.write_bytes(note)
    await _close(ground)
    vkey = str(_OLD[0])
    for named, origin, why in (
        (files[0], _NEW_ORIGIN, "closed at the newest checkpoint that was published"),
        (files[-1], ORIGIN, "a new log needs an origin of its own"),
    ):
        refused = ground.command("begin", str(named), "--vkey", vkey, origin=origin)
        assert (refused.returncode, why in refused.stderr) == (1, True), refused.stderr
    done = ground.command("begin", str(files[-1]), "--vkey", vkey, origin=_NEW_ORIGIN)
    assert done.returncode == 0, done.stderr
    again = ground.command("begin", str(files[-1]), "--vkey", vkey, origin=_NEW_ORIGIN)
    assert (again.returncode, again.stdout) == (0, done.stdout), "and nothing is written twice"
    other = ground.command("begin", str(files[0]), "--vkey", vkey, origin=_NEW_ORIGIN)
    assert (other.returncode, other.stderr) == (1, "the log has 1 entries already\n")

    assert sorted(await _read_kafka_again(ground)) == sorted(events), "the same bytes, each in its chain"
    after, older = ground.folder / "after", ground.kept[:-1]
    for report in ground.verdicts(after, older, ORIGIN, _NEW_ORIGIN):
        assert report.outcome == "proved", report.document()
        told = next(check["detail"] for check in report.document()["checks"] if check["name"] == "restore")
        assert f"goes on from {ORIGIN}" in told


async def test_who_kept_a_later_checkpoint_sees_that_the_new_log_leaves_entries_out(ground: Ground) -> None:
    (ground.folder / "older").write_bytes(ground.kept[0])
    older, newest = ground.kept[0], ground.kept[-1]
    await _close(ground)
    # Whoever wants to be rid of the entries behind it removes what was kept outside, too.
    (ground.folder / "outside" / "checkpoint").unlink()
    done = ground.command("begin", str(ground.folder / "older"), "--vkey", str(_OLD[0]), origin=_NEW_ORIGIN)
    assert done.returncode == 0, done.stderr
    await _read_kafka_again(ground)
    for kept, outcome in ((older, "proved"), (newest, "disproved")):
        for report in ground.verdicts(ground.folder / "after", [kept], ORIGIN, _NEW_ORIGIN):
            assert report.outcome == outcome, report.document()
    assert report.document()["first_offence"] | {"reason": ""} == {"check": "restore", "seq": 0, "reason": ""}
