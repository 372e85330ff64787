"""What operators see of a running installation, and that it comes back from its backup with nothing lost or doubled."""

import asyncio
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import httpx2
import pytest

from lostphone import backup_log
from sandbox.companies import fleet, inventory
from shared.events import TIMELINE_TOPIC
from tests.ops.running import Place

pytestmark = pytest.mark.timeout(900)

_METRICS = [
    "events_consumed_total",
    "events_processed_total",
    "events_retried_total",
    "events_parked_total",
    "events_redriven_total",
    "events_duplicate_total",
    "events_rejected_total",
    "events_gap_total",
    "consumer_batch_seconds",
    "consumer_oldest_unprocessed_seconds",
    "consumer_lag_records",
    "consumer_rebalances_total",
    "consumer_commit_failures_total",
    "consumer_pauses_total",
    "relay_failures_total",
    "outbox_pending",
    "outbox_oldest_seconds",
    "timers_overdue_seconds",
    "timers_fired_total",
    "provider_calls_total",
    "http_requests_total",
    "http_request_seconds",
    "ready",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("ops") / "data")
    place.done("up", "--detach")
    try:
        yield place
    finally:
        place.lostphone("down")


def _until(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_one_trace_goes_from_the_report_to_the_plan(place: Place, tmp_path: Path) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    file = tmp_path / "inventory.csv"
    file.write_text(inventory("acme-kk"))
    place.done("ops", "inventory", "import", str(file), "--apply")
    phone = fleet()["acme-kk"][0]
    _until(lambda: _knows_the_fleet(place), "the reporter knows the phone")
    incident = place.report(phone.phone_number, who=phone.holder, traceparent=f"00-{trace}-00f067aa0ba902b7-01")

    def types_of_trace() -> set[str]:
        of_case = [event.envelope for event in place.events() if event.envelope.subject == incident]
        return {envelope.type for envelope in of_case if trace in (envelope.traceparent or "")}

    wanted = {"lostphone.device-lost.v1", "lostphone.containment-planned.v1"}
    _until(lambda: wanted <= types_of_trace(), "report and plan in one trace")


def test_every_service_tells_the_metrics_that_operations_expects(place: Place) -> None:
    for service, url in place.status.http.items():
        told = httpx2.get(f"{url}/metrics", timeout=10).text
        missing = [name for name in _METRICS if f"# TYPE lostphone_{name.removesuffix('_total')}" not in told]
        assert not missing, (service, missing)


def test_status_is_quiet_and_then_says_what_to_do_in_both_languages(place: Place) -> None:
    _until(lambda: place.lostphone("ops", "status").returncode == 0, "nothing to do")
    asyncio.run(_park(place.superuser_dsn))
    said = place.lostphone("ops", "status", "--json")
    assert said.returncode == 1
    standing = json.loads(said.stdout)
    found = {finding["what"]: finding for finding in standing["findings"]}
    assert standing["needs_person"]
    assert "redrive" in found["parked"]["en"]
    assert "redrive" in found["parked"]["ja"]
    assert found["breaker_open"]["facts"]["organisation"] == "acme-kk"
    asyncio.run(_mend(place.superuser_dsn))
    assert place.lostphone("ops", "status").returncode == 0


def _knows_the_fleet(place: Place) -> bool:
    rows = asyncio.run(_ask(place.superuser_dsn, "SELECT count(*) AS devices FROM reporter.device"))
    return bool(rows[0]["devices"] >= len(fleet()["acme-kk"]))


async def _park(dsn: str) -> None:
    await _execute(
        dsn,
        "INSERT INTO notifier.parked (topic, partition, kafka_offset, reason) VALUES ('t', 0, 0, 'KeyError')",
        "INSERT INTO mdm_actions.breaker (organisation, drill, opened_at, reason) "
        "VALUES ('acme-kk', false, now(), 'wipes_per_window')",
    )


async def _mend(dsn: str) -> None:
    await _execute(dsn, "DELETE FROM notifier.parked", "DELETE FROM mdm_actions.breaker")


async def _execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _ask(dsn: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


def _cases(place: Place, schema: str) -> set[str]:
    return {
        row["incident"] for row in asyncio.run(_ask(place.superuser_dsn, f"SELECT incident FROM {schema}.incident"))
    }


def test_a_backup_under_load_brings_everything_back_and_what_came_after_is_named(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "lostphone.backup"
    with place.under_load() as before:
        _until(lambda: len(before) >= 3, "reports")
        place.done("ops", "backup", str(file))
        kept_until = len(before)
        _until(lambda: len(before) >= kept_until + 3, "reports after the backup")
    reported = set(before)
    _until(lambda: reported <= _cases(place, "mdm_actions"), "every report was heard")
    place.done("down")
    shutil.rmtree(place.data_dir / "postgres" / "data")
    restored = place.done("ops", "restore", str(file))
    assert restored["log"] == "ahead"
    place.done("up", "--detach")

    _until(lambda: reported <= _cases(place, "notifier") & _cases(place, "mdm_actions"), "they catch up")
    missing = reported - _cases(place, "reporter")
    assert missing <= set(restored["incidents"])
    again = place.report()
    _until(lambda: again in _cases(place, "mdm_actions"), "a new report goes all the way")
    events = place.events()
    copies = Counter((event.envelope.source, event.envelope.subject, event.envelope.sequence) for event in events)
    ids = {
        (event.envelope.source, event.envelope.subject, event.envelope.sequence, event.envelope.id) for event in events
    }
    assert len(ids) == len(copies), "two events with one sequence"
    _assert_no_fork(place)
    _until(lambda: place.lostphone("ops", "status").returncode == 0, "nothing to do")


def _assert_no_fork(place: Place) -> None:
    kafka = {"bootstrap.servers": place.status.kafka.bootstrap}
    leaves: dict[int, set[str]] = {}
    for record in backup_log.records(kafka, TIMELINE_TOPIC, backup_log.ends(kafka, TIMELINE_TOPIC)):
        said = json.loads(record.value or b"{}")
        leaves.setdefault(said["seq"], set()).add(said["leaf"])
    assert leaves
    assert {seq for seq, told in leaves.items() if len(told) > 1} == set()
