"""Records in the timeline what it had recorded after the backup, in the very order that its topic tells.

A timeline that simply read the log on would interleave the partitions differently: another tree than the one whose
checkpoints were published, a fork. The topic keeps every entry's place for ever, and all of what the log says about
itself (indexes, exports, anchors, keys). The other leaves depend on nothing but the records, their order and the
blinding key; so the same entries come out, and each is compared.
"""

import asyncio
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import orjson

from lostphone import topic_reader
from lostphone.audit_keys import AuditKeys
from lostphone.backup import BackupError
from services.audit.domain.leaf import Kind, Leaf
from services.audit.timeline import Timeline
from shared.events import LOG_TOPIC, TIMELINE_TOPIC, KeyRing, Received, read
from shared.messaging import Units
from shared.messaging.position import claim
from shared.postgres import connect

_RECORDS = ("event", "duplicate", "unparsed", "unverified", "detached")
"""Entries that stand for a record."""
_BY_THEMSELVES = ("gap", "seal", "erasure", "hold")
"""They follow from the records around them."""
_IN_FULL = ("index", "export", "anchor", "key", "restore")
"""The topic has them whole."""


@dataclass(frozen=True)
class _Told:
    seq: int
    kind: str
    leaf: str
    partition: int | None
    offset: int | None
    text: str | None


async def record_again(dsn: str, kafka: Mapping[str, Any], keys: AuditKeys, origin: str) -> int:
    """Record on up to the last entry of the log of this origin that the timeline topic tells of; how many entries.
    Raises `BackupError` when they do not come out the same: then nothing may be signed."""
    pool = await connect(dsn, "audit", max_size=2)
    try:
        size = await pool.fetchval("SELECT size FROM log_state")
        told = await asyncio.to_thread(_told, kafka, size, origin)
        wanted = {(entry.partition, entry.offset) for entry in told if entry.kind in _RECORDS}
        records = await asyncio.to_thread(_records, kafka, wanted)
        before = await pool.fetchval("SELECT coalesce(max(place), 0) FROM outbox")
        await _record(pool, told, records, keys)
        # What these entries had the timeline say was said when they were recorded first.
        await pool.execute("DELETE FROM outbox WHERE place > $1", before)
        await _compare(pool, told)
    finally:
        await pool.close()
    return len(told)


def _told(kafka: Mapping[str, Any], size: int, origin: str) -> list[_Told]:
    by_seq: dict[int, _Told] = {}
    with closing(topic_reader.records(kafka, TIMELINE_TOPIC, topic_reader.ends(kafka, TIMELINE_TOPIC))) as found:
        for record in found:
            said = orjson.loads(record.value or b"{}")
            if said.get("seq", -1) >= size and said.get("log", origin) == origin:
                place = (said.get("partition"), said.get("offset"))
                entry = _Told(said["seq"], said["kind"], said["leaf"], *place, said.get("text"))
                if by_seq.setdefault(entry.seq, entry).leaf != entry.leaf:
                    raise BackupError(f"{TIMELINE_TOPIC} tells two stories of entry {entry.seq}: it has forked before")
    told = [by_seq[seq] for seq in sorted(by_seq)]
    if [entry.seq for entry in told] != list(range(size, size + len(told))):
        raise BackupError(f"{TIMELINE_TOPIC} does not tell of every entry from {size} on")
    return told


def _records(kafka: Mapping[str, Any], wanted: set[tuple[int | None, int | None]]) -> dict[tuple[int, int], Received]:
    since: dict[int, int] = {}
    until: dict[int, int] = {}
    for partition, offset in wanted:
        if partition is not None and offset is not None:
            since[partition] = min(since.get(partition, offset), offset)
            until[partition] = max(until.get(partition, 0), offset + 1)
    found = topic_reader.records(kafka, LOG_TOPIC, until, since)
    return {(record.partition, record.offset): record for record in found}


async def _record(
    pool: asyncpg.Pool, told: list[_Told], records: Mapping[tuple[int, int], Received], keys: AuditKeys
) -> None:
    units, builder = Units(pool, keys.signer()), keys.builder()
    timeline = Timeline(builder)
    keyring = KeyRing(keys.event_keys)
    for entry in told:
        if entry.kind in _RECORDS and entry.partition is not None and entry.offset is not None:
            record = records[entry.partition, entry.offset]
            async with units.begin() as unit:
                await claim(unit, [record])
                await timeline.take(unit, [read(record, keyring)])
        elif entry.kind in _IN_FULL and entry.text is not None:
            leaf = Leaf(Kind(entry.kind), entry.text.encode())
            async with units.begin() as unit:
                await timeline.add(unit, partial(_only, leaf))
        elif entry.kind not in _BY_THEMSELVES:
            raise BackupError(
                f"entry {entry.seq} of the timeline is of kind {entry.kind}, and {TIMELINE_TOPIC} does not have it in "
                "full: give a copy of the log that has it, or restore a backup that was made after it"
            )


async def _only(leaf: Leaf, _: int) -> list[Leaf]:
    return [leaf]


async def _compare(pool: asyncpg.Pool, told: list[_Told]) -> None:
    if not told:
        return
    rows = await pool.fetch("SELECT seq, leaf_hash FROM entry WHERE seq >= $1 ORDER BY seq", told[0].seq)
    recorded = [(row["seq"], row["leaf_hash"].hex()) for row in rows]
    if recorded != [(entry.seq, entry.leaf) for entry in told]:
        wrong = next((mine[0] for mine, entry in zip(recorded, told, strict=False) if mine[1] != entry.leaf), None)
        raise BackupError(
            f"the timeline does not come out as it was told, from entry {wrong} on: it must not be signed"
        )
