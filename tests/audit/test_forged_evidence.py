"""Whoever holds the log's own key, and makes all the rest fit, is caught in each single lie by the check that is there
for it: without that check the lie would be proved."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lostphone.verify import DirectorySource, run
from services.audit.evidence import verify
from services.audit.tlog import SignedNote, VerifierKey
from services.audit.tlog.note import Signature
from tests.audit import forger as made
from tests.audit.conftest import LOG_KEYS, ORIGIN
from tests.audit.forger import EXPORT, INCIDENT, INDEX, KEY, KEYS, OLDER, POLICY, STRANGER, Forger, Lie
from tests.audit.naive import naive_root

type Change = Callable[[Forger, dict[str, bytes]], object]


def _set(seq: int, **facts: Any) -> Lie:
    return lambda forger: forger.headers[seq].update(facts)


def _rest(seq: int, data: bytes) -> Lie:
    return lambda forger: forger.rests.__setitem__(seq, data)


def _both(*lies: Lie) -> Lie:
    return lambda forger: [lie(forger) for lie in lies]


def _show(*seqs: int) -> Lie:
    return lambda forger: forger.shown.extend(seqs)


def _hide(*seqs: int) -> Lie:
    return lambda forger: [forger.shown.remove(seq) for seq in seqs]


def _field(**facts: Any) -> Lie:
    """Of the field that is shown."""
    return lambda forger: forger.fields[0][0].update(facts)


def _erased(**facts: Any) -> Lie:
    return lambda forger: forger.fields[0][1].update(facts)


def _erased_before_it_was_said(forger: Forger) -> None:
    forger.rests[6], forger.fields = forger.rests[0], {6: forger.fields[0]}


def _bundle(folder: Path, before: Lie | None = None, after: Lie | None = None, change: Change | None = None,
            options: dict[str, Any] | None = None, **manifest: Any) -> verify.Report:  # fmt: skip
    """The report on a bundle with a lie that the rest is made to fit, with one that it is not, with changed files, or
    with a manifest that says something else."""
    forger = Forger(folder)
    if before is not None:
        before(forger)
        forger.settle()
    if after is not None:
        after(forger)
    files = forger.files()
    if change is not None:
        change(forger, files)
    given = {"policy": verify.Policy(POLICY), **(options or {})}
    return verify.Bundle(forger.manifest(files, **manifest), verify.Options(**given)).check()


def _outcomes(report: verify.Report) -> dict[str, str]:
    return {str(check["name"]): str(check["outcome"]) for check in report.checks}


def test_what_is_no_lie_is_proved(tmp_path: Path) -> None:
    report = _bundle(tmp_path)
    assert {name for name, outcome in _outcomes(report).items() if outcome != "proved"} == {"timestamps"}
    assert report.outcome == "proved"
    assert [finding["finding"] for finding in report.findings] == []


_WRONG = b"x" * 32
_AFTER: list[tuple[str, int | None, Lie]] = [
    ("chain", 2, _set(2, prev="00" * 32)),
    ("chain", 2, _set(2, n=2)),
    ("chain", 1, _show(1)),
    ("chain", 6, _hide(2)),
    ("index", None, _set(INDEX, size=3)),
    ("index", None, _set(INDEX, root="00" * 32)),
    ("index", None, _hide(INDEX)),
    ("export", None, _hide(EXPORT)),
    ("export", None, _set(EXPORT, k="hold", organisation="acme-kk")),
    *(
        ("export", None, _set(EXPORT, **{name: value}))
        for name, value in {
            "incident": made.OTHER, "organisation": "beta-kk", "entries": 3, "head": "00" * 32, "index": 9
        }.items()
    ),
    ("disclosures", None, _set(EXPORT, disclosed=[])),
    ("partitions", 6, _set(6, o=1)),
    ("partitions", 4, _set(3, end=9)),
    ("erasures", 5, _set(5, organisation="beta-kk")),
    ("erasures", 5, _set(5, person="person-of-another-case")),
    ("erasures", 5, _set(5, fields=99)),
    ("erasures", 5, _set(5, event="0192f0c1-0000-7000-8000-ffffffffffff")),
    ("erasures", 5, _erased_before_it_was_said),
    ("keys", KEY, _set(KEY, signature=made.signed_keys(["other"]))),
    ("keys", KEY, _set(KEY, signature=made.signed_keys([str(STRANGER.verifier)], STRANGER))),
    ("disclosures", 0, _field(digest="A" * 43)),
    ("disclosures", 0, _field(disclosure=made.ERASED.text)),
    ("disclosures", 0, _erased(digest="A" * 43)),
    ("erasures", None, _erased(erased_by=[KEY])),
    ("erasures", None, _erased(erased_by=[99])),
]  # fmt: skip


@pytest.mark.parametrize(("check", "seq", "lie"), _AFTER)
def test_a_lie_inside_the_log_is_caught(tmp_path: Path, check: str, seq: int | None, lie: Lie) -> None:
    report = _bundle(tmp_path, after=lie)
    _is_caught(report, check, seq)


_BEFORE: list[tuple[str, int | None, Lie]] = [
    ("seal", 6, _both(_set(7, k="gap"), lambda forger: forger.headers[7].pop("i"), _hide(7))),
    ("seal", 7, lambda forger: forger.rests.__setitem__(6, forger.rests[2])),
    ("seal", 6, _both(_set(8, i=INCIDENT), _set(7, k="hold", organisation="acme-kk"), _show(8))),
]


def test_an_index_of_before_is_not_taken_for_the_one_that_was_made_for_a_bundle(tmp_path: Path) -> None:
    """It would prove the incident complete as it was then."""

    def later(forger: Forger) -> None:
        forger.headers.append(dict(forger.headers[EXPORT]))
        forger.rests.append(forger.rests[EXPORT])
        forger.settle()
        forger.headers[-1]["index"] = INDEX
        forger.shown.append(EXPORT + 1)

    _is_caught(_bundle(tmp_path, before=later, after=_set(EXPORT + 1, index=INDEX), export=EXPORT + 1), "export", None)


def _hide_the_end(forger: Forger) -> None:
    """Closing and seal, from the bundle and from the index alike."""
    head = verify.leaf_hash(forger.leaves()[2]).hex()
    at = next(at for at, line in enumerate(forger.rows) if json.loads(line)["i"] == INCIDENT)
    forger.rows[at] = verify.index_line(INCIDENT, 2, head, 2)
    forger.headers[INDEX]["root"] = naive_root(forger.rows).hex()
    forger.headers[EXPORT] |= {"entries": 2, "head": head}
    for seq in (6, 7):
        forger.shown.remove(seq)


def _saved(folder: Path, forger: Forger) -> Path:
    """The bundle as a folder."""
    for name, data in forger.manifest(forger.files()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_an_index_that_hides_the_end_is_the_logs_word_in_a_bundle_and_disproved_by_the_log(tmp_path: Path) -> None:
    report = _bundle(tmp_path, after=_hide_the_end)
    assert report.outcome == "proved"
    (said,) = [check["detail"] for check in report.checks if check["name"] == "index"]
    assert verify.INDEX_SAYS in str(said)
    honest, forger = Forger(tmp_path), Forger(tmp_path)
    _hide_the_end(forger)
    bundles = [str(_saved(tmp_path / name, made_by)) for name, made_by in (("honest", honest), ("false", forger))]
    (offence,) = verify.check_diff(*bundles, verify.Options(None)).offences
    assert (offence["check"], offence["seq"]) == ("diff", 6), "a second bundle has what is missing"
    place, note = forger.save(tmp_path / "log"), forger.note()
    alone = verify.check_log(str(place), verify.Options(verify.Policy(POLICY), earlier=[note]))
    ours = run(DirectorySource(place), KEYS, earlier=[note])
    assert [(one["check"], one["seq"]) for one in alone.offences] == [("index", INDEX)]
    assert [(one.check, one.seq) for one in ours.offences] == [("index", INDEX)]


@pytest.mark.parametrize(("check", "seq", "lie"), _BEFORE)
def test_a_lie_that_chain_and_index_were_made_to_fit_is_caught(
    tmp_path: Path, check: str, seq: int | None, lie: Lie
) -> None:
    report = _bundle(tmp_path, before=lie)
    _is_caught(report, check, seq)


def _put(name: str, data: Callable[[Forger], bytes]) -> Change:
    return lambda forger, files: files.update({name: data(forger)})


def _drop(*names: str) -> Change:
    return lambda _, files: [files.pop(name) for name in names]


def _replace(name: str, old: bytes, new: bytes) -> Change:
    def change(_: Forger, files: dict[str, bytes]) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return change


def _note_of(size: int, **more: Any) -> Callable[[Forger], bytes]:
    return lambda forger: forger.note(size, **more)


def _resigned(note: bytes, *, wrong: bool = False, cosigned: bool = True) -> bytes:
    """A note without some of its signatures, or with one that is wrong."""
    parsed = SignedNote.parse(note)
    signatures = list(parsed.signatures if cosigned else parsed.signatures[:1])
    if wrong:
        last = signatures[-1]
        signatures[-1] = Signature(last.name, last.keyid, last.value[:-1] + bytes([last.value[-1] ^ 1]))
    return bytes(SignedNote(parsed.text, tuple(signatures)))


def _all_proofs(note: Callable[[bytes], bytes]) -> Change:
    """Another checkpoint, in every proof as well."""

    def change(_: Forger, files: dict[str, bytes]) -> None:
        old = files["checkpoint"]
        for name, data in files.items():
            files[name] = data.replace(old, note(old))

    return change


def _row(**facts: Any) -> Change:
    def change(_: Forger, files: dict[str, bytes]) -> None:
        document = json.loads(files["index/rows.json"])
        document["rows"][0] |= facts
        files["index/rows.json"] = verify.canonical(document)

    return change


def _gaps(turn: Callable[[list[dict[str, Any]]], object]) -> Change:
    def change(_: Forger, files: dict[str, bytes]) -> None:
        document = json.loads(files["gaps.json"])
        turn(document["partitions"])
        files["gaps.json"] = verify.canonical(document)

    return change


_FILES: list[tuple[str, int | None, Change]] = [
    ("signature", None, _all_proofs(lambda note: note.replace(ORIGIN.encode(), b"log.example/other"))),
    ("signature", None, _all_proofs(lambda note: _resigned(note, cosigned=False, wrong=True))),
    ("quorum", None, _all_proofs(lambda note: _resigned(note, cosigned=False))),
    ("quorum", None, _all_proofs(lambda note: _resigned(note, wrong=True))),
    ("leaves", 2, _put("entries/2.leaf", lambda _: b"no leaf")),
    ("leaves", 2, _put("entries/2.leaf", lambda _: b"[]\n")),
    ("leaves", 2, _put("entries/2.detached", lambda _: b"more than it names")),
    ("leaves", 2, _put("entries/2.leaf", lambda _: b'{"k":"detached","of":"event","sha256":"00","size":1}\n')),
    ("inclusion", 2, _drop("proofs/2.tlog-proof")),
    ("inclusion", 2, lambda _, files: files.update({"proofs/2.tlog-proof": files["proofs/0.tlog-proof"]})),
    ("inclusion", 2, _replace("proofs/2.tlog-proof", b"index 2\n", b"index 3\n")),
    ("inclusion", 2, _replace("proofs/2.tlog-proof", b"c2sp", b"C2SP")),
    ("inclusion", 2, lambda forger, files: files.update({"proofs/2.tlog-proof": files["proofs/2.tlog-proof"].replace(
        files["checkpoint"], forger.note(OLDER))})),
    ("inclusion", 2, lambda _, files: files.update({"entries/2.leaf": files["entries/2.leaf"] + b" "})),
    ("index", None, _row(at=1)),
    ("index", None, _row(proof=[])),
    ("index", None, lambda _, files: files.update({"index/rows.json": verify.canonical({"rows": []})})),
    ("index", None, _drop("entries/7.leaf", "proofs/7.tlog-proof")),
    ("consistency", None, _put(f"previous/{OLDER}", _note_of(OLDER, root=_WRONG))),
    ("consistency", None, _put(f"previous/{OLDER}", _note_of(OLDER, key=STRANGER))),
    ("consistency", None, _put(f"previous/{OLDER}", _note_of(5))),
    ("consistency", None, _put("previous/5", _note_of(OLDER))),
    ("consistency", None, _put("previous/13", _note_of(13, root=_WRONG))),
    ("consistency", None, _put("previous/99", _note_of(99))),
    ("consistency", None, _put(f"consistency/{OLDER}-13", lambda _: b"")),
    ("partitions", None, _drop("gaps.json")),
    ("partitions", None, _put("gaps.json", lambda _: b"no JSON")),
    ("partitions", None, _gaps(lambda parts: parts[0].update(gaps=[]))),
    ("partitions", None, _gaps(lambda parts: parts[0].update(entries=[]))),
    ("partitions", None, _gaps(list.clear)),
    ("partitions", None, _gaps(lambda parts: parts.append({**parts[0], "partition": 1}))),
    ("disclosures", None, lambda _, files: files.update({"disclosures/1.json": files["disclosures/0.json"]})),
    ("disclosures", None, _drop("disclosures/0.json")),
]  # fmt: skip


@pytest.mark.parametrize(("check", "seq", "change"), _FILES)
def test_a_lie_in_a_file_is_caught(tmp_path: Path, check: str, seq: int | None, change: Change) -> None:
    _is_caught(_bundle(tmp_path, change=change), check, seq)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("manifest", {"format": "lostphone.evidence/v2"}),
        ("signature", {"origin": "log.example/other"}),
        ("signature", {"size": 14}),
        ("index", {"as_of": INDEX + 1}),
        ("index", {"index": {"seq": EXPORT}}),
        ("index", {"incident": made.OTHER}),
        ("export", {"entries": 3}),
        ("export", {"head": None}),
        ("export", {"organisation": "beta-kk"}),
        ("export", {"export": INDEX}),
    ],
)
def test_a_lie_in_the_manifest_is_caught(tmp_path: Path, check: str, said: dict[str, Any]) -> None:
    _is_caught(_bundle(tmp_path, **said), check, None)


def test_a_manifest_that_another_signed_or_that_is_about_another_is_caught(tmp_path: Path) -> None:
    forger = Forger(tmp_path)
    files = forger.manifest(forger.files())
    note = SignedNote.parse(files["MANIFEST.note"])
    twice = bytes(SignedNote(note.text, note.signatures * 2))
    stranger = bytes(SignedNote(note.text, (made.signed_text(STRANGER, note.text),)))
    other = bytes(SignedNote("x\n", (made.signed_text(LOG_KEYS[0], "x\n"),)))
    for lie in (twice, stranger, other):
        report = verify.Bundle({**files, "MANIFEST.note": lie}, verify.Options(verify.Policy(POLICY))).check()
        _is_caught(report, "signature", None)
    loose = files["MANIFEST.json"].replace(b":", b": ", 1)
    report = verify.Bundle({**files, "MANIFEST.json": loose}, verify.Options(verify.Policy(POLICY))).check()
    _is_caught(report, "manifest", None)


def test_checkpoints_that_the_reader_kept_judge_the_log(tmp_path: Path) -> None:
    kept = Forger(tmp_path).note(5, root=_WRONG)
    undecided = _bundle(tmp_path, options={"earlier": [kept]})
    assert _outcomes(undecided)["consistency"] == "not_decidable"
    _is_caught(_bundle(tmp_path, options={"earlier": [kept], "proofs": {5: b""}}), "consistency", None)
    _is_caught(_bundle(tmp_path, options={"earlier": [Forger(tmp_path).note(13, root=_WRONG)]}), "consistency", None)


def test_what_is_odd_and_no_lie_is_a_finding(tmp_path: Path) -> None:
    def found(report: verify.Report) -> list[str]:
        assert report.outcome == "proved", report.document()
        return [str(finding["finding"]) for finding in report.findings]

    def cause(forger: Forger, old: bytes, new: bytes) -> None:
        assert old in forger.rests[2]
        forger.rests[2] = forger.rests[2].replace(old, new)

    later = json.loads(Forger(tmp_path).rests[6].split(b"\n")[1])["h"]
    closing = dict(later)["ce_id"].encode()
    stranger = b"0192f0c1-0000-7000-8000-ffffffffffff"
    lost = Forger(tmp_path).lost.encode()
    assert found(_bundle(tmp_path, before=lambda forger: cause(forger, lost, closing))) == ["cause_later"]
    assert found(_bundle(tmp_path, before=lambda forger: cause(forger, lost, stranger))) == ["cause_not_in_incident"]
    third, second = b'"ce_sequence","0000000003"', b'"ce_sequence","0000000002"'
    hidden = _bundle(tmp_path, before=lambda forger: cause(forger, b'"ce_sequence","0000000001"', third))
    assert hidden.findings == [{"finding": "sequence_gap", "seq": 2, "source": "/lostphone/mdm_actions", "due": 1}]

    def again(forger: Forger) -> None:
        forger.rests[6] = forger.rests[6].replace(second, second[:-2] + b'1"')

    assert found(_bundle(tmp_path, before=again)) == ["sequence_step_back"]
    assert found(_bundle(tmp_path, after=_erased(erased_by=[]))) == ["not_shown_without_erasure"]
    assert found(_bundle(tmp_path, after=_hide(4))) == ["erasure_without_its_event"]
    other = VerifierKey(ORIGIN, 1, STRANGER.verifier.public[::-1])
    keys = [str(other)]
    changed = _set(KEY, keys=keys, signed=str(STRANGER.verifier), signature=made.signed_keys(keys, STRANGER))
    assert found(_bundle(tmp_path, after=changed)) == ["keys_changed_outside_the_policy"]


_LOG: list[tuple[str, int | None, Lie]] = [
    ("chains", 2, _set(2, n=2)),
    ("chains", 2, _set(2, prev="00" * 32)),
    ("chains", 4, _set(4, i=INCIDENT, n=2, prev=None)),
    ("chains", 4, _set(4, k="rumour")),
    ("chains", 5, lambda forger: forger.headers[5].pop("k")),
    ("chains", 8, lambda forger: forger.headers[8].pop("prev")),
    ("seals", 6, _set(7, k="erasure", organisation="acme-kk")),
    ("seals", 6, _both(_set(7, k="erasure", organisation="acme-kk"), _set(8, i=INCIDENT))),
    ("seals", 7, lambda forger: forger.rests.__setitem__(6, forger.rests[2])),
    ("partitions", 4, _set(4, o=6)),
    ("partitions", 3, _set(3, end=3)),
    ("erasures", 5, _set(5, event="0192f0c1-0000-7000-8000-ffffffffffff")),
    ("erasures", 5, _set(5, person="person-of-another-case")),
    ("erasures", 5, _set(5, k="hold")),
    ("keys", KEY, _set(KEY, signature=made.signed_keys(["other"]))),
    ("keys", KEY, _set(KEY, signature=made.signed_keys([str(STRANGER.verifier)], STRANGER))),
    ("chains", KEY, _set(KEY, signature="?")),
    ("chains", KEY, _set(KEY, keys=["other"])),
    ("erasures", 5, lambda forger: forger.rests.__setitem__(4, forger.rests[2])),
    ("erasures", 4, lambda forger: forger.headers.insert(4, forger.headers[5]) or forger.rests.insert(4, b"\n")),
    ("index", INDEX, _set(INDEX, size=3)),
    ("index", INDEX, _set(INDEX, rows=4)),
    ("index", INDEX, _set(INDEX, root="00" * 32)),
]


def test_what_nests_without_end_is_no_crash(tmp_path: Path) -> None:
    deep = b'\n{"a":' + b"[" * 25_000 + b"]" * 25_000 + b"}"

    def nest(forger: Forger) -> None:
        forger.rests[2] = forger.rests[2].partition(b"}\n")[0] + b"}" + deep

    assert _bundle(tmp_path, before=nest).outcome == "proved"
    forger = Forger(tmp_path)
    nest(forger)
    forger.headers[2]["m"] = "application/cloudevents+json"
    forger.settle()
    assert _alone(forger.save(tmp_path / "log")) == []


_LINE = Signature(ORIGIN, LOG_KEYS[0].verifier.keyid, b"s" * 64).line()
_ROOT = base64.b64encode(b"r" * 32).decode()


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((verify.Note, text) for text in (
            f"a\x07\n\n{_LINE}", f"a\n{_LINE}", f"a\n\n{_LINE[:-1]}", f"a\n\n{_LINE.replace('—', '-')}",
            f"a\n\n— {ORIGIN} AAAA\n", "a\n\n\n", f"a\n\n{_LINE}" + "x" * 1_000_000,
        )),
        *((lambda data: verify.Checkpoint(data.decode()), text) for text in (
            f"o\n1\n{_ROOT}", f"o\n1\n\n{_ROOT}\n", f"\n1\n{_ROOT}\n", f"o\n01\n{_ROOT}\n", f"o\n-1\n{_ROOT}\n",
            "o\n1\nAAAA\n", f"o\n1\n{_ROOT[:-2]}q=\n", "o\n1\n",
        )),
        *((lambda data: verify.Key.parse(data.decode()), text) for text in (
            "", "name", "name+00000000+AQ==", str(KEYS[0]).replace("+", "+f", 1), str(KEYS[0])[:-4],
            f"+{str(KEYS[0]).partition('+')[2]}",
        )),
        *((verify.read_proof, text) for text in (
            "", f"c2sp.org/tlog-proof@v1\nindex 01\n\na\n\n{_LINE}", f"c2sp.org/tlog-proof@v1\n\na\n\n{_LINE}",
            f"c2sp.org/tlog-proof@v1\nindex 1\n?\n\na\n\n{_LINE}",
        )),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused(read: Callable[[bytes], object], text: str) -> None:
    with pytest.raises(verify.BadError):
        read(text.encode())


def test_a_policy_of_the_readers_that_is_none_says_nothing_about_the_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forger = Forger(tmp_path)
    (tmp_path / "evidence.zip").write_bytes(verify.pack(forger.manifest(forger.files())))
    (tmp_path / "policy").write_text("quorum none\n")
    assert verify.main(["bundle", str(tmp_path / "evidence.zip"), "--policy", str(tmp_path / "policy")]) == 2
    (tmp_path / "policy").write_text(POLICY)
    assert verify.main(["bundle", str(tmp_path / "evidence.zip"), "--policy", str(tmp_path / "policy")]) == 0
    assert verify.main(["bundle", str(tmp_path / "evidence.zip"), "--vkey", str(STRANGER.verifier)]) == 1
    assert '"outcome": "disproved"' in capsys.readouterr().out


def _alone(place: Path) -> list[tuple[str, int | None]]:
    report = verify.check_log(str(place), verify.Options(verify.policy_of([str(KEYS[0])])))
    return [(str(offence["check"]), offence["seq"]) for offence in report.offences]


def _command(place: Path) -> list[tuple[str, int | None]]:
    return [(offence.check, offence.seq) for offence in run(DirectorySource(place), KEYS).offences]


_BOTH_VERIFIERS = pytest.mark.parametrize("verifier", [_alone, _command])


@_BOTH_VERIFIERS
@pytest.mark.parametrize(("check", "seq", "lie"), _LOG)
def test_a_lie_in_a_whole_log_is_caught(
    tmp_path: Path, verifier: Callable[[Path], list[Any]], check: str, seq: int | None, lie: Lie
) -> None:
    forger = Forger(tmp_path)
    assert verifier(forger.save(tmp_path / "log")) == []
    lie(forger)
    assert (check, seq) in verifier(forger.save(tmp_path / "log"))


@_BOTH_VERIFIERS
def test_a_log_does_not_choose_which_file_is_read(tmp_path: Path, verifier: Callable[[Path], list[Any]]) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    forger = Forger(tmp_path)
    forger.headers[2] |= {"k": "detached", "of": "event", "sha256": "../../secret", "size": 1}
    found = verifier(forger.save(tmp_path / "log"))
    assert ("detached", 2) in found
    with pytest.raises(FileNotFoundError):
        (tmp_path / "log" / "detached").stat()


@_BOTH_VERIFIERS
@pytest.mark.parametrize("index", [2, 12])
def test_tiles_and_bundles_that_do_not_fit_are_caught(
    tmp_path: Path, verifier: Callable[[Path], list[Any]], index: int
) -> None:
    place = Forger(tmp_path).save(tmp_path / "log")
    (tile,) = (place / "tile/0").glob("*.p/*")
    data = bytearray(tile.read_bytes())
    data[index * 32] ^= 1
    tile.write_bytes(data)
    assert ("leaves", index) in verifier(place)
    tile.write_bytes(bytes(data)[:-1])
    assert any(check == "leaves" for check, _ in verifier(place))


def _is_caught(report: verify.Report, check: str, seq: int | None) -> None:
    assert report.outcome == "disproved", report.document()
    offences = [offence for offence in report.offences if offence["check"] == check]
    assert offences, report.document()
    assert offences[0]["seq"] == seq, report.document()
