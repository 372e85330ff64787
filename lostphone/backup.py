"""A backup of what an installation cannot make again: the databases and the log, as of one moment, while it runs.

    made = make(Source(...), file)

The file is a tar: `manifest.json`, `lostphone.dump` and `nanomdm.dump` (pg_dump's own format), `log.jsonl.gz`. It holds
no key: without the vault's keys, which are backed up apart, nobody reads a person's data in it.
"""

import asyncio
import hashlib
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import asyncpg
import orjson

from lostphone import backup_log, topic_reader
from lostphone.database import DATABASE, NANOMDM
from lostphone.embedded.postgres import find_programs
from lostphone.installation import SERVICES
from shared.events import LOG_TOPIC, KeyRing, Received
from shared.events.contracts import dead_letter_topic

FORMAT: Final = 2
"""Since 2 the log may hold batches that nobody unpacked."""
LOG_FILE: Final = "log.jsonl.gz"
KEY_PATHS: Final = ("installation.json", "event-keys.json", "approvers.json", "keys")
"""What of an installation's directory is secret or says which keys count; never in a backup, always beside one."""

_SEQUENCES = """
SELECT '/lostphone/' || $1::text AS source, subject, last FROM {schema}.subject_sequence
"""
_LOG_STATE = "SELECT size, encode(root, 'hex') AS root FROM audit.log_state"
_NEWEST_NOTE = "SELECT note FROM audit.checkpoint ORDER BY size DESC LIMIT 1"
_OUTBOX = "SELECT count(*) FROM {schema}.outbox"


class BackupError(Exception):
    """It could not be made or restored; the message says why, and what is left as it was."""


class ProgramError(Exception):
    """A program of PostgreSQL's could not do its work, as on a full disk; the message is what it said."""


@dataclass(frozen=True)
class Source:
    """Where everything is. `superuser_dsn` names the database; `kafka` is librdkafka's settings of the operator, None
    to leave the log out."""

    superuser_dsn: str
    event_keys: Path
    kafka: Mapping[str, Any] | None


def make(source: Source, file: Path) -> dict[str, Any]:
    """Write the backup, whole or not at all, readable by its owner only; its manifest. Raises `BackupError`,
    `ProgramError`, `BrokerError`, or what asyncpg raises."""
    with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".backup-") as place:
        folder = Path(place)
        manifest = asyncio.run(_collect(source, folder))
        (folder / "manifest.json").write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        whole = folder / "whole.tar"
        names = ["manifest.json", *manifest["files"]]
        _pack(whole, [(folder / name, name) for name in names])
        whole.replace(file)
    return manifest


def must_be_new(*files: Path) -> None:
    """Raises `BackupError` for one that is there, and `OSError` for one that cannot be made, before any is."""
    for file in files:
        if file.exists():
            raise BackupError(f"{file} exists already")
        with file.open("xb"):
            file.unlink()


def keep_keys(data_dir: Path, file: Path) -> None:
    """Write the installation's keys, passwords and ports to a file of its own, whole or not at all, readable by its
    owner only."""
    with tempfile.TemporaryDirectory(dir=file.absolute().parent, prefix=".backup-") as place:
        whole = Path(place) / "whole.tar"
        _pack(whole, [(data_dir / name, name) for name in KEY_PATHS if (data_dir / name).exists()])
        whole.replace(file)


def read_manifest(file: Path) -> dict[str, Any]:
    """What a backup says of itself. Raises `BackupError` when it is none, or of a later format, and `OSError`."""
    try:
        with tarfile.open(file) as packed:
            member = packed.extractfile("manifest.json")
            manifest: Any = orjson.loads(member.read()) if member else None
    except (EOFError, KeyError, tarfile.TarError, orjson.JSONDecodeError) as error:
        raise BackupError(f"{file} is not a backup: no archive of one can be read") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise BackupError(f"{file} is not a backup: it does not say what it holds")
    if manifest.get("format") not in range(1, FORMAT + 1):
        raise BackupError(f"{file} has format {manifest.get('format')}, and this version reads up to {FORMAT}")
    return dict(manifest)


def unpack(file: Path, folder: Path) -> dict[str, Any]:
    """The files of a backup, each as it was written, and no others. Raises `BackupError` when one differs from the
    manifest."""
    manifest = read_manifest(file)
    try:
        with tarfile.open(file) as packed:
            for name in manifest["files"]:
                packed.extract(name, folder, filter="data")
        damaged = [name for name, said in manifest["files"].items() if _sha256(folder / name) != said["sha256"]]
    except (KeyError, TypeError, tarfile.TarError, EOFError, FileNotFoundError) as error:
        raise BackupError(f"{file} is not whole: {error}") from error
    if damaged:
        raise BackupError(f"{damaged[0]} in {file} is not what was written: the file was damaged or changed")
    return manifest


async def _collect(source: Source, folder: Path) -> dict[str, Any]:
    connection = await asyncpg.connect(source.superuser_dsn, timeout=10)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
            moment = datetime.now(UTC)
            # After the snapshot: every record that left an outbox before it lies below these ends.
            ends = await asyncio.to_thread(topic_reader.ends, source.kafka, LOG_TOPIC) if source.kafka else {}
            dumping = asyncio.to_thread(dump, source.superuser_dsn, folder / f"{DATABASE}.dump", snapshot)
            sequences = await _sequences(connection)
            facts = await _facts(connection)
            await dumping
            has_nanomdm = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", NANOMDM)
    finally:
        await connection.close()
    files = [f"{DATABASE}.dump"]
    if has_nanomdm:
        await asyncio.to_thread(dump, _database(source.superuser_dsn, NANOMDM), folder / f"{NANOMDM}.dump")
        files.append(f"{NANOMDM}.dump")
    counts: dict[str, int] = {}
    if source.kafka is not None:
        counts = await asyncio.to_thread(_write_log, source, folder / LOG_FILE, ends, sequences)
        files.append(LOG_FILE)
    described = {name: {"sha256": _sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in files}
    return {"format": FORMAT, "at": moment.isoformat(), **facts, "records": counts, "files": described}


async def _sequences(connection: asyncpg.Connection) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for service in SERVICES:
        rows = await connection.fetch(_SEQUENCES.format(schema=service), service)
        found |= {(row["source"], row["subject"]): row["last"] for row in rows}
    return found


async def _facts(connection: asyncpg.Connection) -> dict[str, Any]:
    state = (await connection.fetch(_LOG_STATE))[0]
    outbox = {name: await connection.fetchval(_OUTBOX.format(schema=name)) for name in SERVICES}
    version = await connection.fetchval("SHOW server_version")
    note = await newest_note(connection)
    checkpoint = note.decode() if note is not None else None
    return {"timeline": dict(state), "checkpoint": checkpoint, "outbox": outbox, "postgres": version}


async def newest_note(connection: asyncpg.Connection) -> bytes | None:
    """Of the log that the database has; None when that one has published nothing."""
    note: bytes | None = await connection.fetchval(_NEWEST_NOTE)
    return note


def _write_log(source: Source, file: Path, ends: Mapping[int, int], sequences: backup_log.Sequences) -> dict[str, int]:
    kafka = source.kafka or {}
    keyring = KeyRing(source.event_keys)

    def all_of_it() -> Generator[Received]:
        yield from backup_log.cut(topic_reader.records(kafka, LOG_TOPIC, ends), keyring, sequences)
        for service in SERVICES:
            topic = dead_letter_topic(service)
            yield from topic_reader.records(kafka, topic, topic_reader.ends(kafka, topic))

    with closing(all_of_it()) as found:
        return backup_log.write(file, found)


def dump(dsn: str, file: Path, snapshot: str | None = None) -> None:
    """One database by pg_dump. Raises `ProgramError`."""
    chosen = [f"--snapshot={snapshot}"] if snapshot else []
    run("pg_dump", dsn, "--format=custom", "--compress=gzip:6", *chosen, f"--file={file}")


def run(program: str, dsn: str, *arguments: str) -> None:
    """One of PostgreSQL's programs; its command line does not hold the password. Raises `ProgramError`."""
    parts = urlsplit(dsn)
    told = {
        "PGHOST": parts.hostname or "127.0.0.1",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": parts.path.lstrip("/"),
    }
    done = subprocess.run(
        [find_programs() / program, *arguments],
        env={**os.environ, **told},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProgramError(f"{program} failed: {done.stderr.strip()[-800:]}")


def _database(dsn: str, name: str) -> str:
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


def _pack(file: Path, members: list[tuple[Path, str]]) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        with tarfile.open(fileobj=out, mode="w") as packed:
            for path, name in members:
                packed.add(path, name)
        out.flush()
        os.fsync(out.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
