"""Usual batches are recorded in one statement, on what the writer remembers; it comes to the same as the long way."""

from dataclasses import replace

import pytest

from services.audit.domain.chain import Known, Recorder
from services.audit.domain.leaf import LeafBuilder, open_leaf
from services.audit.domain.own import IndexRow
from services.audit.index import Index
from services.audit.reader import LogReader
from shared.events import Received, read
from tests.audit.conftest import BLINDING, Bench
from tests.audit.naive import naive_root

_SUBJECTS = [f"0192f0c1-0000-7000-8000-{at:012x}" for at in range(7)]


async def _everything(bench: Bench) -> list[object]:
    """All that a batch changes, once positions and sequences have followed."""
    await bench.follow()
    tables = ("entry", "log_state", "tile", "heard", "position", "stream")
    return [[tuple(row) for row in await bench.pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")] for table in tables]


def _story(bench: Bench, number: int) -> list[Received]:
    """Events of several incidents in turn, each naming the one before it as its cause."""
    records: list[Received] = []
    cause: str | None = None
    for at in range(number):
        envelope = bench.writers.envelope("DeviceLocked", _SUBJECTS[at % len(_SUBJECTS)], causationid=cause)
        cause = envelope.id
        records += bench.place(bench.writers.sign("DeviceLocked", envelope), partition=at % 3)
    return records


@pytest.mark.parametrize("size", [1, 2, 7, 90, 350])
async def test_batches_that_are_taken_at_once_leave_what_the_long_way_leaves(bench: Bench, size: int) -> None:
    records = _story(bench, 3 + 4 * size)
    parts = [records[:3], *(records[at : at + size] for at in range(3, len(records), size))]
    ways = [await bench.consume(part) for part in parts]
    assert ways == [False, True, True, True, True]
    built = Recorder(LeafBuilder(BLINDING), Known({}, {}, {})).build(
        [(read(one, bench.keyring), None) for one in records]
    )
    entries = await bench.entries()
    assert [entry["leaf"] for entry in entries] == [entry.leaf.data for entry in built.entries]
    await bench.follow()
    state = await bench.pool.fetchrow("SELECT size, root FROM log_state")
    assert tuple(state) == (len(records), naive_root([entry["leaf"] for entry in entries]))
    async with bench.pool.acquire() as connection:
        index = await Index.load(connection)
    for subject in _SUBJECTS:
        chain = [entry for entry in entries if entry["subject"] == subject]
        row = index.find(subject)
        assert row == IndexRow(subject, len(chain), chain[-1]["leaf_hash"], chain[-1]["seq"])
        heard = await bench.pool.fetchrow("SELECT sequence, event_id FROM heard WHERE subject = $1", subject)
        assert tuple(heard) == (len(chain), chain[-1]["event_id"])
    following = {at: len(records[at::3]) for at in range(3)}
    assert dict(await bench.pool.fetch("SELECT partition, next_offset FROM position")) == following
    recorded = await LogReader(bench.pool).streams()
    assert {row["partition"]: row["next_offset"] for row in recorded} == following


@pytest.mark.parametrize("before_it", [0, 60, 120], ids=["alone", "in the first part", "behind the first part"])
async def test_what_is_unusual_is_refused_whole_and_then_taken_the_long_way(bench: Bench, before_it: int) -> None:
    writers, timeline, other = bench.writers, bench.timeline, _SUBJECTS[6]
    await bench.long_way(bench.place(writers.record("DeviceLost", other), partition=3), timeline)
    first = bench.place(writers.record("DeviceLost", _SUBJECTS[0]), writers.record("DeviceLocked", _SUBJECTS[0]))
    assert not await bench.consume(first, timeline)
    usual = bench.place(writers.record("WipeSent", _SUBJECTS[0]))
    assert await bench.consume(usual, timeline)
    good = writers.record("DeviceLocated", _SUBJECTS[0])
    unusual = {
        "duplicate": bench.place(good, usual[0]),
        "repeated alone": bench.place(usual[0]),
        "an id that is taken": bench.place(
            writers.record("DeviceLocated", other, id=read(good, bench.keyring).envelope.id)
        ),
        "forged": bench.place(replace(good, value=b"{}")),
        "closed": bench.place(writers.record("IncidentClosed", _SUBJECTS[0], sequence=2)),
        "hole in the sequence": bench.place(writers.record("DeviceLocked", _SUBJECTS[0], sequence=9)),
        "unknown cause": bench.place(writers.record("DeviceLocked", _SUBJECTS[1], sequence=1, causationid="nobody")),
        "hole in the offsets": bench.place(writers.record("DeviceLocked", _SUBJECTS[2], sequence=1), skip=2),
        "new partition": bench.place(writers.record("DeviceLocked", _SUBJECTS[3], sequence=1), partition=5),
    }
    for name, placed in unusual.items():
        usual = bench.place(*(writers.record("DeviceLocated", other) for _ in range(before_it)), partition=3)
        records = [*usual, *placed]
        before = await _everything(bench)
        assert not await bench.at_once(records, timeline), name
        assert await _everything(bench) == before, name
        await bench.long_way(records, timeline)
    kinds = [entry["kind"] for entry in await bench.entries() if entry["subject"] != other]
    assert kinds == [
        *["event"] * 4,
        "duplicate",
        "duplicate",
        "unverified",
        "event",
        "seal",
        "event",
        "event",
        "gap",
        *["event"] * 2,
    ]
    assert await bench.consume(bench.place(writers.record("DeviceLocked", _SUBJECTS[4], sequence=1)), timeline)


@pytest.mark.parametrize("size", [1, 2, 90])
async def test_an_id_older_than_the_newest_one_is_usual_unless_it_is_taken(bench: Bench, size: int) -> None:
    await bench.long_way(_story(bench, 3))
    older = [f"0192f0c0-0000-7000-8000-{at:012x}" for at in range(size)]
    records = bench.place(*(bench.writers.record("DeviceLocked", _SUBJECTS[0], id=one) for one in older))
    assert await bench.at_once(records)
    again = bench.place(*(bench.writers.record("DeviceLocked", _SUBJECTS[1], id=one) for one in older))
    assert not await bench.at_once(again)


async def test_records_that_were_taken_before_are_refused(bench: Bench) -> None:
    records = _story(bench, 9)
    await bench.long_way(records[:3])
    assert await bench.at_once(records[3:6])
    assert not await bench.at_once(records[3:6])
    assert not await bench.at_once(records[2:9])
    assert await bench.at_once(records[6:9])
    assert len(await bench.entries()) == 9


async def test_a_writer_whose_memory_another_one_overtook_is_refused_and_goes_on_from_what_is_there(
    bench: Bench,
) -> None:
    records, other = _story(bench, 12), bench.new_writer()
    await bench.long_way(records[:3])
    assert await bench.consume(records[3:6])
    assert not await bench.consume(records[6:8], other)
    assert not await bench.consume(records[8:9])
    assert await bench.consume(records[9:12])
    headers = [open_leaf(entry["leaf"]).header for entry in await bench.entries()]
    assert len(headers) == 12
    assert sorted((header["i"], header["n"]) for header in headers) == sorted(
        (subject, at) for index, subject in enumerate(_SUBJECTS) for at in range(2 if index < 5 else 1)
    )


async def test_a_chain_that_is_not_remembered_is_read_before_it_goes_on_or_refused_where_it_was_thought_new(
    bench: Bench,
) -> None:
    writers, subject = bench.writers, _SUBJECTS[0]
    opening = bench.place(writers.record("DeviceLost", subject), writers.record("DeviceLocked", subject))
    await bench.long_way(opening)
    fresh = bench.new_writer()
    assert not await bench.consume(bench.place(writers.record("DeviceLost", _SUBJECTS[1])), fresh)
    assert await bench.consume(bench.place(writers.record("DeviceLocked", subject)), fresh)
    late = bench.new_writer()
    assert not await bench.consume(bench.place(writers.record("DeviceLost", _SUBJECTS[2])), late)
    assert not await bench.consume(bench.place(writers.record("AlertSent", subject)), late)
    assert [entry["n"] for entry in await bench.entries() if entry["subject"] == subject] == [0, 1, 2, 3]


async def test_a_line_has_its_session_whoever_asked_for_it_first_and_nobody_else_is_lent_it(bench: Bench) -> None:
    line = bench.units.line
    await line.connection()
    connection = await line.connection("SET enable_seqscan = off")
    assert await connection.fetchval("SHOW enable_seqscan") == "off"
    await line.give_back()
    assert await (await line.connection()).fetchval("SHOW enable_seqscan") == "on"
