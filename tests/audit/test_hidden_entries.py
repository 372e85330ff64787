"""Whoever holds every key of the log, and none of the services', hides one event of one incident: each way to do so is
seen by those who verify with the services' public keys."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lostphone.verify import DirectorySource, Report, app, run
from services.audit.domain.leaf import Kind, Leaf, LeafBuilder, Link
from services.audit.evidence import verify
from services.audit.tlog import Checkpoint, SignedNote, TilePath, pack_bundle
from shared.events import Received
from tests.audit.conftest import BLINDING, LOG_KEYS, ORIGIN
from tests.audit.forger import INCIDENT, KEYS, OTHER, POLICY, Forger
from tests.audit.naive import naive_root, naive_tile
from tests.audit.records import Writers, at

_HIDDEN = 2
_BUILDER = LeafBuilder(BLINDING)

type Way = Callable[[Received, Link], Leaf | None]
"""What stands in the place of the event; None: nothing, and all behind it moves up."""


def _log(writers: Writers, way: Way | None) -> list[Leaf]:
    """An incident of five events, of which one is hidden in this way."""
    leaves: list[Leaf] = []
    link = Link(INCIDENT)
    for number, record in enumerate([writers.record("DeviceLocked", INCIDENT) for _ in range(5)]):
        placed = at(record, 0, len(leaves))
        if way is not None and number == _HIDDEN:
            if (instead := way(placed, link)) is not None:
                leaves.append(instead)
            continue
        leaves.append(_BUILDER.record(Kind.EVENT, placed, link=link))
        link = link.after(leaves[-1].hash)
    return leaves


def _save(folder: Path, leaves: list[Leaf]) -> Path:
    data, width = [leaf.data for leaf in leaves], len(leaves)
    checkpoint = Checkpoint(ORIGIN, width, naive_root(data))
    written = {
        "checkpoint": bytes(SignedNote(checkpoint.text(), (LOG_KEYS[0].sign(checkpoint, 1),))),
        str(TilePath(0, 0, width)): naive_tile([leaf.hash for leaf in leaves], 0, 0, width),
        str(TilePath(None, 0, width)): pack_bundle(data),
    }
    for name, content in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _report(folder: Path, way: Way | None) -> Report:
    writers = Writers(folder)
    return run(DirectorySource(_save(folder / "log", _log(writers, way))), KEYS, keyring=writers.keyring())


def _rejected(kind: Kind, reason: str) -> Way:
    return lambda record, _: _BUILDER.record(kind, record, reason=reason)


def _gap(record: Received, _: Link) -> Leaf:
    return _BUILDER.gap(record.topic, record.partition, record.offset, record.offset + 1, "not_given")


def _hole(seq: int) -> dict[str, Any]:
    """What is found at the event behind the hidden one."""
    return {"finding": "sequence_gap", "seq": seq, "source": "/lostphone/mdm_actions", "of": INCIDENT, "due": 3}


def _outside(reason: str) -> dict[str, Any]:
    return {"finding": "outside_though_it_verifies", "seq": _HIDDEN, "reason": reason, "of": INCIDENT}


def test_a_log_that_hides_nothing_is_proved_without_a_finding(tmp_path: Path) -> None:
    report = _report(tmp_path, None)
    assert (report.outcome, report.findings) == ("proved", [])


@pytest.mark.parametrize(
    "way",
    [
        _rejected(Kind.UNVERIFIED, "signature_invalid"),
        lambda record, _: _BUILDER.record(Kind.DUPLICATE, record),
        lambda record, _: _BUILDER.record(Kind.EVENT, record, link=Link(OTHER)),
    ],
    ids=["as wrongly signed", "as a duplicate of none", "in another chain"],
)
def test_an_event_whose_entry_lies_about_it_is_named(tmp_path: Path, way: Way) -> None:
    report = _report(tmp_path, way)
    assert report.outcome == "disproved"
    assert [(offence.check, offence.seq) for offence in report.offences] == [("events", _HIDDEN)]
    assert _hole(_HIDDEN + 1) in report.findings


@pytest.mark.parametrize(
    ("way", "findings"),
    [
        (_rejected(Kind.UNVERIFIED, "key_unknown"), [_outside("key_unknown"), _hole(_HIDDEN + 1)]),
        (_rejected(Kind.UNPARSED, "not_json"), [_outside("not_json"), _hole(_HIDDEN + 1)]),
        (_gap, [_hole(_HIDDEN + 1)]),
        (lambda _record, _link: None, [_hole(_HIDDEN)]),
    ],
    ids=["as signed by nobody of ours", "as no event", "as not given by Kafka", "left out"],
)
def test_what_may_have_been_so_is_a_finding(tmp_path: Path, way: Way, findings: list[dict[str, Any]]) -> None:
    report = _report(tmp_path, way)
    assert (report.outcome, report.findings) == ("proved", findings)


def test_what_was_sent_twice_and_what_nobody_signed_is_no_finding(tmp_path: Path) -> None:
    writers = Writers(tmp_path)
    leaves = _log(writers, None)
    again = Writers(tmp_path).record("DeviceLocked", INCIDENT)
    forged = writers.record("DeviceLocked", INCIDENT)
    leaves += [
        _BUILDER.record(Kind.DUPLICATE, at(again, 0, 5)),
        _BUILDER.record(Kind.UNVERIFIED, at(Received(*_parts(forged), b"{}"), 0, 6), reason="signature_invalid"),
    ]
    report = run(DirectorySource(_save(tmp_path / "log", leaves)), KEYS, keyring=writers.keyring())
    assert (report.outcome, report.findings) == ("proved", []), report.document()


def _parts(record: Received) -> tuple[Any, ...]:
    return (record.topic, record.partition, record.offset, record.timestamp_ms, record.key, record.headers)


def test_an_event_in_a_bundle_that_no_service_signed_is_found_with_their_keys(tmp_path: Path) -> None:
    forger = Forger(tmp_path)
    (tmp_path / "policy").write_text(POLICY)
    keys = ["--event-keys", str(tmp_path / "event-keys.json")]

    def outcomes(*options: str) -> list[Any]:
        (tmp_path / "evidence.zip").write_bytes(verify.pack(forger.manifest(forger.files())))
        given = [str(tmp_path / "evidence.zip"), "--policy", str(tmp_path / "policy"), *options]
        said = CliRunner().invoke(app, [*given, "--json"], standalone_mode=False)
        assert CliRunner().invoke(app, given, standalone_mode=False).return_value == said.return_value
        document = json.loads(said.stdout)
        return [
            said.return_value,
            document["first_offence"] and (document["checks"][-1]["name"], document["first_offence"]["seq"]),
        ]

    assert outcomes(*keys) == [0, None]
    forger.rests[2] = forger.rests[2].replace(b'"ce_actor","', b'"ce_actor","x')
    forger.settle()
    assert outcomes() == [0, None], "it holds the keys of the log"
    assert outcomes(*keys) == [1, ("events", 2)]
    # What explains it stands before it in the order of the checks.
    forger.headers[6]["prev"] = "00" * 32
    assert outcomes(*keys) == [1, ("events", 6)]
    forger.files = lambda: {"entries/2.leaf": b"no leaf"}  # type: ignore[method-assign]
    assert outcomes(*keys)[0] == 1


def test_the_command_tells_what_it_found(tmp_path: Path) -> None:
    writers = Writers(tmp_path)
    place = _save(tmp_path / "log", _log(writers, _gap))
    options = [str(place), "--vkey", str(KEYS[0]), "--event-keys", str(writers.keys_file)]
    options += ["--data-dir", str(tmp_path / "none")]
    said = CliRunner().invoke(app, options, standalone_mode=False)
    assert said.return_value == 0
    (line,) = [line for line in said.stdout.splitlines() if line.startswith("!")]
    assert "/lostphone/mdm_actions" in line
    said = CliRunner().invoke(app, [*options, "--json"], standalone_mode=False)
    assert json.loads(said.stdout)["findings"] == [_hole(_HIDDEN + 1)]
