"""The Sigma rules: they convert for the backends that teams use, fire on what they are about, and are quiet else."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from sigma.backends.elasticsearch import EqlBackend, ESQLBackend, LuceneBackend
from sigma.backends.splunk import SplunkBackend
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationType
from sigma.rule import SigmaDetection, SigmaRule
from sigma.types import SigmaRegularExpression

from services.audit.feeds.ocsf import ocsf_of_own
from tests.audit.records import BY_NAME, START_MS, example
from tests.siem.entries import Entries

FOLDER = Path("deploy/siem/sigma")
INCIDENT = "0192f0c1-0000-7000-8000-00000000aaaa"
_FILES = sorted(FOLDER.glob("*.yml"))
_QUIET = (
    "DeviceLost", "ContainmentPlanned", "SessionsRevoked", "DeviceLocked", "DeviceLocated", "WipeSent", "WipeConfirmed",
    "PoliceReportFiled", "DutyOpened", "DutyFiled", "NoticesSent", "DeviceRecovered", "IncidentClosed",
)  # fmt: skip


def _rules(file: Path) -> list[SigmaRule | SigmaCorrelationRule]:
    return list(SigmaCollection.from_yaml(file.read_text()).rules)


def _plain() -> dict[str, SigmaRule]:
    return {rule.name: rule for file in _FILES for rule in _rules(file) if isinstance(rule, SigmaRule)}


def _matches(rule: SigmaRule, event: dict[str, Any]) -> bool:
    """`selection`, or `selection and not <another>`: the two conditions that the rules use."""
    (condition,) = rule.detection.condition
    wanted, _, unwanted = condition.partition(" and not ")
    detections = rule.detection.detections
    return _holds(detections[wanted], event) and not (unwanted and _holds(detections[unwanted], event))


def _holds(detection: SigmaDetection, event: dict[str, Any]) -> bool:
    return all(
        any(_is(value, _field(event, item.field)) for value in item.value)  # type: ignore[union-attr]
        for item in detection.detection_items
    )


def _field(event: dict[str, Any], path: str | None) -> str:
    found: Any = event
    for name in (path or "").split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return "" if found is None else str(found)


def _is(value: Any, text: str) -> bool:
    if isinstance(value, SigmaRegularExpression):
        return re.search(str(value.regexp), text) is not None
    return fnmatchcase(text, str(value))


@pytest.fixture
def entries(tmp_path: Path) -> Entries:
    return Entries(tmp_path)


def _firing(event: dict[str, Any]) -> set[str]:
    return {
        name
        for name, rule in _plain().items()
        if not name.endswith(("_base", "_first", "_second")) and name != "wipe_requested" and _matches(rule, event)
    }


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_every_rule_is_whole(file: Path) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        assert {"title", "id", "status", "description", "author", "date", "falsepositives", "level"} <= set(document)
    for rule in _rules(file):
        assert rule.errors == []


def test_ids_are_unique() -> None:
    ids = [document["id"] for file in _FILES for document in yaml.safe_load_all(file.read_text())]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("backend", [SplunkBackend, LuceneBackend, ESQLBackend, EqlBackend])
def test_rules_about_one_event_convert(backend: Any) -> None:
    about_one = [file for file in _FILES if len(_rules(file)) == 1]
    assert len(about_one) == 12
    for file in about_one:
        (query,) = backend().convert(SigmaCollection.from_yaml(file.read_text()))
        assert query


def test_the_burst_converts_for_splunk_and_elastic() -> None:
    text = (FOLDER / "wipe-burst.yml").read_text()
    (spl,) = SplunkBackend().convert(SigmaCollection.from_yaml(text))
    assert "metadata.tenant_uid" in spl
    assert "event_count >= 5" in spl
    (esql,) = ESQLBackend().convert(SigmaCollection.from_yaml(text))
    assert "event_count" in esql


def test_rules_about_an_order_of_events_convert_for_eql() -> None:
    ordered = [
        file
        for file in _FILES
        for rule in _rules(file)
        if isinstance(rule, SigmaCorrelationRule) and rule.type == SigmaCorrelationType.TEMPORAL_ORDERED
    ]
    assert [file.stem for file in ordered] == ["disclosure-before-assessment", "line-before-lock"]
    for file in ordered:
        (query,) = EqlBackend().convert(SigmaCollection.from_yaml(file.read_text()))
        assert query.startswith("sequence by metadata.correlation_uid")


def _told(entries: Entries, name: str, changes: dict[str, Any], **envelope: Any) -> dict[str, Any]:
    entry, usual = example(name)
    payload = entry.model.model_validate({**usual.model_dump(), **changes})
    return entries.ocsf(entries.writers.sign(name, entries.writers.envelope(name, INCIDENT, **envelope), payload))


def _cases(entries: Entries) -> Iterator[tuple[set[str], dict[str, Any]]]:
    two_keys = {"approved": [{"keyid": "approver-1", "signature": "A" * 86 + "=="}]}
    recorded = datetime.fromtimestamp(START_MS / 1000, UTC)
    at_noon, at_two = recorded.replace(hour=3), recorded.replace(hour=17)
    yield set(), _told(entries, "WipeRequested", two_keys, time=at_noon)
    yield {"wipe_outside_hours"}, _told(entries, "WipeRequested", two_keys, time=at_two)
    yield {"wipe_same_signer"}, _told(entries, "WipeRequested", {}, time=at_noon)
    yield {"command_rejected"}, _told(entries, "CommandRejected", {})
    yield (
        {"command_rejected", "wipe_no_open_incident"},
        _told(entries, "CommandRejected", {"reason": "incident_not_open"}),
    )
    yield {"breaker_opened"}, _told(entries, "BreakerOpened", {})
    yield {"break_glass"}, _told(entries, "BreakGlassUsed", {})
    yield {"misuse_suspected"}, _told(entries, "MisuseSuspected", {})


def test_each_rule_fires_on_what_it_is_about_and_on_nothing_else(entries: Entries) -> None:
    for wanted, event in _cases(entries):
        late = {"recorded_late"} if event["unmapped"]["recorded_late"] == "true" else set()
        assert _firing(event) == wanted | late, event["metadata"]["event_code"]


@pytest.mark.parametrize(
    "name", ["WipeRequested", "CommandRejected", "BreakerOpened", "BreakGlassUsed", "MisuseSuspected"]
)
def test_a_drill_alarms_nobody(name: str, entries: Entries) -> None:
    assert _firing(_told(entries, name, {}, drill=True)) - {"recorded_late"} == set()


def test_what_was_held_back_fires(entries: Entries) -> None:
    said = datetime.fromtimestamp(START_MS / 1000, UTC) - timedelta(minutes=6)
    assert _firing(_told(entries, "DeviceLocked", {}, time=said)) == {"recorded_late"}


def test_what_audit_finds_fires(entries: Entries) -> None:
    _, payload = example("IntegrityFinding")
    record = ocsf_of_own(entries.writers.envelope("IntegrityFinding", "log"), payload.write(), entries.version)
    assert _firing(orjson.loads(record.value or b"")) == {"integrity_finding"}
    forged = replace(entries.writers.record("DeviceLost", INCIDENT), value=b"{}")
    assert _firing(entries.ocsf(forged)) == {"forged_record"}


@pytest.mark.parametrize("name", _QUIET)
def test_an_ordinary_story_is_quiet(name: str, entries: Entries) -> None:
    assert _firing(entries.ocsf(entries.writers.record(name, INCIDENT))) == set()


def test_only_the_four_services_may_write(entries: Entries) -> None:
    rule = _plain()["kafka_unexpected_writer"]
    asked = {"operation": "Write", "resource": "Topic:LITERAL:lostphone.log.v1", "principal": "User:siem"}
    assert _matches(rule, asked)
    assert not _matches(rule, {**asked, "principal": "User:audit"})
    assert not _matches(rule, {**asked, "operation": "Read"})
    assert not _matches(rule, {**asked, "resource": "Topic:LITERAL:other.v1"})


def test_every_field_that_a_rule_asks_for_is_in_the_feed(entries: Entries) -> None:
    told = [
        entries.ocsf(entries.writers.record(name, INCIDENT))
        for name, entry in BY_NAME.items()
        if entry.writer != "audit"
    ]
    for name, rule in _plain().items():
        if name == "kafka_unexpected_writer":
            continue
        for item in rule.detection.detections["selection"].detection_items:
            assert any(_field(event, item.field) for event in told), (name, item.field)  # type: ignore[union-attr]
