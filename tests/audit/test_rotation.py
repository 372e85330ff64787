"""The log goes on with other keys: what was published last bears the old one, which the policy names until the next."""

import errno
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lostphone.log_keys import LogKeys
from lostphone.log_rotation import change_keys, require_done
from lostphone.screen import CouldNotError
from services.audit.domain.leaf import open_leaf
from services.audit.guard import ForkedError, Guard
from services.audit.publisher import Publisher
from services.audit.tlog import Checkpoint, LogKey, SignedNote
from shared.telemetry import Health
from tests.audit.conftest import LOG_KEYS, ORIGIN, Bench, as_audit, bench_on
from tests.audit.running import audit_at
from tests.stack.installed import Installed

_ONE = "0192f0c1-0000-7000-8000-0000000000b1"
_OLD = LogKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32))


@pytest.mark.parametrize("old_is_named", [True, False])
async def test_a_service_with_new_keys_goes_on_where_its_policy_names_the_old_one(
    installation: Installed, tmp_path: Path, old_is_named: bool
) -> None:
    outside, policy = tmp_path / "outside", tmp_path / "policy.txt"
    async with bench_on(as_audit(installation.superuser_dsn), tmp_path) as bench:
        await bench.record(*(bench.writers.record("DeviceLocked", _ONE) for _ in range(3)))
        guard = Guard(ORIGIN, [_OLD.verifier], outside, None)
        publisher = Publisher(bench.dsn, ORIGIN, [_OLD], Health(), guard=guard)
        async with bench.pool.acquire() as connection:
            assert await publisher.publish(connection)
    keys = [*LOG_KEYS, _OLD] if old_is_named else LOG_KEYS
    policy.write_text("".join(f"log {key.verifier}\n" for key in keys) + "quorum none\n")
    async with audit_at(installation, tmp_path, log_state_dir=outside, log_policy_file=policy) as audit:
        audit.bench.writers._ids = 100
        record = audit.bench.place(audit.bench.writers.record("DeviceLocked", _ONE))
        if old_is_named:
            await audit.bench.take(record)
            assert len(await audit.bench.entries()) == 4
        else:
            with pytest.raises(ForkedError, match="no key that is trusted signed the note"):
                await audit.bench.take(record)


@pytest.fixture
async def bench(installation: Installed, tmp_path: Path) -> AsyncIterator[Bench]:
    """The log of an installation, with something in it that was published."""
    async with bench_on(as_audit(installation.superuser_dsn), tmp_path) as bench:
        await bench.record(*(bench.writers.record("DeviceLocked", _ONE) for _ in range(3)))
        files = installation.files
        signing = [LogKey.from_pem(file, files.log_origin) for file in files.log_keys.files]
        guard = Guard(files.log_origin, [key.verifier for key in signing], files.log_state_dir, None)
        publisher = Publisher(bench.dsn, files.log_origin, signing, Health(), guard=guard)
        async with bench.pool.acquire() as connection:
            assert await publisher.publish(connection)
        yield bench


def _fails(*_: object) -> None:
    raise OSError(errno.EIO, "ended here")


@pytest.mark.parametrize("ended_at", ["first key", "second key", "entry", "past keys", "first move", "second move"])
async def test_an_installation_gives_its_log_other_keys_once_whatever_ended_that(
    bench: Bench, installation: Installed, monkeypatch: pytest.MonkeyPatch, ended_at: str
) -> None:
    files = installation.files
    keys, before, owner = files.log_keys, files.log_keys.vkeys(), files.owner
    with monkeypatch.context() as patch:
        _end_at(patch, ended_at)
        with pytest.raises(OSError, match="ended here"):
            await change_keys(files, installation.superuser_dsn)
    if ended_at != "first key":
        with pytest.raises(CouldNotError, match="Run lostphone ops rotate log-keys again"):
            require_done(keys)

    done = await change_keys(files, installation.superuser_dsn)

    require_done(keys)
    assert (done.before, done.after) == (before, keys.vkeys())
    assert set(done.before).isdisjoint(done.after)
    assert keys.all_vkeys() == [*done.after, *done.before]
    policy = files.log_policy("http://log", "http://witness")
    assert all(f"log {vkey}" in policy for vkey in keys.all_vkeys())
    assert files.owner == owner, "the databases are still this installation's"
    said = [open_leaf(entry["leaf"]).header for entry in await bench.entries() if entry["kind"] == "key"]
    assert [(header["keys"], header["signed"]) for header in said] == [(done.after, before[0])]
    again = await change_keys(files, installation.superuser_dsn)
    assert (again.before, keys.all_vkeys()[2:]) == (done.after, [*done.after, *done.before])
    assert files.owner == owner


def _end_at(patch: pytest.MonkeyPatch, step: str) -> None:
    """`change_keys` ends with an error there."""
    if step == "entry":
        patch.setattr(LogKeys, "replace", _fails)
        return
    replace, count = Path.replace, itertools.count(1)
    # Every file of a key is written beside its place and moved there.
    at = {"first key": 1, "second key": 2, "past keys": 3, "first move": 4, "second move": 5}[step]

    def moved(path: Path, target: Path) -> Path:
        if next(count) == at:
            raise OSError(errno.EIO, "ended here")
        return replace(path, target)

    patch.setattr(Path, "replace", moved)


async def test_a_log_whose_database_is_an_older_backup_is_not_given_other_keys(
    bench: Bench, installation: Installed
) -> None:
    note = installation.files.log_state_dir / "checkpoint"
    signing = [LogKey.from_pem(file, installation.files.log_origin) for file in installation.files.log_keys.files]
    later = Checkpoint(installation.files.log_origin, 100, bytes(32))
    note.write_bytes(bytes(SignedNote(later.text(), tuple(key.sign(later, 0) for key in signing))))
    with pytest.raises(ForkedError, match="older backup"):
        await change_keys(installation.files, installation.superuser_dsn)
    assert "key" not in {entry["kind"] for entry in await bench.entries()}
