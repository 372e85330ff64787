"""What integrators, a SIEM and an auditor see of the story, with clients that nobody here wrote."""

import json
import re
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from sandbox.companies import companies, fleet
from shared.events import LOG_TOPIC, Event, KeyRing, Received, read
from tests.siem.ocsf_rules import personal, problems
from tests.story.conftest import KafkaRecord, Others, Played

pytestmark = pytest.mark.timeout(600)

_NAMED = {
    "lostphone.device-lost.v1": {"door": "signed_in", "reported_as": "proxy", "passcode_attached": "yes"},
    "lostphone.wipe-requested.v1": {},
    "lostphone.carrier-suspended.v1": {"trigger": "wipe_confirmed", "read_back": "suspended"},
    "lostphone.disclosure-issued.v1": {"people": 1240, "assessment_version": 1},
}


def test_the_installation_uses_the_broker_and_database_that_the_environment_names(
    played: Played, others: Others
) -> None:
    assert played.status.sources == {"kafka": "environment", "postgres": "environment"}
    assert played.status.kafka.bootstrap == others.kafka.bootstrap
    for service, database in played.status.postgres.items():
        assert urlsplit(database.dsn).port == urlsplit(others.postgres.dsn()).port, service
    assert {"kafka", "postgres"} & set(played.status.processes) == set()
    assert not (Path(played.status.data_dir) / "kafka" / "data").exists()


def test_the_demo_says_the_times_that_matter_in_their_order(played: Played) -> None:
    (times,) = [line for line in played.lines if line["kind"] == "times"]
    assert list(times) == ["kind", "noticed", "reported", "locked", "wiped", "line_stopped", "told", "seconds"]
    moments = [datetime.fromisoformat(times[name]) for name in list(times)[1:-1]]
    assert moments == sorted(moments)


def test_every_place_to_look_that_the_demo_names_is_there(played: Played) -> None:
    (where,) = [line for line in played.lines if line["kind"] == "where"]
    assert {"timeline.html", "disclosure.html", "mails", "line", "evidence", "journals"} <= set(where)
    assert [place for name, place in where.items() if name != "kind" and not Path(place).exists()] == []


def test_the_line_is_stopped_after_the_wipe_is_confirmed(played: Played) -> None:
    events = [line["event"] for line in played.lines if line["kind"] == "event"]
    assert events.index("WipeConfirmed") < events.index("CarrierSuspended")
    assert events.index("WipeSent") < events.index("WipeConfirmed")


@pytest.mark.parametrize("topic", sorted(_NAMED))
def test_a_named_topic_carries_what_the_story_says(played: Played, topic: str) -> None:
    (record,) = [record for record in played.records(topic) if record.key() == played.incident.encode()]
    data = json.loads(record.value())
    assert {name: data[name] for name in _NAMED[topic]} == _NAMED[topic]


@pytest.mark.parametrize("topic", sorted(_NAMED))
def test_the_cloudevents_sdk_reads_a_named_topic(played: Played, topic: str) -> None:
    (record,) = [record for record in played.records(topic) if record.key() == played.incident.encode()]
    message = KafkaMessage(headers=dict(record.headers()), key=record.key(), value=record.value())
    event = from_binary(message, JSONFormat(), CloudEvent)
    assert event.get_type() == topic
    assert event.get_subject() == played.incident
    assert event.get_extension("organisation") == "acme-kk"


def test_a_type_topic_holds_the_same_bytes_headers_and_id_as_the_log(played: Played) -> None:
    log = {dict(record.headers())["ce_id"]: record for record in played.records(LOG_TOPIC)}
    types = sorted({dict(record.headers())["ce_type"].decode() for record in log.values()})
    outward = played.records(*types)
    assert {dict(record.headers())["ce_id"] for record in outward} == set(log)
    for record in outward:
        original = log[dict(record.headers())["ce_id"]]
        assert (record.key(), record.value()) == (original.key(), original.value())
        assert set(original.headers()) <= set(record.headers())
        assert record.topic() == dict(original.headers())["ce_type"].decode()


def test_sequences_are_gapless_per_source_and_subject(played: Played) -> None:
    sequences: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
    for record in sorted(played.records(LOG_TOPIC), key=lambda record: (record.partition(), record.offset())):
        headers = dict(record.headers())
        sequences[headers["ce_source"], headers["ce_subject"]].append(int(headers["ce_sequence"]))
    assert len(sequences) > 3
    for pair, found in sequences.items():
        assert found == list(range(1, len(found) + 1)), pair


def test_every_signature_verifies_with_the_published_keys(played: Played, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps(played.status.events.model_dump()["keys"]))
    keyring = KeyRing(keys)
    readings = [read(_received(record), keyring) for record in played.records(LOG_TOPIC)]
    assert readings
    assert [reading for reading in readings if not isinstance(reading, Event)] == []


def _received(record: KafkaRecord) -> Received:
    place = (record.topic(), record.partition(), record.offset(), record.timestamp()[1])
    return Received(*place, record.key(), tuple(record.headers()), record.value())


def test_every_entry_of_the_timeline_has_its_place(played: Played) -> None:
    entries = sorted((json.loads(record.value()) for record in played.records("lostphone.timeline.v1")), key=_seq)
    assert [entry["seq"] for entry in entries] == list(range(len(entries)))
    chain = [entry["n"] for entry in entries if entry.get("incident") == played.incident and entry["kind"] == "event"]
    assert chain == list(range(len(chain)))
    assert any(entry["kind"] == "seal" for entry in entries)


def test_the_siem_feed_has_every_event_of_the_log_as_valid_ocsf(played: Played) -> None:
    log = {dict(record.headers())["ce_id"].decode() for record in played.records(LOG_TOPIC)}
    events = [json.loads(record.value()) for record in played.records("lostphone.ocsf.v1")]
    assert log <= {event["metadata"]["uid"] for event in events}
    assert [problem for event in events for problem in problems(event)] == []
    assert [text for event in events for text in personal(event)] == []
    story = [event for event in events if event["metadata"]["correlation_uid"] == played.incident]
    assert {event["metadata"]["tenant_uid"] for event in story} == {"acme-kk"}


def _seq(entry: dict[str, int]) -> int:
    return entry["seq"]


def _planted() -> list[str]:
    """Every personal value of the story, as people typed it or as the sandbox holds it."""
    people = [person for _, person in companies().everyone()]
    phones = [phone for organisation in fleet().values() for phone in organisation]
    return [
        *(name for person in people for name in (person.name, person.email)),
        *(value for phone in phones for value in (phone.serial, phone.imei, phone.phone_number, phone.marks) if value),
        "080-5555-0142",
        "六本木から目黒まで",
        "懇親会の帰りにタクシーの後部座席",
        "目黒交通",
        "取引先 0001",
        "customer0001@customers.example",
        f"U{20:032x}",
        "35.6595",
        "139.7005",
    ]


def test_planted_personal_data_is_in_no_topic_log_line_or_leaf(played: Played) -> None:
    data_dir = Path(played.status.data_dir)
    texts: dict[str, bytes] = defaultdict(bytes)
    for record in played.records(*played.topics()):
        headers = (value or b"" for _, value in record.headers() or [])
        texts[f"topic {record.topic()}"] += b" ".join([record.key() or b"", record.value() or b"", *headers])
    for log in (data_dir / "processes").glob("*.log"):
        if log.stem != "sandbox":  # the outside world knows its own people
            texts[f"log {log.stem}"] += log.read_bytes()
    texts["leaves"] = b"".join(_leaves(played))
    assert len(texts["leaves"]) > 10_000
    found = {
        (place, value)
        for place, text in texts.items()
        for value in _planted()
        if value.encode() in text or json.dumps(value)[1:-1].encode() in text
    }
    assert found == set()


def _leaves(played: Played) -> list[bytes]:
    """The entry bundles of the whole log, over HTTP, as any tlog-tiles client reads them."""
    headers = {"Authorization": f"Bearer {played.status.log.bearer}"}
    with httpx2.Client(base_url=played.status.log.url, headers=headers) as http:
        size = int(http.get("/checkpoint").raise_for_status().text.splitlines()[1])
        bundles = []
        for number in range((size + 255) // 256):
            width = min(256, size - number * 256)
            suffix = "" if width == 256 else f".p/{width}"
            bundles.append(http.get(f"/tile/entries/{number:03d}{suffix}").raise_for_status().content)
        return bundles


def test_nothing_of_one_organisation_is_seen_by_another(played: Played) -> None:
    http = played.status.http
    desk = _token(played, "beta-hayashi")
    privacy = _token(played, "beta-kimura")
    auditor = _token(played, "beta-auditor")
    refused = {
        f"{http['reporter']}/v1/incidents/{played.incident}": desk,
        f"{http['notifier']}/v1/incidents/{played.incident}/duties": privacy,
        f"{http['notifier']}/v1/incidents/{played.incident}/notices": privacy,
        f"{http['mdm_actions']}/v1/incidents/{played.incident}/commands": desk,
        f"{http['audit']}/v1/incidents/{played.incident}/timeline": auditor,
    }
    for url, token in refused.items():
        assert httpx2.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 404, url
    listed = httpx2.get(f"{http['reporter']}/v1/incidents?state=all", headers={"Authorization": f"Bearer {desk}"})
    assert listed.json()["incidents"] == []


def _token(played: Played, sub: str) -> str:
    answer = httpx2.post(f"{played.status.sandbox['identity']}/_token", json={"sub": sub})
    token: str = answer.raise_for_status().json()["access_token"]
    return token


def test_each_outside_effect_happened_once(played: Played) -> None:
    assert len(_calls(played, "carrier", r"POST /v1/sims/[^/]+/suspend$")) == 1
    assert len(_calls(played, "entra", r"POST /v1\.0/users/[^/]+/revokeSignInSessions$")) == 1
    erased = _calls(played, "phones", r"COMMAND /phones/[^/]+/EraseDevice$")
    assert len(erased) == 1
    assert len(_calls(played, "line", r"POST /v2/bot/message/push$")) == 62
    assert len(_calls(played, "mail", r"^DATA ")) == 1178


def _calls(played: Played, part: str, pattern: str) -> list[dict[str, object]]:
    entries = httpx2.get(f"{played.status.sandbox[part]}/_journal", timeout=30).raise_for_status().json()["entries"]
    return [entry for entry in entries if re.search(pattern, f"{entry['method']} {entry['path']}")]
