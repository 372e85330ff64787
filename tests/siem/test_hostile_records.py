"""Whatever lies on the log, the feed goes on, and what leaves is neutral."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.feeds.ocsf import ocsf_of_entry
from services.audit.feeds.ocsf_text import MAX_TEXT, neutral
from shared.events import Received
from shared.telemetry import metrics
from tests.audit.records import example
from tests.siem.entries import Entries
from tests.siem.ocsf_rules import problems

INCIDENT = "0192f0c1-0000-7000-8000-00000000aaaa"
_BIDI = "iPhone\u202e 61\r\n<14>1 forged\u2028\x1b[2J\u200b"
_HEADERS = st.lists(
    st.tuples(st.sampled_from(["ce_id", "ce_type", "ce_keyid", "ce_source", "x"]), st.none() | st.binary(max_size=40)),
    max_size=8,
)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> Entries:
    return Entries(tmp_path_factory.mktemp("entries"))


@given(_HEADERS, st.none() | st.binary(max_size=80), st.none() | st.binary(max_size=20), st.integers(-1, 2**63 - 1))
@settings(deadline=None)
def test_any_record_is_told_validly(
    entries: Entries,
    headers: list[tuple[str, bytes | None]],
    value: bytes | None,
    key: bytes | None,
    timestamp: int,
) -> None:
    received = Received("lostphone.log.v1", 3, 48_211, timestamp, key, tuple(headers), value)
    assert problems(entries.ocsf(received)) == []


def test_free_text_in_a_signed_event_is_neutral(entries: Entries) -> None:
    entry, usual = example("DeviceRegistered")
    payload = entry.model.model_validate({**usual.model_dump(), "model": _BIDI})
    envelope = entries.writers.envelope("DeviceRegistered", f"device-{INCIDENT}")
    event = entries.ocsf(entries.writers.sign("DeviceRegistered", envelope, payload))
    assert problems(event) == []
    model = "iPhone<U+202E> 61<U+000D><U+000A><14>1 forged<U+2028><U+001B>[2J<U+200B>"
    assert event["device"]["model"] == model


def test_an_event_of_another_shape_is_told_without_its_facts_and_counted(entries: Entries) -> None:
    def failures() -> float:
        return metrics.REGISTRY.get_sample_value("lostphone_ocsf_failures_total", {"type": "DeviceLost"}) or 0

    _, other = example("WipeConfirmed")
    before = failures()
    event = entries.ocsf(entries.writers.sign("DeviceLost", entries.writers.envelope("DeviceLost", INCIDENT), other))
    assert event["metadata"]["event_code"] == "DeviceLost"
    assert failures() == before + 1


def test_the_ends_of_the_calendar_are_told_too(entries: Entries) -> None:
    for text in ("0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"):
        moment = datetime.fromisoformat(text)
        row = entries.row(entries.writers.record("DeviceLost", INCIDENT, time=moment))
        assert ocsf_of_entry(row, entries.version) is not None


def test_a_structured_record_is_told_as_one_in_binary_mode_is(entries: Entries) -> None:
    binary = entries.writers.record("WipeConfirmed", INCIDENT, drill=True)
    attributes = {name[3:]: (data or b"").decode() for name, data in binary.headers if name.startswith("ce_")}
    document = {**attributes, "data": orjson.loads(binary.value or b"")}
    structured = replace(
        binary,
        headers=(("content-type", b"application/cloudevents+json"),),
        value=orjson.dumps(document),
    )
    told, other = entries.ocsf(binary), entries.ocsf(structured)
    assert other["metadata"]["event_code"] == "WipeConfirmed"
    differ = {name for name in told if told[name] != other.get(name)}
    assert differ <= {"raw_data_hash", "raw_data_size", "unmapped", "metadata"}
    assert other["unmapped"]["drill"] == "true"


@given(st.text())
def test_neutral_text_is_bounded_and_stays_as_it_is(text: str) -> None:
    once = neutral(text)
    assert len(once) <= MAX_TEXT
    assert neutral(once) == once
    assert "".join(once.splitlines()) == once


@pytest.mark.parametrize("unseen", "\u034f\u115f\u1160\u17b4\u2800\u3164\uffa0\u200b\u2060\u00ad")
def test_a_letter_that_shows_nothing_is_spelt_out(unseen: str) -> None:
    assert neutral(f"admin{unseen}") == f"admin<U+{ord(unseen):04X}>"


def test_japanese_passes_untouched() -> None:
    assert neutral("らくらくスマートフォン(青)") == "らくらくスマートフォン(青)"


def test_records_of_one_organisation_name_no_other(tmp_path: Path) -> None:
    entries = Entries(tmp_path)
    texts = []
    for organisation in ("acme-kk", "beta-gk"):
        envelope = entries.writers.envelope(
            "DeviceLost", f"0192f0c1-0000-7000-8000-{organisation[:4].encode().hex():0>12}"
        )
        row = entries.row(entries.writers.sign("DeviceLost", replace(envelope, organisation=organisation)))
        record = ocsf_of_entry(row, entries.version)
        assert record is not None
        texts.append((record.value or b"").decode())
    assert "beta-gk" not in texts[0]
    assert "acme-kk" not in texts[1]
