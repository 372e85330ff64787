"""Every event of the registry becomes one valid OCSF event, and says no more than it may."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.audit.domain.leaf import Kind
from services.audit.feeds.ocsf import ocsf_of_entry, ocsf_of_own
from services.audit.feeds.ocsf_classes import CLASSES, OBSERVED, OTHER, SEVERITIES
from services.audit.feeds.ocsf_page import PAGE, page
from services.audit.feeds.ocsf_table import LEFT_OUT, REFUSED, ROWS
from services.audit.feeds.ocsf_versions import OcsfVersion
from shared.events import Received, event_types
from tests.audit.records import BY_NAME, START_MS, example
from tests.siem.entries import Entries
from tests.siem.ocsf_rules import personal, problems, schema

INCIDENT = "0192f0c1-0000-7000-8000-00000000aaaa"
_PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"
_FROM_LOG = [entry.name for entry in event_types() if entry.writer != "audit"]
_VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("LeakAssessed", {"version": 2}),
    ("LeakAssessed", {"version": 3, "final": True}),
    ("LeakAssessed", {"leak": "none", "people": None, "records": None}),
    ("LockFailed", {"reason": "not_supervised"}),
    ("LockFailed", {"reason": "device_refused", "command": None}),
    ("PersonalDataErased", {"on_hold": True, "fields": 0}),
    ("DutyFiled", {"late": True}),
    ("DeviceLost", {"device": None, "holder": None, "noticed_at": None, "reporter": None}),
    ("DeviceRegistered", {"platform": "android", "ownership": "personal", "holder": None}),
    ("DeviceRegistered", {"platform": "symbian", "supervised": "no", "mdm": None}),
    ("PoliceReportFiled", {"reception_number": None}),
    ("CommandRejected", {"what": "suspend_line", "nonce": None}),
]


@pytest.fixture
def entries(tmp_path: Path) -> Entries:
    return Entries(tmp_path)


@pytest.fixture(params=list(OcsfVersion), ids=str)
def of_either(request: pytest.FixtureRequest, tmp_path: Path) -> Entries:
    """Entries that are told in one version, and in the other."""
    return Entries(tmp_path, request.param)


@pytest.mark.parametrize("actor", [f"{_PERSON}/security_desk", "service/reporter", "anonymous/reporter"])
@pytest.mark.parametrize("name", _FROM_LOG)
def test_every_event_of_the_log_is_valid_ocsf(name: str, actor: str, of_either: Entries) -> None:
    event = of_either.ocsf(of_either.writers.record(name, INCIDENT, actor=actor))
    assert problems(event, of_either.version) == []
    assert personal(event) == []
    assert event["metadata"]["event_code"] == name


@pytest.mark.parametrize(("name", "changes"), _VARIANTS)
def test_facts_that_change_an_event_leave_it_valid(name: str, changes: dict[str, Any], of_either: Entries) -> None:
    entry, usual = example(name)
    payload = entry.model.model_validate({**usual.model_dump(), **changes})
    event = of_either.ocsf(of_either.writers.sign(name, of_either.writers.envelope(name, INCIDENT), payload))
    assert problems(event, of_either.version) == []
    assert ROWS[name].activity_varies or event["type_uid"] == ROWS[name].type_uid


@pytest.mark.parametrize("name", ["TimelineSealed", "IntegrityFinding"])
def test_what_audit_writes_itself_is_valid_too(name: str, of_either: Entries) -> None:
    _, payload = example(name)
    record = ocsf_of_own(of_either.writers.envelope(name, INCIDENT), payload.write(), of_either.version, seal=bytes(32))
    event = orjson.loads(record.value or b"")
    assert problems(event, of_either.version) == []
    assert event["raw_data_hash"]["value"] == hashlib.sha256(payload.write()).hexdigest()


def test_the_table_has_every_event_and_every_kind_of_entry() -> None:
    assert set(ROWS) == {entry.name for entry in event_types()}
    assert {Kind.EVENT.value, *REFUSED, *LEFT_OUT, Kind.DETACHED.value} >= {kind.value for kind in Kind}


def test_numbers_and_captions_are_those_of_the_published_schema() -> None:
    published = {known["uid"]: known for known in schema()["classes"].values()}
    for known in CLASSES:
        attributes = published[known.uid]["attributes"]
        assert known.name == published[known.uid]["caption"]
        assert known.category_uid == published[known.uid]["category_uid"]
        assert known.category_name == schema()["categories"]["attributes"][published[known.uid]["category"]]["caption"]
        for ours, name in (
            (known.activities, "activity_id"),
            (known.statuses, "status_id"),
            (SEVERITIES, "severity_id"),
        ):
            assert ours.items() <= {int(i): one["caption"] for i, one in attributes[name]["enum"].items()}.items()
        assert str(OTHER) in attributes["status_id"]["enum"]
    types = schema()["objects"]["observable"]["attributes"]["type_id"]["enum"]
    assert all(types[str(number)]["caption"] == caption for number, caption in OBSERVED.values())


def test_an_event_says_where_it_lies_in_the_timeline_and_what_its_bytes_were(entries: Entries) -> None:
    entries.row(entries.writers.record("DeviceLost", INCIDENT))
    received = entries.writers.record("DeviceLocked", INCIDENT, causationid="0192f0c1-0000-7000-8000-000000000001")
    row = entries.row(received)
    event = orjson.loads(ocsf_of_entry(row, entries.version).value)  # type: ignore[union-attr, arg-type]
    metadata, unmapped = event["metadata"], event["unmapped"]
    assert (metadata["uid"], metadata["correlation_uid"], metadata["sequence"]) == (row["event_id"], INCIDENT, 1)
    assert (metadata["tenant_uid"], metadata["log_name"]) == ("acme-kk", "lostphone.device-locked.v1")
    assert metadata["logged_time"] == START_MS
    assert (unmapped["log_seq"], unmapped["log_leaf"]) == ("1", row["leaf_hash"].hex())
    assert unmapped["causation_id"] == "0192f0c1-0000-7000-8000-000000000001"
    assert event["raw_data_hash"]["value"] == hashlib.sha256(received.value or b"").hexdigest()
    assert event["raw_data_size"] == len(received.value or b"")


def test_times_are_numbers_in_utc_and_texts_with_the_offset_of_japan(entries: Entries) -> None:
    said = datetime(2026, 11, 24, 14, 40, 1, 123_000, tzinfo=UTC)
    event = entries.ocsf(entries.writers.record("DeviceLost", INCIDENT, time=said))
    assert event["time"] == 1_795_531_201_123
    assert (event["time_dt"], event["timezone_offset"]) == ("2026-11-24T23:40:01.123+09:00", 540)


def test_what_is_recorded_late_is_marked(entries: Entries) -> None:
    recorded = datetime.fromtimestamp(START_MS / 1000, UTC)
    for delay, word in ((timedelta(minutes=4), "false"), (timedelta(minutes=6), "true")):
        event = entries.ocsf(entries.writers.record("DeviceLost", INCIDENT, time=recorded - delay))
        assert event["unmapped"]["recorded_late"] == word


def test_a_drill_is_told_apart_wherever_one_looks(entries: Entries) -> None:
    event = entries.ocsf(entries.writers.record("WipeRequested", INCIDENT, drill=True))
    assert event["metadata"]["labels"] == ["drill"]
    assert event["unmapped"]["drill"] == "true"
    assert event["message"].startswith("Drill: ")


def test_one_person_who_signs_twice_is_seen_in_the_order(entries: Entries) -> None:
    event = entries.ocsf(entries.writers.record("WipeRequested", INCIDENT))
    assert event["unmapped"]["same_signer"] == "true", "the example has one key for both"
    entry, usual = example("WipeRequested")
    facts = usual.model_dump()
    facts["approved"] = [{**facts["approved"][0], "keyid": "approver-1"}]
    payload = entry.model.model_validate(facts)
    event = entries.ocsf(
        entries.writers.sign("WipeRequested", entries.writers.envelope("WipeRequested", INCIDENT), payload)
    )
    assert event["unmapped"]["same_signer"] == "false"
    assert event["unmapped"]["approved_keyids"] == "approver-1"


def test_a_forged_record_is_a_detection_of_the_operators_that_tells_nothing_the_forger_wrote(
    of_either: Entries,
) -> None:
    entries = of_either
    received = entries.writers.record("WipeRequested", INCIDENT)
    headers = [(name, b"\xff\x1b[2J" if name == "ce_keyid" else data) for name, data in received.headers]
    event = entries.ocsf(replace(received, headers=tuple(headers), value=b"{}"))
    assert problems(event, entries.version) == []
    assert event["class_uid"] == 2004
    assert event["metadata"]["event_code"] == "RecordUnparsed"
    forged = entries.ocsf(replace(received, value=(received.value or b"") + b" "))
    assert problems(forged, entries.version) == []
    assert forged["metadata"]["event_code"] == "RecordUnverified"
    assert forged["metadata"]["tenant_uid"] == "installation"
    assert forged["status_code"] == "signature_invalid"
    assert forged["unmapped"]["claimed_type"] == "lostphone.wipe-requested.v1"
    assert event["unmapped"]["claimed_keyid"] == "malformed"
    finding = ocsf_of_own(
        entries.writers.envelope("IntegrityFinding", "log"),
        BY_NAME["IntegrityFinding"].model.model_validate({"finding": "signature_invalid", "seq": 1}).write(),
        entries.version,
    )
    assert orjson.loads(finding.value or b"")["finding_info"]["uid"] == forged["finding_info"]["uid"]


def test_a_payload_that_a_later_version_wrote_is_told_without_its_facts(entries: Entries) -> None:
    entry, _ = example("WipeConfirmed")
    envelope = entries.writers.envelope("WipeConfirmed", INCIDENT)

    class Later:
        def write(self) -> bytes:
            return b'{"proof": ["P3"]}'

    headers, value = envelope.sign(entries.writers.signer(entry.writer), Later())  # type: ignore[arg-type]
    event = entries.ocsf(Received("lostphone.log.v1", 0, 0, START_MS, INCIDENT.encode(), tuple(headers), value))
    assert problems(event) == []
    assert event["command_uid"] == envelope.id


def test_the_worked_examples_pass_the_same_rules() -> None:
    """The rules themselves are right: they pass what others found right, and find what is damaged."""
    good = json.loads((Path(__file__).parent / "vectors" / "device-lost.json").read_text())
    assert problems(good) == []
    damaged = [
        {**good, "type_uid": 200502},
        {**good, "observables": [{"name": "device.uid", "type_id": 47, "type": "Device Object: uid", "value": "x"}]},
        {**good, "unmapped": {"a": {"b": "c"}}},
        {**good, "severity": "Low"},
        {**good, "message": "a\u202eb"},
        {**{name: value for name, value in good.items() if name != "time"}, "time": good["time"]},
    ]
    assert all(len(problems(event)) == 1 for event in damaged)


def test_the_page_of_the_mapping_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m services.audit.feeds.ocsf_page"
