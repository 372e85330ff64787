"""A bundle of evidence proves one incident to whoever has nothing but Python and the log's key."""

import asyncio
import hashlib
import io
import json
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lostphone.installation import Installation
from services.audit.domain.leaf import Opened
from services.audit.evidence import verify
from services.audit.evidence.desk import texts
from services.audit.evidence.text import css_string
from services.audit.tlog import Checkpoint, SignedNote, VerifierKey
from services.audit.tlog.note import Signature
from shared.vault import Disclosure
from tests.audit.conftest import LOG_KEYS, ORIGIN
from tests.audit.records import example
from tests.audit.running import OPERATOR, Audit, audit_at
from tests.stack.installed import Installed, copy_of

_ACME = "0192f0c1-0000-7000-8000-00000000000a"
_BETA = "0192f0c1-0000-7000-8000-00000000000b"
_NONE = "0192f0c1-0000-7000-8000-00000000000c"
_PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"
_NOTE = Disclosure.of("narrative", "タクシーに置き忘れた")
_GONE = Disclosure.of("contact", "090-0000-0000")
_VKEY = str(LOG_KEYS[0].verifier)


@dataclass
class Handed:
    """What was handed out."""

    archive: bytes
    earlier: bytes
    audit: Audit

    @property
    def files(self) -> dict[str, bytes]:
        with zipfile.ZipFile(io.BytesIO(self.archive)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


async def _ask(audit: Audit, incident: str, organisation: str, role: str, **body: object) -> tuple[int, bytes]:
    token = await audit.token(organisation, role)
    answering = asyncio.ensure_future(
        audit.http.post(
            f"/v1/incidents/{incident}/evidence",
            headers={"Authorization": f"Bearer {token}"},
            json=body,
        )
    )
    while not answering.done():
        await audit.bench.publish()
        await asyncio.wait([answering], timeout=0.05)
    return answering.result().status_code, answering.result().content


@pytest.fixture(scope="module")
async def handed(
    topics: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Handed]:
    """An incident with an erased field and a shown one, closed and sealed, among those of another organisation."""
    files = Installation.open(tmp_path_factory.mktemp("installation") / "data")
    async with (
        copy_of(template, postgres) as dsn,
        audit_at(Installed(topics, dsn, files), tmp_path_factory.mktemp("audit")) as audit,
    ):
        writers, bench = audit.bench.writers, audit.bench
        _, usual = example("DeviceLost")
        payload = usual.model_copy(update={"circumstances": _NOTE.digest, "callback": _GONE.digest})
        lost = writers.envelope("DeviceLost", _ACME, actor=f"{_PERSON}/employee")
        await bench.record(
            writers.sign("DeviceLost", lost, payload), writers.record("DeviceLost", _BETA, organisation="beta-kk")
        )
        await bench.publish()
        earlier = await bench.reader.newest()
        assert earlier is not None
        _, erased = example("PersonalDataErased")
        await bench.record(
            writers.record("DeviceLocked", _ACME, causationid=lost.id),
            writers.sign(
                "PersonalDataErased",
                writers.envelope("PersonalDataErased", "org-acme-kk"),
                erased.model_copy(update={"person": _PERSON, "on_hold": False}),
            ),
            writers.record("DeviceLocked", _BETA, organisation="beta-kk"),
            writers.record("IncidentClosed", _ACME),
            writers.sign(
                "PersonalDataErased",
                writers.envelope("PersonalDataErased", "org-acme-kk"),
                erased.model_copy(update={"person": _PERSON, "on_hold": False, "fields": 0}),
            ),
        )
        status, archive = await _ask(
            audit,
            _ACME,
            "acme-kk",
            "privacy_officer",
            disclosures=[_NOTE.text],
            not_there=[_GONE.digest],
            previous=[earlier.size],
        )
        assert status == 200, archive
        yield Handed(archive, earlier.note, audit)


def _run(*arguments: str) -> tuple[int, dict[str, Any]]:
    program = Path(verify.__file__)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def place(handed: Handed, tmp_path: Path) -> Path:
    (tmp_path / "evidence.zip").write_bytes(handed.archive)
    (tmp_path / "earlier").write_bytes(handed.earlier)
    return tmp_path


def _checked(files: dict[str, bytes], **options: object) -> verify.Report:
    given: dict[str, object] = {"policy": verify.policy_of([_VKEY]), **options}
    return verify.Bundle(files, verify.Options(**given)).check()  # type: ignore[arg-type]


def _outcome(report: verify.Report, check: str) -> str:
    return next(str(one["outcome"]) for one in report.checks if one["name"] == check)


def test_the_verifier_alone_proves_a_bundle(place: Path) -> None:
    """Isolated and without site-packages."""
    status, report = _run("bundle", str(place / "evidence.zip"), "--vkey", _VKEY, "--earlier", str(place / "earlier"))
    assert status == 0, json.dumps(report, indent=1, ensure_ascii=False)
    outcomes = {check["name"]: check["outcome"] for check in report["checks"]}
    assert outcomes.pop("timestamps") == "not_checked"
    assert set(outcomes.values()) == {"proved"}
    assert list(outcomes) == [
        "manifest", "policy", "signature", "quorum", "leaves", "inclusion", "chain", "index", "seal", "export",
        "consistency", "partitions", "disclosures", "erasures", "keys",
    ]  # fmt: skip
    assert report["entries"] == 4
    told = [(entry["seq"], entry["says"], entry["by"]) for entry in report["timeline"]]
    assert told == [
        (0, "lostphone.device-lost.v1", f"{_PERSON}/employee"),
        (2, "lostphone.device-locked.v1", "service/mdm_actions"),
        (6, "lostphone.incident-closed.v1", "service/reporter"),
        (7, "seal", None),
    ]


def test_a_bundle_unpacked_into_a_folder_is_proved_as_well(place: Path) -> None:
    with zipfile.ZipFile(place / "evidence.zip") as archive:
        archive.extractall(place / "unpacked")
    assert _run("bundle", str(place / "unpacked"), "--vkey", _VKEY)[0] == 0


def test_without_a_policy_of_the_reader_nothing_is_proved(place: Path) -> None:
    status, report = _run("bundle", str(place / "evidence.zip"))
    assert (status, report["outcome"]) == (2, "not_decidable")
    stranger = str(VerifierKey(ORIGIN, 1, Ed25519PrivateKey.generate().public_key().public_bytes_raw()))
    assert _run("bundle", str(place / "evidence.zip"), "--vkey", stranger)[0] == 1


def test_a_quorum_that_is_not_there_disproves(handed: Handed) -> None:
    witness = VerifierKey("witness.example", 4, Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    policy = verify.Policy(f"log {_VKEY}\nwitness w {witness}\nquorum w\n")
    report = _checked(handed.files, policy=policy)
    assert report.outcome == "disproved"
    assert _outcome(report, "quorum") == "disproved"


def test_any_byte_changed_in_any_file_is_detected(handed: Handed) -> None:
    """Each file, at its ends and at places drawn by lot."""
    lots = random.Random(8)
    files = handed.files
    names = sorted(files)
    assert len(names) > 20
    for name in names:
        data = files[name]
        for at in {0, len(data) - 1, lots.randrange(len(data))}:
            changed = data[:at] + bytes([data[at] ^ (1 << lots.randrange(8))]) + data[at + 1 :]
            report = _checked({**files, name: changed})
            assert report.outcome == "disproved", (name, at)
            match = re.match(r"entries/([0-9]+)", name)
            first = report.document()["first_offence"]
            assert match is None or first["seq"] == int(match[1]), (name, first)


def test_any_byte_changed_in_the_archive_is_detected(handed: Handed, tmp_path: Path) -> None:
    lots = random.Random(9)
    file = tmp_path / "changed.zip"
    options = verify.Options(verify.policy_of([_VKEY]))
    for at in [0, len(handed.archive) - 1, *(lots.randrange(len(handed.archive)) for _ in range(40))]:
        file.write_bytes(handed.archive[:at] + bytes([handed.archive[at] ^ 1]) + handed.archive[at + 1 :])
        assert verify.check_bundle(file, options).outcome == "disproved", at


def test_a_file_added_or_left_out_is_detected(handed: Handed) -> None:
    files = handed.files
    assert _checked({**files, "entries/1.leaf": files["entries/0.leaf"]}).outcome == "disproved"
    for name in files:
        assert _checked({other: data for other, data in files.items() if other != name}).outcome == "disproved", name


def test_the_key_holder_who_leaves_an_entry_out_is_caught_by_the_index(handed: Handed) -> None:
    """Everything is signed again by the log's own key: only the index in the log says that an entry is missing."""
    files = handed.files
    last = max(
        int(name[8:-5])
        for name in files
        if re.fullmatch(r"entries/[0-9]+\.leaf", name) and b'"k":"seal"' in files[name]
    )
    smaller = {
        name: data for name, data in files.items() if name not in {f"entries/{last}.leaf", f"proofs/{last}.tlog-proof"}
    }
    report = _checked(_signed_again(smaller))
    assert _outcome(report, "manifest") == "proved"
    assert _outcome(report, "index") == "disproved"


def test_an_earlier_checkpoint_of_another_history_is_a_fork(handed: Handed) -> None:
    other = Checkpoint(ORIGIN, 2, b"x" * 32)
    note = bytes(SignedNote(other.text(), (LOG_KEYS[0].sign(other, 1),)))
    report = _checked(handed.files, earlier=[note])
    assert _outcome(report, "consistency") == "disproved"
    unproved = Checkpoint(ORIGIN, 5, b"x" * 32)
    note = bytes(SignedNote(unproved.text(), (LOG_KEYS[0].sign(unproved, 1),)))
    assert _outcome(_checked(handed.files, earlier=[note]), "consistency") == "not_decidable"


async def test_a_checkpoint_that_only_the_reader_has_is_proved_to_as_well(handed: Handed) -> None:
    """A restore brings back the newest one and no other."""
    root = await handed.audit.bench.reader.root(4)
    assert await handed.audit.bench.reader.checkpoint(4) is None
    status, archive = await _ask(handed.audit, _ACME, "acme-kk", "auditor", previous=[4])
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    for said, outcome in ((root, "proved"), (bytes(32), "disproved")):
        kept = Checkpoint(ORIGIN, 4, said)
        note = bytes(SignedNote(kept.text(), (LOG_KEYS[0].sign(kept, 1),)))
        assert _outcome(_checked(files, earlier=[note]), "consistency") == outcome


def test_one_field_is_shown_and_the_erased_one_names_its_erasure(handed: Handed) -> None:
    said = json.loads(handed.files["disclosures/0.json"])["fields"]
    by_digest = {field["digest"]: field for field in said}
    assert by_digest[_NOTE.digest]["disclosure"] == _NOTE.text
    gone = by_digest[_GONE.digest]
    assert gone["disclosure"] is None
    (erasure,) = gone["erased_by"]
    leaf = verify.Leaf(erasure, handed.files[f"entries/{erasure}.leaf"])
    assert (leaf.kind, leaf.header["person"], leaf.header["organisation"]) == ("erasure", _PERSON, "acme-kk")
    assert _GONE.value not in b"".join(handed.files.values()).decode(errors="replace")


def test_the_page_tells_every_entry_in_both_languages_with_its_proof(handed: Handed) -> None:
    page = handed.files["timeline.html"].decode()
    for seq in (0, 2, 6, 7):
        assert f'href="proofs/{seq}.tlog-proof"' in page
        assert f'href="entries/{seq}.leaf"' in page
    assert "端末の紛失が届け出られました" in page
    assert "A lost phone was reported" in page
    assert _NOTE.value in page
    assert "消去済み" in page
    style = page[page.index("@bottom-left") : page.index("</style>")]
    root = Checkpoint.parse(SignedNote.parse(handed.files["checkpoint"]).text).root.hex()
    assert root in style, "every printed sheet says of which log it is"
    assert "http" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL).replace('http-equiv="', "")
    assert "beta-kk" not in b"".join(handed.files.values()).decode(errors="replace")


def test_a_text_is_found_however_deep_it_lies() -> None:
    """Else a service that nests what it says could keep the evidence of an incident from being handed out."""
    value = b'{"a":' + b"[" * 1020 + b'"x"' + b"]" * 1020 + b"}"
    assert texts(Opened({"k": "event", "m": None}, None, (), value)) == {"x"}
    assert verify.Leaf(0, b'{"k":"event","m":null}\n{"h":[],"key":"x"}\n' + value).values == {"x"}


def test_no_name_breaks_out_of_the_style_sheet_of_the_page() -> None:
    assert css_string('a"}</style>\n\\') == r'"a\22 \7d \3c \2f style\3e \a \5c "'


async def test_only_officers_and_auditors_of_the_organisation_are_handed_evidence(handed: Handed) -> None:
    assert (await _ask(handed.audit, _ACME, "acme-kk", "security_desk"))[0] == 403
    assert (await _ask(handed.audit, _ACME, "beta-kk", "auditor"))[0] == 404
    assert (await _ask(handed.audit, _NONE, "acme-kk", "auditor"))[0] == 404
    stray = Disclosure.of("contact", "x")
    status, answer = await _ask(handed.audit, _ACME, "acme-kk", "auditor", disclosures=[stray.text])
    assert (status, json.loads(answer)["code"]) == (422, "not_in_incident")
    status, answer = await _ask(handed.audit, _ACME, "acme-kk", "auditor", disclosures=["bm9uc2Vuc2U"])
    assert (status, json.loads(answer)["code"]) == (422, "not_a_disclosure")


async def test_that_there_is_no_such_incident_is_proved_to_the_operator(handed: Handed) -> None:
    for subject in (_NONE, "0", "z"):
        status, archive = await _ask(handed.audit, subject, OPERATOR, "auditor")
        assert status == 200, archive
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            files = {name: opened.read(name) for name in opened.namelist()}
        report = _checked(files)
        assert report.outcome == "proved", report.document()
        assert report.facts["entries"] == 0
        (chain,) = [check["detail"] for check in report.checks if check["name"] == "chain"]
        assert chain == f"no entry of {subject} is in the evidence"
        rows = json.loads(files["index/rows.json"])["rows"]
        for row in rows:
            files["index/rows.json"] = verify.canonical({"rows": [one for one in rows if one is not row]})
            assert _outcome(_checked(_signed_again(files)), "index") == "disproved"


async def test_the_same_export_is_the_same_bytes(handed: Handed) -> None:
    assert verify.pack(handed.files) == handed.archive


def test_single_proofs_and_comparisons(handed: Handed, place: Path) -> None:
    for name in ("entries/6.leaf", "proofs/6.tlog-proof", "checkpoint", "consistency/2-12"):
        (place / name.replace("/", "-")).write_bytes(handed.files[name])
    leaf, proof = str(place / "entries-6.leaf"), str(place / "proofs-6.tlog-proof")
    assert _run("proof", leaf, proof, "--vkey", _VKEY)[0] == 0
    assert _run("proof", str(place / "checkpoint"), proof, "--vkey", _VKEY)[0] == 1
    assert _run("proof", leaf, proof)[0] == 2
    files = (str(place / "earlier"), str(place / "checkpoint"), str(place / "consistency-2-12"))
    assert _run("consistency", *files, "--vkey", _VKEY)[0] == 0
    (place / "empty").write_bytes(b"")
    assert _run("consistency", *files[:2], str(place / "empty"), "--vkey", _VKEY)[0] == 1
    assert _run("diff", str(place / "evidence.zip"), str(place / "evidence.zip"))[0] == 0
    other = {**handed.files, "entries/6.leaf": handed.files["entries/6.leaf"] + b" "}
    (place / "other.zip").write_bytes(verify.pack(other))
    status, report = _run("diff", str(place / "evidence.zip"), str(place / "other.zip"))
    assert status == 1
    assert report["first_offence"]["seq"] == 6
    assert _run("bundle", str(place / "missing.zip"), "--vkey", _VKEY)[0] == 2
    assert _run("bundle", leaf, "--vkey", _VKEY)[0] == 1


def _signed_again(files: dict[str, bytes]) -> dict[str, bytes]:
    """As the holder of the log's key would, who cannot change the log."""
    manifest = json.loads(files["MANIFEST.json"])
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in files.items()
        if not name.startswith("MANIFEST")
    }
    data = verify.canonical(manifest)
    text = f"{verify.BUNDLE_FORMAT}\n{hashlib.sha256(data).hexdigest()}\n"
    key = LOG_KEYS[0]
    assert isinstance(key.key, Ed25519PrivateKey)
    signature = Signature(ORIGIN, key.verifier.keyid, key.key.sign(text.encode()))
    return {**files, "MANIFEST.json": data, "MANIFEST.note": bytes(SignedNote(text, (signature,)))}


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.integers(0, 63), st.integers(0, 7))
@settings(max_examples=15, deadline=None)
def test_the_verifiers_own_ed25519_agrees_with_a_library(seed: bytes, message: bytes, byte: int, bit: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert verify.ed25519_verifies(public, message, signature)
    forged = signature[:byte] + bytes([signature[byte] ^ (1 << bit)]) + signature[byte + 1 :]
    assert not verify.ed25519_verifies(public, message, forged)
    assert not verify.ed25519_verifies(public, message + b"x", signature)
    order = 2**252 + 27742317777372353535851937790883648493
    malleable = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not verify.ed25519_verifies(public, message, malleable)
