"""Every record of the log is one entry: chains, repeats, forgeries, holes and seals, in one transaction each."""

from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import orjson
import pytest

from services.audit.domain.chain import Known, Recorder
from services.audit.domain.leaf import LeafBuilder, open_leaf
from services.audit.domain.own import IndexRow
from services.audit.index import Index
from services.audit.store import load_edge
from services.audit.timeline import Causes
from services.audit.tlog import Edge, leaf_hash
from services.audit.tlog.tiles import TILE_WIDTH
from shared.events import Received, read
from shared.messaging.timer import Timer
from tests.audit.conftest import BLINDING, Bench
from tests.audit.naive import naive_root, naive_tile
from tests.stack.installed import Installed

_ONE = "0192f0c1-0000-7000-8000-000000000001"
_TWO = "0192f0c1-0000-7000-8000-000000000002"


async def _assert_whole(bench: Bench) -> None:
    """What the tables say fits together: hashes, root, tiles, chains."""
    entries = await bench.entries()
    leaves = [entry["leaf"] for entry in entries]
    assert [entry["seq"] for entry in entries] == list(range(len(entries)))
    assert [entry["leaf_hash"] for entry in entries] == [leaf_hash(leaf) for leaf in leaves]
    state = await bench.pool.fetchrow("SELECT * FROM log_state")
    assert (state["size"], state["root"]) == (len(leaves), naive_root(leaves))
    for tile in await bench.pool.fetch("SELECT * FROM tile"):
        assert tile["hashes"] == naive_tile([leaf_hash(leaf) for leaf in leaves], tile["level"], tile["idx"], 256)
    chains: dict[str, list[asyncpg.Record]] = {}
    for entry in entries:
        if entry["subject"] is not None:
            chains.setdefault(entry["subject"], []).append(entry)
    for chain in chains.values():
        headers = [open_leaf(entry["leaf"]).header for entry in chain]
        assert [header["n"] for header in headers] == list(range(len(chain)))
        assert [header["prev"] for header in headers] == [
            None,
            *(entry["leaf_hash"].hex() for entry in chain[:-1]),
        ]
    async with bench.pool.acquire() as connection:
        index = await Index.load(connection)
    assert index.rows == [
        IndexRow(subject, len(chain), chain[-1]["leaf_hash"], chain[-1]["seq"])
        for subject, chain in sorted(chains.items())
    ]


async def _findings(bench: Bench) -> list[tuple[str, str]]:
    """Subject and finding of each."""
    return [
        (row["key"], orjson.loads(row["value"])["finding"])
        for row in await bench.outbox()
        if row["topic"] == "lostphone.integrity-finding.v1"
    ]


async def test_events_of_two_incidents_stand_in_two_chains(bench: Bench) -> None:
    writers = bench.writers
    await bench.record(
        writers.record("DeviceLost", _ONE),
        writers.record("DeviceLost", _TWO, organisation="other-kk"),
        writers.record("DeviceLocked", _ONE),
    )
    await bench.record(writers.record("WipeSent", _ONE), partition=3)
    await _assert_whole(bench)
    entries = await bench.entries()
    assert [(entry["kind"], entry["subject"], entry["n"]) for entry in entries] == [
        ("event", _ONE, 0),
        ("event", _TWO, 0),
        ("event", _ONE, 1),
        ("event", _ONE, 2),
    ]
    assert [entry["organisation"] for entry in entries] == ["acme-kk", "other-kk", "acme-kk", "acme-kk"]
    assert await _findings(bench) == []


async def test_forged_and_broken_records_are_recorded_outside_every_chain_and_reported_once_a_batch(
    bench: Bench,
) -> None:
    good = bench.writers.record("DeviceLost", _ONE)
    forged = replace(good, value=b'{"door":"signed_in"}')
    broken = Received(good.topic, 0, 0, 0, None, (), b"\x00")
    stolen = bench.writers.envelope("DeviceLocked", _ONE, source="/lostphone/reporter")
    other_writer = bench.writers.sign("DeviceLocked", stolen)
    await bench.record(good, forged, forged, broken, other_writer)
    await _assert_whole(bench)
    entries = await bench.entries()
    assert [(entry["kind"], entry["subject"]) for entry in entries] == [
        ("event", _ONE),
        ("unverified", None),
        ("unverified", None),
        ("unparsed", None),
        ("unverified", None),
    ]
    reasons = [open_leaf(entry["leaf"]).header.get("reason") for entry in entries]
    assert reasons == [None, "signature_invalid", "signature_invalid", "header_missing:id", "writer_not_registered"]
    assert await _findings(bench) == [
        ("log", "signature_invalid"),
        ("log", "header_missing"),
        ("log", "writer_not_registered"),
    ]


async def test_an_event_that_is_sent_again_is_a_duplicate_outside_the_chain(bench: Bench) -> None:
    lost, locked = bench.writers.record("DeviceLost", _ONE), bench.writers.record("DeviceLocked", _ONE)
    await bench.record(lost, lost, locked)
    await bench.record(lost, locked)
    await _assert_whole(bench)
    assert [entry["kind"] for entry in await bench.entries()] == [
        "event",
        "duplicate",
        "event",
        "duplicate",
        "duplicate",
    ]
    assert await _findings(bench) == []


async def test_what_is_wrong_with_the_order_of_a_writer_is_reported_and_stays_in_the_chain(bench: Bench) -> None:
    writers = bench.writers
    first = writers.envelope("DeviceLost", _ONE)
    await bench.record(
        writers.sign("DeviceLost", first),
        writers.record("ReportVerified", _ONE, sequence=5),
        writers.record("ReportVerified", _ONE, sequence=4),
        writers.record("ReportVerified", _ONE, sequence=5),
        writers.sign("IncidentCancelled", replace(first, type="lostphone.incident-cancelled.v1", sequence=6)),
    )
    await _assert_whole(bench)
    assert [entry["n"] for entry in await bench.entries()] == [0, 1, 2, 3, 4]
    assert await _findings(bench) == [
        (_ONE, "sequence_gap"),
        (_ONE, "sequence_step_back"),
        (_ONE, "sequence_taken"),
        (_ONE, "event_id_reused"),
    ]


async def test_offsets_that_the_partition_does_not_give_become_a_gap(bench: Bench) -> None:
    one, two = bench.writers.record("DeviceLost", _ONE), bench.writers.record("DeviceLocked", _ONE)
    await bench.take(bench.place(one, partition=2, skip=3))
    await bench.take(bench.place(two, partition=2, skip=2))
    await _assert_whole(bench)
    headers = [open_leaf(entry["leaf"]).header for entry in await bench.entries()]
    assert [(header["k"], header["o"], header.get("end")) for header in headers] == [
        ("gap", 0, 3),
        ("event", 3, None),
        ("gap", 4, 6),
        ("event", 6, None),
    ]
    assert await _findings(bench) == [("log", "offsets_missing"), ("log", "offsets_missing")]


async def test_a_closed_incident_is_sealed_and_what_comes_after_is_seen_to_come_after(bench: Bench) -> None:
    writers = bench.writers
    await bench.record(
        writers.record("DeviceLost", _ONE),
        writers.record("IncidentClosed", _ONE),
        writers.record("IncidentReopened", _ONE),
    )
    await _assert_whole(bench)
    entries = await bench.entries()
    assert [(entry["kind"], entry["n"]) for entry in entries] == [("event", 0), ("event", 1), ("seal", 2), ("event", 3)]
    (row,) = await bench.outbox()
    assert (row["topic"], row["key"]) == ("lostphone.timeline-sealed.v1", _ONE)
    headers = dict(row["headers"])
    assert headers["ce_causationid"] == entries[1]["event_id"]
    assert orjson.loads(row["value"]) == {
        "entries": 2,
        "head": entries[1]["leaf_hash"].hex(),
        "seal_seq": 2,
        "size": 4,
    }


async def test_an_event_in_structured_mode_stands_in_its_chain_and_seals_it(bench: Bench) -> None:
    envelope = bench.writers.envelope("IncidentClosed", _ONE)
    binary = bench.writers.sign("IncidentClosed", envelope)
    attributes = {
        name.removeprefix("ce_"): (data or b"").decode() for name, data in binary.headers if name != "content-type"
    }
    document = orjson.dumps(
        {**attributes, "datacontenttype": "application/json", "data": orjson.loads(binary.value or b"")}
    )
    structured = replace(binary, headers=(("content-type", b"application/cloudevents+json"),), value=document)
    await bench.record(structured)
    await _assert_whole(bench)
    event, seal = await bench.entries()
    assert (event["kind"], event["event_id"], seal["kind"]) == ("event", envelope.id, "seal")
    opened = open_leaf(event["leaf"])
    assert opened.value == document
    assert opened.attribute("type") == "lostphone.incident-closed.v1"
    assert orjson.loads(opened.payload() or b"") == orjson.loads(binary.value or b"")


async def test_records_below_what_is_recorded_are_dropped_and_change_nothing(bench: Bench) -> None:
    records = bench.place(bench.writers.record("DeviceLost", _ONE), bench.writers.record("DeviceLocked", _ONE))
    await bench.take(records)
    before = await bench.entries()
    await bench.take(records)
    await bench.take(records[1:], bench.new_writer())
    assert await bench.entries() == before
    await _assert_whole(bench)


async def test_the_same_records_give_the_same_bytes_however_they_are_split(bench: Bench) -> None:
    writers = bench.writers
    records = bench.place(*(writers.record("DeviceLocked", _ONE if at % 3 else _TWO) for at in range(300)))
    records += bench.place(records[7], Received(records[0].topic, 0, 0, 0, None, (), None))
    await bench.take(records[:1])
    await bench.take(records[1:5])
    await bench.take(records[5:200])
    await bench.take(records[200:], bench.new_writer())
    await _assert_whole(bench)
    whole = [entry["leaf"] for entry in await bench.entries()]
    assert len(whole) == 302

    readings = [(read(record, bench.keyring), None) for record in records]
    at_once = Recorder(LeafBuilder(BLINDING), Known({}, {}, {})).build(readings)
    assert whole == [entry.leaf.data for entry in at_once.entries]


async def test_two_writers_in_turn_leave_one_whole_log(bench: Bench) -> None:
    other = bench.new_writer()
    for turn in range(6):
        record = bench.writers.record("DeviceLocked", _ONE)
        await bench.take(bench.place(record, partition=turn % 2), other if turn % 3 == 0 else bench.timeline)
    await _assert_whole(bench)
    assert await bench.pool.fetchval("SELECT epoch FROM log_state") == 4


async def test_a_batch_that_is_rolled_back_leaves_nothing_and_the_next_one_is_whole(bench: Bench) -> None:
    await bench.record(bench.writers.record("DeviceLost", _ONE))
    records = bench.place(bench.writers.record("DeviceLocked", _ONE))

    async def fail() -> None:
        async with bench.units.begin() as unit:
            await bench.timeline.take(unit, [read(record, bench.keyring) for record in records])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert len(await bench.entries()) == 1
    await bench.take(records)
    await _assert_whole(bench)
    assert len(await bench.entries()) == 2


async def test_an_event_that_is_too_long_for_a_leaf_is_kept_beside_it(bench: Bench) -> None:
    envelope = bench.writers.envelope("DeviceLost", _ONE)
    signer = bench.writers.signer("reporter")
    headers = replace(envelope, keyid=signer.keyid).headers()
    value = b'{"door":"' + b"x" * 100_000 + b'"}'
    signature = signer.sign(_ONE.encode(), headers, value)
    record = Received(
        "lostphone.log.v1", 0, 0, 0, _ONE.encode(), (*headers, ("ce_signature", signature.encode())), value
    )
    await bench.record(record)
    await _assert_whole(bench)
    (entry,) = await bench.entries()
    assert (entry["kind"], entry["n"]) == ("event", 0)
    data = await bench.pool.fetchval("SELECT data FROM detached WHERE sha256 = $1", entry["detached"])
    assert data == value


async def test_the_edge_of_the_tree_is_found_again_from_the_tables_at_any_size(bench: Bench) -> None:
    template = bench.writers.record("DeviceLocked", _ONE)
    size = 0
    for size_after in (1, 255, 256, 257, 520):
        await bench.take(bench.place(*[template] * (size_after - size)))
        size = size_after
        edge, _ = Edge().append([entry["leaf_hash"] for entry in await bench.entries()])
        async with bench.pool.acquire() as connection:
            assert await load_edge(connection, size) == edge
        assert size // TILE_WIDTH == await bench.pool.fetchval("SELECT count(*) FROM tile WHERE level = 0")


async def test_a_cause_that_never_arrives_is_reported_and_one_that_comes_late_is_not(bench: Bench) -> None:
    writers = bench.writers
    cause = writers.envelope("DeviceLost", _ONE)
    await bench.record(
        writers.record("DeviceLocked", _ONE, causationid=cause.id),
        writers.record("WipeSent", _ONE, causationid="0192f0c1-0000-7000-8000-ffffffffffff"),
    )
    await bench.record(writers.sign("DeviceLost", cause), partition=1)
    timers = await bench.pool.fetch("SELECT * FROM timer ORDER BY name")
    assert [timer["name"] for timer in timers] == ["cause:0", "cause:1"]
    for timer in timers:
        firing = Timer(_ONE, timer["name"], datetime.now(UTC), timer["attempt"], timer["payload"], timer["armed"])
        await Causes(bench.units).look(firing)
    assert await _findings(bench) == [(_ONE, "cause_unknown")]
    assert await bench.pool.fetchval("SELECT count(*) FROM timer") == 0


async def test_nobody_changes_what_is_recorded_by_mistake(bench: Bench, installation: Installed) -> None:
    """Not the service, nor the owner, nor a session that plays a replica. A superuser can; the proofs see it."""
    await bench.record(bench.writers.record("DeviceLost", _ONE))
    statements = ("UPDATE entry SET leaf = 'x'", "DELETE FROM entry", "TRUNCATE entry", "DELETE FROM checkpoint")
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await bench.pool.execute(statement)
    superuser = await asyncpg.connect(installation.superuser_dsn)
    try:
        await superuser.execute("SET search_path TO audit")
        for session in ("SET ROLE audit_owner", "RESET ROLE; SET session_replication_role = replica"):
            await superuser.execute(session)
            for statement in statements[:3]:
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only ever added to"):
                    await superuser.execute(statement)
    finally:
        await superuser.close()
