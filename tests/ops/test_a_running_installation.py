"""What operators see of a running installation, and that it comes back from its backup with nothing lost or doubled."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from lostphone import topic_reader, unfinished_restore
from sandbox.companies import fleet, inventory
from shared.events import LOG_TOPIC, TIMELINE_TOPIC, Envelope, Signer, event_types
from tests.audit.running import eventually
from tests.ops import erasing
from tests.ops.running import ROOT, Place
from tests.ops.spans import Collector, Step, collecting

pytestmark = pytest.mark.timeout(900)

VERIFIER = ROOT / "services" / "audit" / "evidence" / "verify.py"
_MOVED = {
    "reporter": ("http_requests_total", "http_request_seconds_count", "ready", "event_handling_seconds_count"),
    "mdm_actions": (
        "provider_calls_total",
        "timers_fired_total",
        "events_relayed_total",
        "consumer_batch_seconds_count",
    ),
    "notifier": ("duties_open", "duty_next_due_seconds", "events_processed_total", "consumer_rebalances_total"),
    "audit": (
        "events_consumed_total",
        "log_entries",
        "log_signed_entries",
        "checkpoint_age_seconds",
        "log_verified_timestamp_seconds",
    ),
}
"""What the report of a phone moves. The rest moves in tests/messaging/test_every_metric_moves.py, in
test_redriving_a_dead_letter.py, tests/web (limits, providers away), tests/siem/test_hostile_records.py, tests/reporter
(two people agree) and below.
"""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOSTPHONE_OTLP_ENDPOINT", collector.address)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield collector


@pytest.fixture(scope="module")
def place(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """It exports its traces to the collector."""
    place = Place(tmp_path_factory.mktemp("ops") / "data")
    place.done("up", "--detach")
    try:
        yield place
    finally:
        place.lostphone("down")


def _until(condition: Callable[[], bool], what: str, seconds: float = 90, pause: float = 0.2) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(pause)


def test_one_trace_goes_from_the_report_over_the_mdm_server_to_the_lock(
    place: Place, collector: Collector, tmp_path: Path
) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    file = tmp_path / "inventory.csv"
    file.write_text(inventory("acme-kk"))
    place.done("ops", "inventory", "import", str(file), "--apply")
    phone = fleet()["acme-kk"][0]
    _until(lambda: _knows_the_fleet(place), "the reporter knows the phone")
    incident = place.report(phone.phone_number, who=phone.holder, traceparent=f"00-{trace}-00f067aa0ba902b7-01")

    def told() -> set[str]:
        steps = collector.steps(trace)
        return {f"{step.service}: {step.name}" for step in steps if _root(step, steps).name == "POST /v1/reports"}

    wanted = {
        "reporter: POST /v1/reports",
        "mdm_actions: lostphone.device-lost.v1",
        "mdm_actions: nanomdm lost_mode",
        # The phone's answer comes by a webhook, which has a trace of its own.
        "mdm_actions: lost_mode succeeded",
        "reporter: lostphone.device-locked.v1",
    }
    _until(lambda: wanted <= told(), f"one trace with {wanted}")
    named = {step.subject for step in collector.steps(trace) if step.name.startswith(("lostphone.", "timer "))}
    assert named == {incident}, "whoever knows the case finds its trace"
    of_case = [event.envelope for event in place.events() if event.envelope.subject == incident]
    in_trace = {envelope.type for envelope in of_case if trace in (envelope.traceparent or "")}
    assert {"lostphone.device-lost.v1", "lostphone.containment-planned.v1", "lostphone.device-locked.v1"} <= in_trace


def _root(step: Step, steps: list[Step]) -> Step:
    """The step that all of this one's parents go back to."""
    by_id = {found.id: found for found in steps}
    while step.parent in by_id:
        step = by_id[step.parent]
    return step


def test_what_a_report_does_moves_the_metrics_of_every_service(place: Place) -> None:
    for service, names in _MOVED.items():

        def moved(service: str = service, names: tuple[str, ...] = names) -> bool:
            told = _metrics(place, service)
            return all(told[f"lostphone_{name}"] > 0 for name in names)

        _until(moved, f"{service} moved {names}")
    assert _metrics(place, "audit")["lostphone_feed_pending_entries"] >= 0


def _metrics(place: Place, service: str) -> dict[str, float]:
    """What a service tells, over all labels."""
    told: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx2.get(f"{place.status.http[service]}/metrics", timeout=10).text):
        for sample in family.samples:
            told[sample.name] = told.get(sample.name, 0) + sample.value
    return told


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
    assert (found["parked"]["service"], found["not_recorded"]["service"]) == ("notifier", "audit")
    assert found["not_recorded"]["level"] == "watch", "there is nothing that a person could do about it"
    assert found["breaker_open"]["facts"]["organisation"] == "acme-kk"
    assert "privacy officer" in found["duty_overdue"]["en"]
    assert (found["reading_again"]["level"], found["reading_again"]["facts"]) == ("watch", {"count": 1})
    assert _metrics(place, "mdm_actions")["lostphone_breakers_open"] == 1
    notifier = _metrics(place, "notifier")
    assert (notifier["lostphone_dead_letters_open"], notifier["lostphone_duties_overdue"]) == (1, 1)
    assert notifier["lostphone_notices_uncertain"] == 1
    uncertain = found["notices_uncertain"]
    assert f"/incidents/{uncertain['facts']['subject']}/notices" in uncertain["en"]
    asyncio.run(_mend(place.superuser_dsn))
    assert place.lostphone("ops", "status").returncode == 0


def test_what_was_deleted_unread_is_told_with_what_the_timeline_has_of_it_until_somebody_has_seen_to_it(
    place: Place,
) -> None:
    incident = place.report()
    recorded = (
        "SELECT topic, partition, kafka_offset FROM audit.entry JOIN audit.stream ON stream.id = stream_id "
        f"WHERE subject = '{incident}' AND n = 0"
    )
    _until(lambda: bool(asyncio.run(_ask(place.superuser_dsn, recorded))), "it is in the timeline")
    ((topic, partition, offset),) = asyncio.run(_ask(place.superuser_dsn, recorded))
    columns = "INSERT INTO notifier.deleted_unread (topic, partition, first_offset, next_offset) VALUES"
    asyncio.run(_execute(place.superuser_dsn, f"{columns} ('{topic}', {partition}, {offset}, {offset + 1})"))

    standing = json.loads(place.lostphone("ops", "status", "--json").stdout)
    found = {finding["what"]: finding for finding in standing["findings"]}["deleted_unread"]
    assert (found["level"], found["service"], found["facts"]["first"]) == ("person", "notifier", offset)
    assert f"offsets {offset} to {offset}, were deleted before notifier read them" in found["en"]
    assert _metrics(place, "notifier")["lostphone_deleted_unread_records"] == 1
    (told,) = place.done("ops", "deleted-unread")
    assert told["recorded"] == {incident: ["DeviceLost"]}
    assert incident in place.lostphone("ops", "deleted-unread").stdout
    (seen,) = place.done("ops", "deleted-unread", "--acknowledge")
    assert seen["acknowledged_by"]
    _until(lambda: place.lostphone("ops", "status").returncode == 0, "nothing to do")
    asyncio.run(_execute(place.superuser_dsn, "DELETE FROM notifier.deleted_unread"))


def test_status_says_when_the_timeline_is_neither_signed_nor_fed_though_all_are_ready(place: Place) -> None:
    found = asyncio.run(_while_nothing_is_signed_or_fed(place))
    assert {"checkpoint_late", "feed_late"} <= found.keys()
    assert found["feed_late"]["facts"]["count"] > 0
    assert "SIEM" in found["feed_late"]["en"]
    assert "SIEM" in found["feed_late"]["ja"]
    _until(lambda: place.lostphone("ops", "status").returncode == 0, "nothing to do")


async def _while_nothing_is_signed_or_fed(place: Place) -> dict[str, Any]:
    """What is found while another process has the turn of publisher and feeder, and hangs."""
    hung, other = [await asyncpg.connect(place.superuser_dsn) for _ in range(2)]
    try:
        for name in ("publisher", "feeder"):
            turn = asyncio.ensure_future(hung.execute("SELECT pg_advisory_lock(hashtext($1))", f"audit-{name}"))
            while not turn.done():
                await other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
                    f"lostphone audit {name}",
                )
                await asyncio.wait([turn], timeout=0.3)
        await asyncio.to_thread(place.report)
        await eventually(
            lambda: other.fetchval("SELECT size > (SELECT max(size) FROM audit.checkpoint) FROM audit.log_state")
        )
        said = await asyncio.to_thread(place.lostphone, "ops", "status", "--json")
        return {finding["what"]: finding for finding in json.loads(said.stdout)["findings"]}
    finally:
        await hung.close()
        await other.close()


def test_a_record_that_a_service_could_not_handle_is_listed_shown_and_redriven_once(place: Place) -> None:
    asyncio.run(_execute(place.superuser_dsn, *_BROKEN))
    incident = place.report()

    def parked() -> list[dict[str, str]]:
        letters = place.done("ops", "dead-letters", "list", "--service", "notifier")
        return [letter for letter in letters if letter["subject"] == incident]

    _until(lambda: bool(parked()), "the notifier has parked the report")
    letters = parked()
    letter = next(letter for letter in letters if letter["type"] == "lostphone.device-lost.v1")
    assert (letter["reason"], letter["state"]) == ("RaiseError", "waiting")
    (shown,) = place.done("ops", "dead-letters", "show", letter["id"])
    assert shown["headers"]["ce_subject"] == incident
    assert shown["value"]["reported_at"]

    of_the_case = ("ops", "dead-letters", "redrive", "--all", "--service", "notifier", "--subject", incident)
    tried = place.done(*of_the_case, "--dry-run")
    assert not tried["applied"]
    assert letter["id"] in [found["id"] for found in tried["letters"]]
    assert asyncio.run(_duties(place, incident)) == 0

    asyncio.run(_execute(place.superuser_dsn, *_WHOLE))
    done = place.done(*of_the_case, "--apply")
    assert {found["state"] for found in done["letters"]} == {"redriven"}
    duties = asyncio.run(_duties(place, incident))
    assert duties > 0
    assert place.done(*of_the_case, "--apply")["letters"] == [], "what acted is not offered again"
    assert asyncio.run(_duties(place, incident)) == duties
    assert place.lostphone("ops", "dead-letters", "show", "notifier/0@999999").returncode == 1
    assert place.lostphone("ops", "dead-letters", "redrive").returncode == 2


@pytest.fixture(scope="module")
def erased(place: Place, tmp_path_factory: pytest.TempPathFactory) -> erasing.Erased:
    return erasing.erase(place, tmp_path_factory.mktemp("erased"))


def test_a_case_that_goes_on_holds_what_is_to_be_erased_and_the_log_says_both(
    place: Place, erased: erasing.Erased
) -> None:
    held, done = [(True, 0)], [(False, 1), (False, 0), (False, 0)]
    assert [(said["on_hold"], len(said["devices"])) for said in erased.said] == held + done
    told = [event.value for event in place.events() if event.envelope.type == "lostphone.personal-data-erased.v1"]
    assert [json.loads(value) for value in told] == erased.said


def test_nothing_opens_what_was_erased_and_it_is_nowhere(place: Place, erased: erasing.Erased) -> None:
    """No topic, table, log line, page, metric or evidence."""
    before, after = erased.disclosed
    assert None not in before.values()
    assert set(after.values()) == {None}
    assert erasing.in_vault(place, erased.owners) == 0
    assert erasing.found(erased, place) == set()


def test_evidence_of_before_and_after_an_erasure_is_proved(place: Place, erased: erasing.Erased) -> None:
    for bundle, said in zip(erased.evidence, ("no field was erased", "erased by entries"), strict=True):
        command = [sys.executable, "-I", "-S", VERIFIER, "bundle", bundle, "--vkey", place.status.log.vkey]
        report = json.loads(subprocess.run(command, capture_output=True, check=False, timeout=120).stdout)
        (check,) = [check for check in report["checks"] if check["name"] == "erasures"]
        assert report["outcome"] == check["outcome"] == "proved"
        assert check["detail"].startswith(said)
    kinds = place.done("verify")["kinds"]
    assert (kinds["hold"], kinds["erasure"]) == (1, 3)


_BROKEN = (
    "CREATE FUNCTION notifier.broken() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'a bad release'; END$$",
    "CREATE TRIGGER broken BEFORE INSERT ON notifier.incident FOR EACH ROW EXECUTE FUNCTION notifier.broken()",
)
_WHOLE = ("DROP TRIGGER broken ON notifier.incident", "DROP FUNCTION notifier.broken()")


async def _duties(place: Place, incident: str) -> int:
    rows = await _ask(
        place.superuser_dsn, f"SELECT count(*) AS duties FROM notifier.duty WHERE incident = '{incident}'"
    )
    return int(rows[0]["duties"])


def _knows_the_fleet(place: Place) -> bool:
    rows = asyncio.run(_ask(place.superuser_dsn, "SELECT count(*) AS devices FROM reporter.device"))
    return bool(rows[0]["devices"] >= len(fleet()["acme-kk"]))


async def _park(dsn: str) -> None:
    await _execute(
        dsn,
        "INSERT INTO notifier.parked (topic, partition, kafka_offset, reason) VALUES ('t', 0, 0, 'KeyError')",
        "INSERT INTO audit.parked (topic, partition, kafka_offset, reason) VALUES ('t', 0, 0, 'KeyError')",
        "INSERT INTO reporter.said_after_backup VALUES ('01a22000-0000-7000-8000-000000000000', 0, 1)",
        "INSERT INTO mdm_actions.breaker (organisation, drill, opened_at, reason) "
        "VALUES ('acme-kk', false, now(), 'wipes_per_window')",
        # As it will be in three days.
        "UPDATE notifier.duty SET overdue = true, opened = opened || jsonb_build_object('due', now() - interval '1 h') "
        "WHERE duty = (SELECT min(duty) FROM notifier.duty)",
        "INSERT INTO notifier.principal SELECT 'person-a', incident, organisation, NULL, 'name', 'mail' "
        "FROM notifier.incident ORDER BY incident LIMIT 1",
        "INSERT INTO notifier.batch SELECT 'batch-a', incident, organisation, 'jp-loss-v1', 1, '', '', '', 1, 'desk', "
        "now(), now() FROM notifier.principal",
        "INSERT INTO notifier.notice (batch, person, token, channels, state, channel, not_before) "
        "VALUES ('batch-a', 'person-a', 't', '{mail}', 'uncertain', 'mail', now())",
    )


async def _mend(dsn: str) -> None:
    await _execute(
        dsn,
        "DELETE FROM notifier.parked",
        "DELETE FROM audit.parked",
        "DELETE FROM reporter.said_after_backup",
        "DELETE FROM mdm_actions.breaker",
        "DELETE FROM notifier.notice",
        "DELETE FROM notifier.batch",
        "DELETE FROM notifier.principal",
        "UPDATE notifier.duty SET overdue = false, "
        "opened = opened || jsonb_build_object('due', now() + interval '3 d')",
    )


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


def _told_back(place: Place, incidents: list[str]) -> bool:
    rows = asyncio.run(_ask(place.superuser_dsn, "SELECT incident, state FROM reporter.incident"))
    found = {row["incident"] for row in rows if json.loads(row["state"])["brought_back"]}
    left = asyncio.run(_ask(place.superuser_dsn, "SELECT subject FROM reporter.said_after_backup"))
    return found == set(incidents) and not left


def test_a_backup_under_load_brings_everything_back_and_what_came_after_is_read_from_the_log(
    place: Place, tmp_path: Path
) -> None:
    file = tmp_path / "lostphone.backup"
    # More than librdkafka unpacks at all, of which services unpack nothing.
    asyncio.run(_throw_bomb(place, 120_000_000))
    with place.under_load() as before:
        _until(lambda: len(before) >= 3, "reports")
        place.done("ops", "backup", str(file))
        kept_until = len(before)
        asyncio.run(_throw_bomb(place, 3_000_000))
        _until(lambda: len(before) >= kept_until + 3, "reports after the backup")
    # What the log says of itself is in no record of Kafka's log: an index, and that evidence was handed out.
    place.done("ops", "evidence", before[0], "--out", str(tmp_path / "evidence.zip"))
    reported = set(before)
    _until(lambda: reported <= _cases(place, "mdm_actions"), "every report was heard")
    published = place.done("verify", "--save", str(tmp_path / "copy"))
    exports = published["kinds"]["export"]
    assert exports >= 1
    _seal(place, before[0], sequence=7)
    place.done("down")
    newest = (place.data_dir / "log" / "checkpoint").read_bytes()
    shutil.rmtree(place.data_dir / "postgres" / "data")
    restored = place.done("ops", "restore", str(file))
    assert restored["log"] == "ahead"
    again = [subject for subject, services in restored["forgotten"].items() if "reporter" in services]
    assert set(before[kept_until + 1 :]) <= set(again)
    after_the_backup = restored["forgotten"][before[-1]]
    assert after_the_backup["reporter"] == ["DeviceLost"]
    assert "ContainmentPlanned" in after_the_backup["mdm_actions"]
    place.done("up", "--detach")
    numbers = asyncio.run(_ask(place.superuser_dsn, "SELECT subject, last FROM audit.subject_sequence"))
    assert dict(numbers)[before[0]] >= 7, "audit does not number anew what it says on topics of its own"

    everyone = ("reporter", "mdm_actions", "notifier")
    _until(lambda: all(reported <= _cases(place, service) for service in everyone), "they catch up")
    _until(lambda: _told_back(place, again), "the reporter has read again what it had said")
    new = place.report()
    _until(lambda: new in _cases(place, "mdm_actions"), "a new report goes all the way")
    events = place.events()
    copies = Counter((event.envelope.source, event.envelope.subject, event.envelope.sequence) for event in events)
    ids = {
        (event.envelope.source, event.envelope.subject, event.envelope.sequence, event.envelope.id) for event in events
    }
    assert len(ids) == len(copies), "two events with one sequence"
    _assert_no_fork(place)
    notes = asyncio.run(_ask(place.superuser_dsn, "SELECT note FROM audit.checkpoint"))
    assert newest in [row["note"] for row in notes], "what was published last is there as it was published"
    proved = place.done("verify", "--earlier", str(tmp_path / "copy" / "checkpoint"))
    assert (proved["outcome"], proved["kinds"]["export"]) == ("proved", exports)
    assert proved["size"] > published["size"]
    _until(lambda: place.lostphone("ops", "status").returncode == 0, "nothing to do")


def test_the_log_goes_on_with_other_keys_that_the_old_one_signs(place: Place, tmp_path: Path) -> None:
    """And the witness, the start-up check and whoever kept an earlier checkpoint go along."""
    earlier = place.done("verify", "--save", str(tmp_path / "copy"))
    old = place.status.log.vkey
    assert place.lostphone("ops", "rotate", "log-keys").returncode == 1, "not while it runs"
    place.done("down")
    done = place.done("ops", "rotate", "log-keys")
    assert done["before"][0] == old
    place.done("up", "--detach")
    assert place.status.log.vkey == done["after"][0] != old
    incident = place.report()
    _until(lambda: incident in _cases(place, "mdm_actions"), "a report goes all the way")
    _until(lambda: place.done("verify")["size"] > earlier["size"] + 1, "and is published and witnessed")
    kept = ("--earlier", str(tmp_path / "copy" / "checkpoint"))
    proved = place.done("verify", *kept, "--vkey", place.status.log.vkey, "--vkey", old)
    assert (proved["outcome"], proved["kinds"]["key"]) == ("proved", 1)
    assert place.lostphone("verify", *kept).returncode == 1, (
        "the new key alone does not vouch for what the old one signed"
    )


def test_a_restore_that_was_killed_leaves_nothing_that_starts_and_is_done_by_running_it_again(
    place: Place, tmp_path: Path
) -> None:
    """On a new machine, under the keys of this one, which ends before."""
    new = Place(tmp_path / "new")
    file, keys, without_log = (tmp_path / name for name in ("backup", "keys", "without-log"))
    restore = ("ops", "restore", str(file), "--keys", str(keys))
    incident = place.report()
    place.done("ops", "backup", str(file), "--keys", str(keys))
    assert place.lostphone("ops", "restore", str(file), "--replace").returncode == 1, "not while it runs"
    place.done("down")

    _kill_in_the_middle(new, *restore)
    refused = new.lostphone("up", "--detach")
    assert refused.returncode == 2
    assert "lostphone ops restore" in refused.stderr
    assert new.done(*restore)["log"] == "written"
    _mark(new)
    assert new.done(*restore)["log"] == "written", "over what is there, for it is the same"
    new.done("up", "--detach")
    try:
        new.report()
        assert incident in _cases(new, "reporter")
        assert new.done("verify")["outcome"] == "proved"
        new.done("ops", "backup", str(without_log), "--without-log")
    finally:
        new.done("down")
    _mark(new)
    refused = new.lostphone(*restore)
    assert refused.returncode == 1
    assert "is not of this backup" in refused.stderr, "the log went on"
    _mark(new, writes_log=False)
    assert new.done("ops", "restore", str(without_log))["log"] == "same"


def _mark(place: Place, *, writes_log: bool = True) -> None:
    """As when one is killed after the last record of the log, or before the end of what follows."""
    (place.data_dir / unfinished_restore.FILE).write_text(json.dumps({"writes_log": writes_log}))


def _kill_in_the_middle(place: Place, *arguments: str) -> None:
    """Once something was changed."""
    command = [sys.executable, "-m", "lostphone", *arguments, "--data-dir", str(place.data_dir)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as restoring:
        _until(lambda: unfinished_restore.is_marked(place.data_dir), "it has begun", pause=0.02)
        assert restoring.poll() is None, "it goes on until it is killed"
        restoring.kill()


def _seal(place: Place, incident: str, sequence: int) -> None:
    """What audit says when an incident is closed, on the topic where it says it."""
    entry = next(entry for entry in event_types() if entry.name == "TimelineSealed")
    envelope = Envelope(
        id=f"{incident[:-4]}5ea1",
        source=entry.source,
        type=entry.type,
        subject=incident,
        time=datetime.now(UTC),
        sequence=sequence,
        organisation="acme-kk",
        actor="service/audit",
        dataschema=entry.dataschema,
    )
    signer = Signer.from_pem("audit", place.data_dir / "keys" / "audit" / "event-signing.pem")
    headers, value = envelope.sign(signer, entry.model.model_validate(entry.example))
    producer = Producer({"bootstrap.servers": place.status.kafka.bootstrap})
    producer.produce(entry.type, value, incident, headers=headers)
    assert producer.flush(30) == 0


async def _throw_bomb(place: Place, length: int) -> None:
    """A record into the log that is much shorter packed; one more beside it in its batch."""
    producer = AIOKafkaProducer(
        bootstrap_servers=place.status.kafka.bootstrap,
        compression_type="zstd",
        max_request_size=1 << 30,
        max_batch_size=1 << 30,
    )
    await producer.start()
    try:
        batch = producer.create_batch()
        for value in (b"beside", bytes(length)):
            assert batch.append(key=None, value=value, timestamp=None) is not None
        await (await producer.send_batch(batch, LOG_TOPIC, partition=0))
    finally:
        await producer.stop()


def _assert_no_fork(place: Place) -> None:
    kafka = {"bootstrap.servers": place.status.kafka.bootstrap}
    leaves: dict[int, set[str]] = {}
    for record in topic_reader.records(kafka, TIMELINE_TOPIC, topic_reader.ends(kafka, TIMELINE_TOPIC)):
        said = json.loads(record.value or b"{}")
        leaves.setdefault(said["seq"], set()).add(said["leaf"])
    assert leaves
    assert {seq for seq, told in leaves.items() if len(told) > 1} == set()
