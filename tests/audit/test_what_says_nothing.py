"""What a reader gives and what says nothing about the evidence accuses nobody: it is not decidable, with the reason."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.evidence import verify
from services.audit.tlog import Checkpoint, LogKey, Proofs, SignedNote
from tests.audit.conftest import LOG_KEYS
from tests.audit.forger import KEYS, POLICY, Forger, proof_lines
from tests.audit.naive import naive_root

_MLDSA44 = str(LOG_KEYS[1].verifier)


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger(tmp_path)


def _report(forger: Forger, policy: str = POLICY, **given: Any) -> verify.Report:
    files = forger.manifest(forger.files())
    return verify.Bundle(files, verify.Options(verify.Policy(policy), **given)).check()


def _told(report: verify.Report, check: str) -> str:
    (detail,) = [str(one["detail"]) for one in report.checks if one["name"] == check]
    return detail


def _signed(checkpoint: Checkpoint, *keys: LogKey) -> bytes:
    return bytes(SignedNote(checkpoint.text(), tuple(key.sign(checkpoint, 1) for key in keys)))


def test_a_bundle_that_is_older_than_a_kept_checkpoint_is_held_against_it_by_a_proof(forger: Forger) -> None:
    leaves = forger.leaves()
    size = len(leaves)
    grown = [*leaves, *leaves[:4]]
    kept = _signed(Checkpoint(LOG_KEYS[0].origin, len(grown), naive_root(grown)), LOG_KEYS[0])
    asked = _report(forger, earlier=[kept])
    assert (asked.outcome, asked.offences) == ("not_decidable", [])
    assert f"/v1/consistency?from={size}&to={size + 4}" in _told(asked, "consistency")
    proof = proof_lines(grown, Proofs(size + 4).consistency(size))
    assert _report(forger, earlier=[kept], proofs={size: proof}).outcome == "proved"
    other = _signed(Checkpoint(LOG_KEYS[0].origin, size + 4, bytes(32)), LOG_KEYS[0])
    assert _report(forger, earlier=[other], proofs={size: proof}).outcome == "disproved"


def test_a_kept_checkpoint_of_another_log_is_not_one_of_this(forger: Forger) -> None:
    before = LogKey("log.example/before", Ed25519PrivateKey.from_private_bytes(b"b" * 32))
    kept = _signed(Checkpoint(before.origin, 4, bytes(32)), before)
    report = _report(forger, f"log {before.verifier}\n{POLICY}", earlier=[kept])
    assert (report.outcome, report.offences) == ("not_decidable", [])
    assert "of that log this bundle says nothing" in _told(report, "consistency")


def test_who_knows_the_logs_mldsa44_key_alone_cannot_judge_the_manifest(forger: Forger) -> None:
    files, note = forger.files(), forger.note()
    both = note + LOG_KEYS[1].sign(Checkpoint.parse(SignedNote.parse(note).text), 1).line().encode()
    files = {name: data.replace(note, both) for name, data in files.items() if not name.startswith("previous/")}
    options = verify.Options(verify.Policy(f"log {_MLDSA44}\nquorum none\n"))
    report = verify.Bundle(forger.manifest(files), options).check()
    assert (report.outcome, report.offences) == ("not_decidable", [])
    assert "Ed25519 alone" in _told(report, "signature")


def test_a_kept_checkpoint_whose_signature_cannot_be_checked_here_disproves_nothing(
    tmp_path: Path, forger: Forger
) -> None:
    leaves = forger.leaves()
    place = forger.save(tmp_path / "log")
    for file, size in ((place / "checkpoint", len(leaves)), (tmp_path / "kept", 4)):
        file.write_bytes(_signed(Checkpoint(LOG_KEYS[1].origin, size, naive_root(leaves[:size])), LOG_KEYS[1]))
    given = ["log", str(place), "--vkey", _MLDSA44, "--earlier", str(tmp_path / "kept")]
    done = subprocess.run([sys.executable, "-I", "-S", verify.__file__, *given], capture_output=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["offences"]) == (2, [])
    assert verify.main(given) == 0


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_report_is_json_for_every_reader(tmp_path: Path, forger: Forger, number: float) -> None:
    (tmp_path / "evidence.zip").write_bytes(verify.pack(forger.manifest(forger.files(), as_of=number)))
    given = ["bundle", str(tmp_path / "evidence.zip"), "--vkey", str(KEYS[0])]
    done = subprocess.run([sys.executable, "-I", "-S", verify.__file__, *given], capture_output=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout, parse_constant=pytest.fail)["first_offence"]["check"] == "manifest"
