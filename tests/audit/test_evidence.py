"""A bundle of evidence proves one incident to whoever has nothing but Python and the log's key."""

import asyncio
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lostphone.installation import Installation
from services.audit.evidence import verify
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


def _run(*arguments: str) -> tuple[int, dict[str, object]]:
    program = Path(verify.__file__)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_verifier_alone_proves_a_bundle(handed: Handed, tmp_path: Path) -> None:
    (tmp_path / "evidence.zip").write_bytes(handed.archive)
    (tmp_path / "earlier").write_bytes(handed.earlier)
    status, report = _run(
        "bundle", str(tmp_path / "evidence.zip"), "--vkey", _VKEY, "--earlier", str(tmp_path / "earlier")
    )
    assert status == 0, json.dumps(report, indent=1, ensure_ascii=False)
    print(json.dumps(report, indent=1, ensure_ascii=False))
    print(sorted(handed.files))
