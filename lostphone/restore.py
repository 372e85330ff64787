"""Restores a backup into an installation's databases and log, and leaves it such that it goes on by itself.

The services must not run. Two cases, told apart by the log that the broker has:

- it is empty (a new machine): the log of the backup is written, every record at its offset, and the outward topics are
  filled again from the timeline;
- it is there and has gone on since the backup (only the database was lost): nothing of it is touched. The timeline is
  recorded on from a copy, or in the order that its topic tells, so that it does not fork; each service's sequences are
  raised above what it had said, so that nothing new is taken for a repeat; the reporter is told what it has to read
  again from the log; and the incidents are named about which the log knows more than the restored services do.
"""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from lostphone import backup_log, database, topic_reader, unfinished_restore
from lostphone.audit_keys import AuditKeys
from lostphone.backup import LOG_FILE, BackupError, newest_note, run, unpack
from lostphone.closed_log import NothingToCloseError, set_aside
from lostphone.database import DATABASE, NANOMDM
from lostphone.installation import SERVICES
from lostphone.refill import fill
from lostphone.timeline_again import record_again
from services.audit.kept import Kept
from services.audit.recovery import Recovery, RecoveryError
from services.audit.tlog import Checkpoint, NoteError, SignedNote, VerifierKey
from shared.events import LOG_TOPIC, Event, KeyRing, Received, event_types, read
from shared.postgres import connect

_HOLDS = "SELECT (SELECT count(*) FROM reporter.incident) + (SELECT size FROM audit.log_state)"
_RAISE = """
INSERT INTO {schema}.subject_sequence (subject, last) SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (subject) DO UPDATE SET last = greatest(subject_sequence.last, excluded.last)
"""
# What was missing in the backup already stays missing.
_READ_AGAIN = """
INSERT INTO reporter.said_after_backup (subject, known, said)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
ON CONFLICT (subject) DO UPDATE SET said = excluded.said
"""
_REFEED = "UPDATE audit.feed SET next_seq = 0"
# The topics that the broker has now are theirs; of redrive topics all is read, and each letter acts once.
_FORGET_TOPICS = """
DELETE FROM {schema}.topic;
DELETE FROM {schema}.position WHERE topic LIKE 'lostphone.%.redrive.v1'
"""


@dataclass(frozen=True)
class Target:
    """Where to. `superuser_dsn` names the database; passwords are those of the services' roles."""

    superuser_dsn: str
    passwords: Mapping[str, str]
    kafka: Mapping[str, Any]
    audit_keys: AuditKeys
    log_vkeys: tuple[VerifierKey, ...]
    """Of the timeline's log, the first of its origin."""
    log_state_dir: Path
    """What the log has published, outside the database."""
    data_dir: Path
    """Where an interrupted restore leaves its mark."""


@dataclass
class Restored:
    """What was done."""

    at: str
    log: str
    """`written` or `ahead` or `same`."""
    records: int = 0
    ahead: int = 0
    """Events that the log has and the restored services do not know as their own, …"""
    forgotten: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    """By subject and service the names of these events, in their order. What the reporter had said it reads again from
    the log when it starts; what the others did, people have to know before they have it done again."""
    refused: dict[str, str] = field(default_factory=dict)
    """Batches that nobody had unpacked and the broker does not take as they are, by topic, partition and offset, and
    why. Their offsets are empty; the timeline keeps what it recorded of them."""


@dataclass
class _Said:
    """What the services have said, by service and subject."""

    records: int = 0
    last: dict[str, dict[str, int]] = field(default_factory=lambda: {service: {} for service in SERVICES})
    """The last sequence."""
    beyond: dict[str, dict[str, list[str]]] = field(default_factory=lambda: {service: {} for service in SERVICES})
    """The names of the events that the service does not know any more, in their order."""

    def add(self, event: Event, known: Mapping[str, Mapping[str, int]]) -> None:
        service = event.envelope.source.removeprefix("/lostphone/")
        subject, sequence = event.envelope.subject, event.envelope.sequence
        if sequence <= self.last[service].get(subject, 0):
            return  # sent a second time
        self.last[service][subject] = sequence
        if sequence > known.get(service, {}).get(subject, 0):
            name = event.entry.name if event.entry is not None else event.envelope.type
            self.beyond[service].setdefault(subject, []).append(name)


async def restore(target: Target, file: Path, *, replace: bool = False, copy: Path | None = None) -> Restored:
    """Put the backup in place. What the timeline had recorded after it is taken from `copy`, a copy of the log, where
    one is given, and then from the timeline's topic. Raises `BackupError`; before anything was changed when the
    database holds incidents and `replace` is not set, or the log is not the one that the backup was made of."""
    with tempfile.TemporaryDirectory(prefix="lostphone-restore-") as place:
        folder = Path(place)
        manifest = await asyncio.to_thread(unpack, file, folder)
        # What an interrupted one put there is nobody's loss.
        await _refuse_to_overwrite(target, replace or unfinished_restore.is_marked(target.data_dir))
        if unfinished_restore.wrote_log(target.data_dir):
            await asyncio.to_thread(unfinished_restore.start_over, target.kafka, _log_of(folder))
        ends = await asyncio.to_thread(topic_reader.ends, target.kafka, LOG_TOPIC)
        writes_log = not any(ends.values())
        if writes_log:
            refuse_another_log(target.log_vkeys, str(manifest.get("checkpoint") or "").encode())
        elif LOG_FILE in manifest["files"]:
            await asyncio.to_thread(_compare, target, folder, ends)
        with unfinished_restore.marked(target.data_dir, writes_log=writes_log):
            await _databases(target, folder, manifest)
            if not writes_log:
                return await _catch_up(target, manifest, ends, copy)
            # Of an earlier format, which does not say it outside the database.
            refuse_another_log(target.log_vkeys, await _newest_note(target.superuser_dsn))
            return await _write_log(target, folder, manifest)


async def _refuse_to_overwrite(target: Target, replace: bool) -> None:
    server = await asyncpg.connect(_named(target.superuser_dsn, "postgres"), timeout=10)
    try:
        exists = await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", _name(target.superuser_dsn))
    finally:
        await server.close()
    if replace or not exists:
        return
    inside = await asyncpg.connect(target.superuser_dsn, timeout=10)
    try:
        held = await inside.fetchval(_HOLDS)
    except asyncpg.UndefinedTableError:
        held = 0
    finally:
        await inside.close()
    if held:
        raise BackupError("the database holds incidents or timeline entries; say --replace to put the backup in place")


def _compare(target: Target, folder: Path, ends: Mapping[int, int]) -> None:
    """Raises `BackupError` when the log does not begin with the backup's."""
    until: dict[int, int] = {}
    for record in _log_of(folder):
        until[record.partition] = record.offset + 1
    short = [number for number, end in until.items() if ends.get(number, 0) < end]
    if short:
        raise BackupError(
            f"the log ends before the backup's in partition {short[0]}: it is another log, or lost its end"
        )
    with closing(topic_reader.records(target.kafka, LOG_TOPIC, until)) as found:
        for mine, theirs in zip_longest(_log_of(folder), found):
            if mine is None or theirs is None or not unfinished_restore.same(mine, theirs):
                record = theirs or mine
                raise BackupError(
                    f"the log is not the backup's: {record.topic}/{record.partition}@{record.offset} differs"
                )


def _log_of(folder: Path) -> Iterator[Received]:
    """The records of the log in a backup."""
    return (record for record in backup_log.read_file(folder / LOG_FILE) if record.topic == LOG_TOPIC)


async def _databases(target: Target, folder: Path, manifest: Mapping[str, Any]) -> None:
    server_dsn = _named(target.superuser_dsn, "postgres")
    name = _name(target.superuser_dsn)
    await database.prepare(server_dsn, name, target.passwords)
    await _fresh(server_dsn, name, None)
    await asyncio.to_thread(run, "pg_restore", target.superuser_dsn, *_options(name), str(folder / f"{DATABASE}.dump"))
    # Rights on the database itself are no part of a dump; then whatever this version has added.
    await database.prepare(server_dsn, name, target.passwords)
    await database.migrate_all(target.superuser_dsn, SERVICES)
    await _forget_topics(target.superuser_dsn)
    if f"{NANOMDM}.dump" in manifest["files"]:
        await _fresh(server_dsn, NANOMDM, NANOMDM)
        dsn = _named(target.superuser_dsn, NANOMDM)
        await asyncio.to_thread(run, "pg_restore", dsn, *_options(NANOMDM), str(folder / f"{NANOMDM}.dump"))


async def _forget_topics(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        for service in SERVICES:
            await connection.execute(_FORGET_TOPICS.format(schema=service))
    finally:
        await connection.close()


def _options(name: str) -> list[str]:
    return [f"--dbname={name}", "--exit-on-error", "--single-transaction"]


async def _fresh(server_dsn: str, name: str, owner: str | None) -> None:
    server = await asyncpg.connect(server_dsn, timeout=10)
    try:
        if owner and not await server.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", owner):
            await server.execute(f"CREATE ROLE {owner} NOLOGIN")
        await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        owned = f"OWNER {owner}" if owner else ""
        await server.execute(f"CREATE DATABASE {name} {owned} TEMPLATE template0 ENCODING 'UTF8'")
    finally:
        await server.close()


def refuse_another_log(vkeys: Sequence[VerifierKey], note: bytes | None) -> None:
    """Where nothing tells how a later log went on, its keys must not sign an earlier one's entries; nor may those of
    another installation, whose log has the same name. `note`: the backup's newest checkpoint, if it has one; `vkeys`:
    of the log that goes on here, the first of its origin. Raises `BackupError`."""
    if not note:
        return
    goes_on = vkeys[0].name
    try:
        SignedNote.parse(note).verified_by([key for key in vkeys if key.name == goes_on])
    except NoteError as error:
        origin = note.decode(errors="replace").partition("\n")[0]
        raise BackupError(
            f"the keys here, of {goes_on}, did not sign the timeline of the backup, {origin}: give the keys that were "
            "kept with the backup"
        ) from error


async def _write_log(target: Target, folder: Path, manifest: Mapping[str, Any]) -> Restored:
    if LOG_FILE not in manifest["files"]:
        raise BackupError("the broker's log is empty and the backup holds none: restore the log first")
    found = backup_log.read_file(folder / LOG_FILE)
    written = await asyncio.to_thread(fill, target.kafka, found, exactly=frozenset({LOG_TOPIC}))
    connection = await asyncpg.connect(target.superuser_dsn, timeout=10)
    try:
        await connection.execute(_REFEED)
    finally:
        await connection.close()
    return Restored(manifest["at"], "written", written.records, refused=written.refused)


async def _catch_up(
    target: Target, manifest: Mapping[str, Any], ends: Mapping[int, int], copy: Path | None
) -> Restored:
    by_audit = await asyncio.to_thread(_said_by_audit, target)
    connection = await asyncpg.connect(target.superuser_dsn, timeout=10)
    try:
        known: dict[str, dict[str, int]] = {service: await _known(connection, service) for service in SERVICES}
        said = await asyncio.to_thread(_said, target, LOG_TOPIC, ends, known)
        for service in SERVICES:
            last = said.last[service]
            await connection.execute(_RAISE.format(schema=service), list(last), list(last.values()))
        await connection.execute(_RAISE.format(schema="audit"), list(by_audit), list(by_audit.values()))
        again = sorted(said.beyond["reporter"])
        missing = [known["reporter"].get(subject, 0) for subject in again]
        await connection.execute(_READ_AGAIN, again, missing, [said.last["reporter"][subject] for subject in again])
    finally:
        await connection.close()
    await _timeline(target, copy)
    return _caught_up(manifest, said)


def _caught_up(manifest: Mapping[str, Any], said: _Said) -> Restored:
    forgotten: dict[str, dict[str, list[str]]] = {}
    for service, subjects in said.beyond.items():
        for subject, names in subjects.items():
            forgotten.setdefault(subject, {})[service] = names
    count = sum(len(names) for services in forgotten.values() for names in services.values())
    log = "ahead" if count else "same"
    return Restored(manifest["at"], log, said.records, count, dict(sorted(forgotten.items())))


async def _known(connection: asyncpg.Connection, service: str) -> dict[str, int]:
    """By subject, the last sequence that the restored service knows to have given."""
    rows = await connection.fetch(f"SELECT subject, last FROM {service}.subject_sequence")  # noqa: S608 - ours
    return {row["subject"]: row["last"] for row in rows}


async def _timeline(target: Target, copy: Path | None) -> None:
    """What it had recorded, and had published, after the backup."""
    goes_on = target.log_vkeys[0].name
    if await _origin(target.superuser_dsn) not in (None, goes_on):
        # The log of the backup was closed since; all of the one that goes on is told.
        with suppress(NothingToCloseError):
            await set_aside(target.superuser_dsn)
    if copy is not None:
        await _recover(target, copy)
    await record_again(target.superuser_dsn, target.kafka, target.audit_keys, goes_on)
    connection = await asyncpg.connect(target.superuser_dsn, timeout=10, server_settings={"search_path": "audit"})
    try:
        await Kept(target.log_state_dir).put_back(connection, target.log_vkeys)
    finally:
        await connection.close()


async def _newest_note(dsn: str) -> bytes | None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await newest_note(connection)
    finally:
        await connection.close()


async def _origin(dsn: str) -> str | None:
    note = await _newest_note(dsn)
    return Checkpoint.parse(SignedNote.parse(note).text).origin if note is not None else None


async def _recover(target: Target, copy: Path) -> None:
    pool = await connect(target.superuser_dsn, "audit", max_size=2)
    try:
        await Recovery(copy, target.log_vkeys, KeyRing(target.audit_keys.event_keys)).run(pool)
    except RecoveryError as error:
        raise BackupError(f"the timeline: {error}") from error
    finally:
        await pool.close()


def _said_by_audit(target: Target) -> dict[str, int]:
    """The last sequence that audit gave to each subject; its events are on topics of their own, not in the log."""
    found: dict[str, int] = {}
    for topic in (entry.type for entry in event_types() if entry.writer == "audit"):
        said = _said(target, topic, topic_reader.ends(target.kafka, topic), {})
        for subject, sequence in said.last["audit"].items():
            found[subject] = max(found.get(subject, 0), sequence)
    return found


def _said(target: Target, topic: str, ends: Mapping[int, int], known: Mapping[str, Mapping[str, int]]) -> _Said:
    """What each service has said in a topic. `known`: by service and subject, up to where it still knows that."""
    keyring = KeyRing(target.audit_keys.event_keys)
    said = _Said()
    for record in topic_reader.records(target.kafka, topic, ends):
        said.records += 1
        reading = read(record, keyring)
        if isinstance(reading, Event):
            said.add(reading, known)
    return said


def _named(dsn: str, name: str) -> str:
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


def _name(dsn: str) -> str:
    return urlsplit(dsn).path.lstrip("/")
