"""Two verifiers, which share no code for what they judge, say the same of a log, and name the same entry."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from lostphone.verify import DirectorySource, run
from services.audit.domain.leaf import Kind, LeafBuilder
from services.audit.domain.own import restore_facts
from services.audit.evidence import verify
from services.audit.tlog import Checkpoint, LogKey, Policy, SignedNote, VerifierKey, WitnessKey
from services.audit.tlog.note import Signature
from tests.audit.conftest import BLINDING, LOG_KEYS, ORIGIN
from tests.audit.forger import INCIDENT, INDEX, KEY, OTHER, POLICY, WITNESS, Forger, signed_keys, signed_text
from tests.audit.naive import naive_root

_BEFORE = LogKey("log.example/before", Ed25519PrivateKey.from_private_bytes(b"b" * 32))
_TWO_LOGS = f"log {_BEFORE.verifier}\nlog {LOG_KEYS[0].verifier}\nquorum none\n"
_PROVED, _DISPROVED = ("proved", None, None), ("disproved", None)
_LATEST = 2**63 - 1

type Said = tuple[str, str | None, int | None]
"""Outcome, and of the first offence the check and the entry."""


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger(tmp_path)


def _said(place: Path, policy: str = POLICY, earlier: Sequence[bytes] = ()) -> list[Said]:
    """What each of them says."""
    trusted = Policy.parse(policy)
    alone = verify.check_log(str(place), verify.Options(verify.Policy(policy), list(earlier))).document()
    command = run(DirectorySource(place), list(trusted.logs), policy=trusted, earlier=list(earlier)).document()
    return [_first(document) for document in (alone, command)]


def _first(document: dict[str, Any]) -> Said:
    first = document["first_offence"] or {}
    return str(document["outcome"]), first.get("check"), first.get("seq")


def _signed(forger: Forger, *signatures: Signature) -> bytes:
    leaves = forger.leaves()
    text = Checkpoint(ORIGIN, len(leaves), naive_root(leaves)).text()
    return bytes(SignedNote(text, signatures))


def _text(forger: Forger) -> str:
    return SignedNote.parse(forger.note()).text


def _save(forger: Forger, folder: Path, note: bytes) -> Path:
    place = forger.save(folder)
    (place / "checkpoint").write_bytes(note)
    return place


_ML_WITNESS = WitnessKey("witness.example/m", MLDSA44PrivateKey.from_seed_bytes(b"m" * 32))


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (0, _PROVED),
        (1, _PROVED),
        (_LATEST, _PROVED),
        (_LATEST + 1, ("disproved", "quorum", None)),
        (2**64 - 1, ("disproved", "quorum", None)),
    ],
    ids=["1970", "a second later", "the last", "one later", "the last that 64 bits state"],
)
@pytest.mark.parametrize("witness", [WITNESS, _ML_WITNESS], ids=["ed25519", "mldsa44"])
def test_a_cosignature_of_a_time_that_none_may_state_counts_for_neither(
    tmp_path: Path, forger: Forger, witness: WitnessKey, time: int, said: Said
) -> None:
    text = _text(forger)
    note = _signed(forger, signed_text(LOG_KEYS[0], text), witness.cosign(text, time))
    policy = f"log {LOG_KEYS[0].verifier}\nwitness w {witness.verifier}\nquorum w\n"
    assert _said(_save(forger, tmp_path / "log", note), policy) == [said, said]


def test_a_signature_of_the_log_itself_states_no_such_time_either(tmp_path: Path, forger: Forger) -> None:
    leaves = forger.leaves()
    late = LOG_KEYS[1].sign(Checkpoint(ORIGIN, len(leaves), naive_root(leaves)), _LATEST + 1)
    place = _save(forger, tmp_path / "log", _signed(forger, late))
    said = ("disproved", "signature", None)
    assert _said(place, f"log {LOG_KEYS[1].verifier}\nquorum none\n") == [said, said]


def test_another_log_of_the_policy_may_have_signed_too_and_does_not_sign_for_this_one(
    tmp_path: Path, forger: Forger
) -> None:
    text = _text(forger)
    own, other = signed_text(LOG_KEYS[0], text), signed_text(_BEFORE, text)
    wrong = Signature(other.name, other.keyid, other.value[:-1] + bytes([other.value[-1] ^ 1]))
    refused = ("disproved", "signature", None)
    for signatures, said in (((own, other), _PROVED), ((other,), refused), ((own, wrong), refused)):
        place = _save(forger, tmp_path / "log", _signed(forger, *signatures))
        assert _said(place, _TWO_LOGS) == [said, said]


@pytest.mark.parametrize(
    ("origin", "at", "said"),
    [
        (_BEFORE.origin, 0, _PROVED),
        (_BEFORE.origin, 4, ("disproved", "restore", 4)),
        (ORIGIN, 4, ("disproved", "restore", 4)),
        (ORIGIN, 0, ("disproved", "restore", 0)),
    ],
    ids=["first", "later", "later, from itself", "first, from itself"],
)
def test_both_name_the_entry_by_which_a_log_goes_on_from_another_where_it_may_not(
    tmp_path: Path, forger: Forger, origin: str, at: int, said: Said
) -> None:
    closed = Checkpoint(origin, 5, bytes(32))
    note = bytes(SignedNote(closed.text(), (_BEFORE.sign(closed, 1),)))
    leaf = LeafBuilder(BLINDING).own(Kind.RESTORE, origin, 5, restore_facts(origin, 5, closed.root, note))
    line, separator, rest = leaf.data.partition(b"\n")
    forger.headers.insert(at, json.loads(line))
    forger.rests.insert(at, separator + rest)
    forger.settle()
    assert _said(forger.save(tmp_path / "log")) == [said, said]


def test_both_hold_an_index_against_the_chains_as_they_went_on_since_the_one_before(
    tmp_path: Path, forger: Forger
) -> None:
    index, size = forger.headers[INDEX], len(forger.headers)
    forger.headers += [{**forger.headers[8], "o": 9}, dict(index)]
    forger.rests += [forger.rests[8], forger.rests[INDEX]]
    forger.settle()
    assert _said(forger.save(tmp_path / "log")) == [_PROVED, _PROVED]
    forger.headers[size + 1] |= {name: forger.headers[INDEX][name] for name in ("rows", "root")}
    said = ("disproved", "index", size + 1)
    assert _said(forger.save(tmp_path / "log")) == [said, said]


def test_both_follow_the_keys_of_a_log_back_from_one_that_the_reader_knows(tmp_path: Path, forger: Forger) -> None:
    names = [LogKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([at]) * 32)) for at in range(3)]

    def change(old: LogKey, new: LogKey) -> dict[str, Any]:
        vkeys = [str(new.verifier)]
        return {"keys": vkeys, "signed": str(old.verifier), "signature": signed_keys(vkeys, old)}

    forger.headers.append({**forger.headers[KEY], **change(names[1], LOG_KEYS[0])})
    forger.rests.append(forger.rests[KEY])
    for first, strangers in ((change(names[0], names[1]), []), (change(names[0], names[2]), [KEY])):
        forger.headers[KEY] |= first
        forger.settle()
        place = forger.save(tmp_path / "log")
        alone = verify.check_log(str(place), verify.Options(verify.Policy(POLICY)))
        command = run(DirectorySource(place), list(Policy.parse(POLICY).logs))
        found = [{"finding": "keys_changed_outside_the_policy", "seq": seq} for seq in strangers]
        assert (alone.outcome, alone.findings) == ("proved", found)
        assert (command.exit_status, command.findings) == (0, found)


_CLOSED = verify.CLOSED.encode()
_ESCAPED = _CLOSED.replace(b"-", b"\\u002d")
_NO_HEADERS = b'\n{"h":[],"key":"x"}\n'


def _structured(value: bytes) -> Callable[[Forger], None]:
    def change(forger: Forger) -> None:
        forger.headers[2]["m"], forger.rests[2] = "application/cloudevents+json", _NO_HEADERS + value

    return change


def _header(line: bytes) -> Callable[[Forger], None]:
    def change(forger: Forger) -> None:
        forger.rests[2] = b'\n{"h":[' + line + b'],"key":"x"}\n"' + _CLOSED + b'"'

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_structured(b'[{"type":"' + _CLOSED + b'"}]'), _PROVED),
        (_structured(b'{"type":null,"x":"' + _CLOSED + b'"}'), _PROVED),
        (_structured(b'{"type":"' + _ESCAPED + b'"}'), ("disproved", "seals", 2)),
        (_header(b'["ce_type","' + _ESCAPED + b'"]'), ("disproved", "seals", 2)),
        (_header(b'["ce_type;base64","bG9zdHBob25lLmluY2lkZW50LWNsb3NlZC52MQ=="]'), ("disproved", "seals", 2)),
        (_header(b'["ce_type",null],["ce_type","' + _CLOSED + b'"]'), _PROVED),
        (_header(b'["x",{"a":1}]'), ("disproved", "chains", 2)),
        (_header(b'["ce_x;base64","\xc3\xa9"]'), ("disproved", "chains", 2)),
    ],
    ids=["no object", "no type", "escaped in a value", "escaped in a header", "in base64", "none before it",
         "a header that is no text", "base64 that is none"],
)  # fmt: skip
def test_both_read_the_attributes_of_an_event_alike(
    tmp_path: Path, forger: Forger, change: Callable[[Forger], None], said: Said
) -> None:
    change(forger)
    forger.settle()
    assert _said(forger.save(tmp_path / "log")) == [said, said]


@pytest.mark.parametrize("inside", ["value", "body"])
def test_a_closing_that_is_detached_is_one_for_both(tmp_path: Path, forger: Forger, inside: str) -> None:
    value = b'{"type":"' + _CLOSED + b'"}'
    detached = value if inside == "value" else _NO_HEADERS[1:] + value
    digest = verify.hashlib.sha256(detached).hexdigest()
    facts = {"k": "detached", "of": "event", "d": inside, "sha256": digest, "size": len(detached)}
    forger.headers[2] |= facts | {"m": "application/cloudevents+json"}
    forger.rests[2] = _NO_HEADERS if inside == "value" else b"\n"
    place = forger.save(tmp_path / "log")
    (place / "detached").mkdir()
    (place / "detached" / digest).write_bytes(detached)
    assert [said[0] for said in _said(place)] == ["disproved", "disproved"]
    report = verify.check_log(str(place), verify.Options(verify.Policy(POLICY)))
    offences = run(DirectorySource(place), list(Policy.parse(POLICY).logs)).offences
    assert ("seals", 2) in [(offence["check"], offence["seq"]) for offence in report.offences]
    assert ("seals", 2) in [(offence.check, offence.seq) for offence in offences]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("n" * 250, True), ("a b", False), ("a\u00a0b", False), ("a\u3000b", False), ("a+b", False), ("", False)],
    ids=["long", "a space", "a space that does not break", "a wide space", "a plus sign", "none"],
)
def test_both_take_the_same_verifier_keys(name: str, is_one: bool) -> None:
    vkey = str(VerifierKey(name, 1, bytes(32)))
    for parse, refused in ((verify.Key.of_log, verify.BadError), (VerifierKey.of_log, ValueError)):
        if is_one:
            assert parse(vkey).name == name
            continue
        with pytest.raises(refused):
            parse(vkey)


def test_a_name_that_is_longer_than_mldsa44_can_state_has_signed_nothing(forger: Forger) -> None:
    public = _ML_WITNESS.verifier.public
    for name in ("n" * 255, "n" * 256):
        assert verify.Key(name, 6, public).verifies(_text(forger), bytes(8 + 2420)) is False
        assert VerifierKey(name, 6, public).verifies(_text(forger), bytes(8 + 2420)) is False


def test_a_line_of_a_proof_has_one_form(forger: Forger) -> None:
    proof = forger.files()["proofs/2.tlog-proof"]
    line = proof.split(b"\n")[2]
    other = line[:-2] + bytes([line[-2] + 1]) + b"="  # the bits that it changes are none of the hash
    with pytest.raises(verify.BadError):
        verify.read_proof(proof.replace(line, other))


_ANYTHING: list[Any] = [
    *(None, True, 0, -1, 7, 2**63, 1.0, "", "7", "x", "\u202e", [], ["x"], {}, {"a": 1}, "00" * 32, INCIDENT, OTHER),
    *("event", "seal", "gap", "index", "detached", "restore", "duplicate", "unverified", "lostphone.log.v1"),
]


def _lie(lots: random.Random, forger: Forger) -> None:
    at, other = lots.randrange(len(forger.headers)), lots.randrange(len(forger.headers))
    header = forger.headers[at]
    match lots.randrange(6):
        case 0:
            header.pop(lots.choice(list(header)))
        case 1 | 2:
            header[lots.choice(list(header))] = lots.choice(_ANYTHING)
        case 3:
            header |= {"k": forger.headers[other]["k"]}
        case 4:
            forger.headers[at], forger.headers[other] = forger.headers[other], forger.headers[at]
        case _:
            forger.rests[at] = forger.rests[other]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_holder_of_the_keys_changes_both_say_the_same(tmp_path: Path, seed: int) -> None:
    lots = random.Random(seed)
    for number in range(25):
        forger = Forger(tmp_path)
        for _ in range(lots.choice((1, 1, 2))):
            _lie(lots, forger)
        alone, command = _said(forger.save(tmp_path / str(number)))
        assert (alone[0], alone[2]) == (command[0], command[2]), (number, forger.headers)
