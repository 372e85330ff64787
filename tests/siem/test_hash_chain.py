"""What OCSF 1.9.0 has and 1.8.0 has not: the timeline's hash chain, visible in the events themselves."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from services.audit.feeds.ocsf import ocsf_of_entry, ocsf_of_own
from services.audit.feeds.ocsf_versions import RECORD_INTEGRITY, RENAMED, OcsfVersion
from services.audit.settings import Settings
from shared.events import event_types
from shared.events.audit import TimelineSealed
from shared.messaging.kafka import OutgoingRecord
from tests.siem.entries import Entries
from tests.siem.ocsf_rules import problems

INCIDENT = "0192f0c1-0000-7000-8000-00000000aaaa"
_FROM_LOG = [entry.name for entry in event_types() if entry.writer != "audit"]


@pytest.fixture
def entries(tmp_path: Path) -> Entries:
    return Entries(tmp_path, OcsfVersion.V1_9)


def _event(record: OutgoingRecord | None) -> dict[str, Any]:
    assert record is not None
    event: dict[str, Any] = orjson.loads(record.value or b"")
    return event


def _links(events: list[dict[str, Any]]) -> Iterator[tuple[str, str | None]]:
    """Each fingerprint, and the one that the event behind it names."""
    attested = [event["attestation_list"][0] for event in events]
    for one, after in pairwise(attested):
        yield one["fingerprint"]["value"], after["prev_event"]["fingerprint"]["value"]


def test_each_event_names_the_one_before_it_in_the_chain_of_its_subject(entries: Entries) -> None:
    other = INCIDENT.replace("a", "b")
    told: dict[str, list[dict[str, Any]]] = {INCIDENT: [], other: []}
    for name in _FROM_LOG:
        for subject, events in told.items():
            events.append(entries.ocsf(entries.writers.record(name, subject)))
    for subject, events in told.items():
        assert "prev_event" not in events[0]["attestation_list"][0]
        assert all(one == before for one, before in _links(events))
        for event, after in pairwise(events):
            attested = after["attestation_list"][0]
            before = attested["prev_event"]
            assert (attested["chain_uid"], before["uid"]) == (subject, event["metadata"]["uid"])
            known = before.get("type_uid")
            assert known == event["type_uid"] or (known is None and event["metadata"]["event_code"] == "LeakAssessed")


def test_the_fingerprint_is_the_hash_of_the_leaf(entries: Entries) -> None:
    row = entries.row(entries.writers.record("DeviceLost", INCIDENT))
    (attested,) = _event(ocsf_of_entry(row, OcsfVersion.V1_9))["attestation_list"]
    assert attested["fingerprint"]["value"] == row["leaf_hash"].hex()


def test_a_seal_is_a_link_too(entries: Entries) -> None:
    """`TimelineSealed` has the seal's own hash, and what comes after names it."""
    closed = entries.ocsf(entries.writers.record("IncidentClosed", INCIDENT))
    seal = entries.seal(INCIDENT)
    (at_the_end,) = closed["attestation_list"]
    payload = TimelineSealed(entries=1, head=at_the_end["fingerprint"]["value"], seal_seq=1, size=2)
    envelope = entries.writers.envelope("TimelineSealed", INCIDENT, causationid=closed["metadata"]["uid"])
    sealed = _event(ocsf_of_own(envelope, payload.write(), OcsfVersion.V1_9, seal=seal))
    again = entries.ocsf(entries.writers.record("IncidentReopened", INCIDENT))
    assert [problem for event in (sealed, again) for problem in problems(event, OcsfVersion.V1_9)] == []
    assert all(one == before for one, before in _links([closed, sealed, again]))
    before = sealed["attestation_list"][0]["prev_event"]
    assert (before["uid"], before["type_uid"]) == (closed["metadata"]["uid"], closed["type_uid"])
    before = again["attestation_list"][0]["prev_event"]
    assert before["uid"] == before["fingerprint"]["value"] == seal.hex()
    assert "type_uid" not in before


def test_what_acts_nowhere_stands_in_no_chain_and_has_a_hash_all_the_same(entries: Entries) -> None:
    received = entries.writers.record("WipeRequested", INCIDENT)
    row = entries.row(replace(received, value=(received.value or b"") + b" "))
    (attested,) = _event(ocsf_of_entry(row, OcsfVersion.V1_9))["attestation_list"]
    assert attested.keys() == {"fingerprint"}
    assert attested["fingerprint"]["value"] == row["leaf_hash"].hex()


@pytest.mark.parametrize("name", _FROM_LOG)
def test_nothing_else_differs_from_1_8(name: str, entries: Entries) -> None:
    row = entries.row(entries.writers.record(name, INCIDENT))
    older, newer = (_event(ocsf_of_entry(row, version)) for version in OcsfVersion)
    assert newer.pop("attestation_list")
    assert newer["metadata"].pop("version") == "1.9.0"
    assert newer["metadata"]["profiles"].pop() == RECORD_INTEGRITY
    assert older["metadata"].pop("version") == "1.8.0"
    assert newer == {RENAMED.get(key, key): value for key, value in older.items()}
    assert next(iter(newer)) == "time"


def test_the_changed_line_has_its_new_name(entries: Entries) -> None:
    event = entries.ocsf(entries.writers.record("CarrierSuspended", INCIDENT))
    assert "entity_result" not in event
    assert event["updated_entity"]["device"]["is_mobile_account_active"] is False


def test_the_rules_find_what_is_damaged(entries: Entries) -> None:
    good = entries.ocsf(entries.writers.record("CarrierSuspended", INCIDENT))
    (attested,) = good["attestation_list"]
    fingerprint = attested["fingerprint"]
    damaged = [
        {**good, "attestation_list": [{"chain_uid": INCIDENT}]},
        {**good, "attestation_list": [{**attested, "prev_event": {"fingerprint": fingerprint}}]},
        {**good, "attestation_list": [{**attested, "fingerprint": {**fingerprint, "encoding": "Base64"}}]},
        {**good, "attestation_list": [{**attested, "fingerprint": {**fingerprint, "serialization": "Other"}}]},
        {**good, "entity_result": good["updated_entity"]},
        {key: value for key, value in good.items() if key != "attestation_list"},
    ]
    assert problems(good, OcsfVersion.V1_9) == []
    assert [len(problems(event, OcsfVersion.V1_9)) for event in damaged] == [1] * len(damaged)
    assert problems(good), "1.8.0 does not know it"


@pytest.mark.parametrize("version", ["1.7.0", "1.10.0", "1.9.0-dev", "latest", ""])
def test_another_version_is_refused_by_name(version: str) -> None:
    with pytest.raises(ValidationError, match=r"(?s)ocsf_version\n  Input should be '1\.8\.0' or '1\.9\.0'"):
        Settings(ocsf_version=version)  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize("version", ["1.8.0", "1.9.0"])
def test_these_two_are_accepted(version: str) -> None:
    with pytest.raises(ValidationError) as told:
        Settings(ocsf_version=version)  # type: ignore[call-arg, arg-type]
    assert "ocsf_version" not in str(told.value), "only what else the service needs is missing"
    assert Settings.model_fields["ocsf_version"].default == "1.8.0"
