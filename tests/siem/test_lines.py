"""CEF and LEEF: whatever an event says, one line goes out, and it reads back as what was said."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.feeds.cef import CefEvent, cef_of
from services.audit.feeds.leef import LeefEvent, leef_of
from services.audit.feeds.ocsf_text import neutral
from shared.events import event_types
from tests.siem.entries import Entries

INCIDENT = "0192f0c1-0000-7000-8000-00000000aaaa"
_NASTY = [
    "|",
    "\\",
    "=",
    "\r",
    "\n",
    "\0",
    "\t",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "\x1b",
    "\x85",
    " a=b",
    "\\=",
    "\\|",
]
_ANY = st.text(max_size=40) | st.lists(st.sampled_from(_NASTY) | st.text(max_size=3), max_size=12).map("".join)
_NEUTRAL = _ANY.map(neutral)
_KEYS = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True)
_LINE_ENDS = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_UNESCAPED_PIPE = re.compile(r"(?<!\\)(?:\\\\)*\|")


def _cef(header: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[CefEvent]:
    extension = st.dictionaries(_KEYS, values, max_size=6)
    return st.builds(CefEvent, header, header, header, header, header, st.integers(0, 10), extension)


def _leef(header: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[LeefEvent]:
    return st.builds(LeefEvent, header, header, header, header, st.dictionaries(_KEYS, values, max_size=6))


@given(_cef(_ANY, _ANY))
def test_cef_is_one_line_with_seven_pipes(event: CefEvent) -> None:
    line = event.write()
    assert len(line.splitlines()) == 1
    assert not _LINE_ENDS.search(line)
    header = line[: len(line) - len(_extension_of(line))]
    assert len(_UNESCAPED_PIPE.findall(header)) == 7


def _extension_of(line: str) -> str:
    at = 0
    for _ in range(7):
        found = _UNESCAPED_PIPE.search(line, at)
        assert found is not None
        at = found.end()
    return line[at:]


@given(_cef(_NEUTRAL, _NEUTRAL | st.text(alphabet="a \r\n\\=|", max_size=20)))
def test_cef_reads_back_as_what_was_said(event: CefEvent) -> None:
    assert CefEvent.parse(event.write()) == event


@given(_cef(_ANY, _ANY))
def test_what_cef_spells_out_is_stable(event: CefEvent) -> None:
    line = event.write()
    assert CefEvent.parse(line).write() == line


@given(_leef(_ANY, _ANY))
def test_leef_is_one_line(event: LeefEvent) -> None:
    line = event.write()
    assert len(line.splitlines()) == 1
    assert not _LINE_ENDS.search(line)
    assert set(LeefEvent.parse(line).attributes) == set(event.attributes)


@given(_leef(_NEUTRAL.map(lambda text: text.replace("|", "")), _NEUTRAL))
def test_leef_reads_back_as_what_was_said(event: LeefEvent) -> None:
    assert LeefEvent.parse(event.write()) == event


@pytest.mark.parametrize("key", ["", "a b", "a=b", "a|b", "a\nb", "鍵"])
def test_a_key_that_is_no_word_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        CefEvent("v", "p", "1", "s", "n", 1, {key: "x"}).write()
    with pytest.raises(ValueError, match="key"):
        LeefEvent("v", "p", "1", "s", {key: "x"}).write()


@pytest.mark.parametrize("line", ["", "CEF:0|a|b", "CEF:9|a|b|c|d|e|1|", "LEEF:1.0|a|b|c|d|", "LEEF:2.0|a|b|c|d|^|"])
def test_what_is_no_line_of_ours_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="line"):
        (CefEvent if line.startswith("CEF") or not line else LeefEvent).parse(line)


@pytest.mark.parametrize(
    "entry", [entry for entry in event_types() if entry.writer != "audit"], ids=lambda entry: entry.name
)
def test_every_event_has_its_lines(entry: object, tmp_path: Path) -> None:
    entries = Entries(tmp_path)
    event = entries.ocsf(entries.writers.record(entry.name, INCIDENT))  # type: ignore[attr-defined]
    cef, leef = cef_of(event), leef_of(event)
    assert CefEvent.parse(cef.write()) == cef
    assert LeefEvent.parse(leef.write()) == leef
    assert cef.extension["externalId"] == leef.attributes["eventUid"] == event["metadata"]["uid"]
    assert cef.extension["cs1"] == leef.attributes["incident"] == INCIDENT
    assert cef.severity == event["severity_id"] * 2


def test_a_line_as_an_arcsight_administrator_expects_it(tmp_path: Path) -> None:
    entries = Entries(tmp_path)
    line = cef_of(entries.ocsf(entries.writers.record("DeviceLocked", INCIDENT))).write()
    assert line.startswith(
        "CEF:0|Lostphone|Lostphone|1.8.0|DeviceLocked|Remediation Activity: Isolate|6|rt=1795531201000 "
        "externalId=0192f0c1-0000-7000-8000-000000000001 cat=Remediation Activity act=Isolate outcome=Success "
    )
    assert line.endswith("msg=The phone acknowledged the lock")
