"""What the log shows over HTTP, to whom: tiles and proofs to all, entries to their organisation, in two languages."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator

import pytest

from lostphone.installation import Installation
from lostphone.verify import HttpSource, run
from services.audit.evidence import verify
from services.audit.tlog import (
    Checkpoint,
    SignedNote,
    TilePath,
    leaf_hash,
    unpack_bundle,
    verify_consistency,
)
from shared.events import event_types
from tests.audit.conftest import LOG_KEYS
from tests.audit.records import BY_NAME
from tests.audit.running import OPERATOR, Audit, audit_at
from tests.stack.installed import Installed, copy_of

_ACME = "0192f0c1-0000-7000-8000-00000000000a"
_BETA = "0192f0c1-0000-7000-8000-00000000000b"
_DRILL = "0192f0c1-0000-7000-8000-00000000000d"
_EVERY = "0192f0c1-0000-7000-8000-00000000000e"
_READERS = ("security_desk", "approver", "incident_lead", "privacy_officer", "executive", "disclosure_owner", "auditor")


@pytest.fixture(scope="module")
async def audit(
    topics: str, postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Audit]:
    """A log with incidents of two organisations, a drill, and one with every event there is."""
    files = Installation.open(tmp_path_factory.mktemp("installation") / "data")
    async with (
        copy_of(template, postgres) as dsn,
        audit_at(Installed(topics, dsn, files), tmp_path_factory.mktemp("audit")) as audit,
    ):
        writers, bench = audit.bench.writers, audit.bench
        lost = writers.envelope("DeviceLost", _ACME, actor="person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a/employee")
        await bench.record(
            writers.sign("DeviceLost", lost),
            writers.record("DeviceLocked", _ACME, causationid=lost.id),
            writers.record("WipeSent", _ACME, causationid="0192f0c1-0000-7000-8000-ffffffffffff"),
            writers.record("DeviceLost", _BETA, organisation="beta-kk"),
        )
        await bench.publish()
        await bench.record(
            writers.record("DeviceLost", _DRILL, drill=True),
            *(
                writers.record(entry.name, _EVERY)
                for entry in event_types()
                if entry.writer != "audit" and entry.name != "IncidentClosed"
            ),
            writers.record("IncidentClosed", _EVERY),
        )
        await bench.publish()
        yield audit


async def test_anybody_reads_checkpoint_and_hash_tiles_and_nobody_entries(audit: Audit) -> None:
    answer = await audit.get("/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "no-cache" in answer.headers["cache-control"]
    note = SignedNote.parse(answer.content)
    assert note.verified_by([key.verifier for key in LOG_KEYS]) == [key.verifier for key in LOG_KEYS]
    size = Checkpoint.parse(note.text).size
    tile = await audit.get("/" + str(TilePath(0, 0, size)))
    assert len(tile.content) == 32 * size
    assert "immutable" in tile.headers["cache-control"]
    for path in (str(TilePath(None, 0, size)), "v1/entries/0", f"v1/incidents/{_ACME}/timeline", f"incidents/{_ACME}"):
        assert (await audit.get(f"/{path}", Accept="application/json")).status_code == 401
    for path in (str(TilePath(0, 0, size + 1)), "tile/0/000", "tile/1/000.p/1", "tile/0/0", "tile/9/x"):
        assert (await audit.get(f"/{path}")).status_code == 404


async def test_only_the_operators_auditors_read_the_whole_log(audit: Audit) -> None:
    size = Checkpoint.parse(SignedNote.parse((await audit.get("/checkpoint")).content).text).size
    path = "/" + str(TilePath(None, 0, size))
    leaves = unpack_bundle((await audit.get(path, await audit.token(OPERATOR, "auditor"))).content)
    tile = (await audit.get("/" + str(TilePath(0, 0, size)))).content
    assert [leaf_hash(leaf) for leaf in leaves] == [tile[at : at + 32] for at in range(0, len(tile), 32)]
    assert (await audit.get(path, await audit.token("acme-kk", "auditor"))).status_code == 403
    assert (await audit.get(path, await audit.token(OPERATOR, "security_desk"))).status_code == 403
    assert (await audit.get("/detached/" + "0" * 64, await audit.token("acme-kk", "auditor"))).status_code == 403
    assert (await audit.get("/detached/" + "0" * 64, await audit.token(OPERATOR, "auditor"))).status_code == 404
    assert (await audit.get("/detached/zz", await audit.token(OPERATOR, "auditor"))).status_code == 404


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip, identity", "gzip"), ("br, GZIP;q=0.5", "gzip"), ("identity", None), ("gzip;q=0", None), ("", None)],
)
async def test_a_bundle_is_compressed_for_who_takes_gzip_and_is_the_same(
    audit: Audit, accepted: str, coding: str | None
) -> None:
    size = Checkpoint.parse(SignedNote.parse((await audit.get("/checkpoint")).content).text).size
    path, token = "/" + str(TilePath(None, 0, size)), await audit.token(OPERATOR, "auditor")
    plain = await audit.get(path, token, **{"Accept-Encoding": "identity"})
    answer = await audit.get(path, token, **{"Accept-Encoding": accepted})
    assert (answer.content, answer.headers.get("content-encoding")) == (plain.content, coding)
    assert answer.headers["vary"] == "Accept-Encoding"
    assert "private" in answer.headers["cache-control"]
    assert (int(answer.headers["content-length"]) < len(plain.content)) is (coding is not None)


async def test_an_organisation_reads_its_own_entries_and_timelines_only(audit: Audit) -> None:
    acme, beta = await audit.token("acme-kk", "auditor"), await audit.token("beta-kk", "auditor")
    assert (await audit.get("/v1/entries/0", acme)).content.startswith(b'{"i":"' + _ACME.encode())
    assert (await audit.get("/v1/entries/3", beta)).content.startswith(b'{"i":"' + _BETA.encode())
    for path, token in (
        ("/v1/entries/3", acme),
        ("/v1/entries/0", beta),
        (f"/v1/incidents/{_BETA}/timeline", acme),
        (f"/incidents/{_BETA}", acme),
        (f"/v1/incidents/{_ACME}/timeline", beta),
        (f"/v1/incidents/{_ACME}/timeline?size=4", beta),
        ("/v1/entries/-1", acme),
        ("/v1/entries/99999", acme),
    ):
        assert (await audit.get(path, token)).status_code == 404, path


async def test_each_role_of_a_response_reads_timelines_and_an_employee_does_not(audit: Audit) -> None:
    for role in _READERS:
        assert (
            await audit.get(f"/v1/incidents/{_ACME}/timeline", await audit.token("acme-kk", role))
        ).status_code == 200
    for role in ("employee", "operator"):
        assert (
            await audit.get(f"/v1/incidents/{_ACME}/timeline", await audit.token("acme-kk", role))
        ).status_code == 403


async def test_the_timeline_of_an_incident_is_given_to_programs(audit: Audit) -> None:
    token = await audit.token("acme-kk", "auditor")
    document = (await audit.get(f"/v1/incidents/{_ACME}/timeline", token)).json()
    assert (document["incident"], document["drill"], document["sealed"]) == (_ACME, False, None)
    lost, locked, sent = document["entries"]
    assert [entry["n"] for entry in document["entries"]] == [0, 1, 2]
    assert lost["type"] == "lostphone.device-lost.v1"
    assert lost["actor"] == "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a/employee"
    assert lost["data"]["place"] == "taxi"
    assert (locked["prev"], locked["cause_seq"]) == (lost["leaf_hash"], lost["seq"])
    assert sent["cause_seq"] is None
    every = (await audit.get(f"/v1/incidents/{_EVERY}/timeline", token)).json()
    assert every["sealed"]["entries"] == len(every["entries"]) - 1
    assert every["sealed"]["head"] == every["entries"][-2]["leaf_hash"]
    before = await audit.get(f"/v1/incidents/{_ACME}/timeline?size=4", token)
    assert (before.json()["size"], len(before.json()["entries"])) == (4, 3)
    assert (await audit.get(f"/v1/incidents/{_ACME}/timeline?size=3", token)).status_code == 404


@pytest.mark.parametrize("number", ["1.0", "1_0", "+1", "%201", "１"])
async def test_a_number_in_an_address_is_digits_and_nothing_else(audit: Audit, number: str) -> None:
    answer = await audit.get(f"/v1/entries/{number}/proof")
    assert answer.status_code == 422
    assert [(error["field"], error["en"]) for error in answer.json()["errors"]] == [("seq", "must be a whole number")]


async def test_a_proof_is_carried_away_and_holds(audit: Audit) -> None:
    token = await audit.token("acme-kk", "auditor")
    reader = verify.Options(verify.policy_of([str(key.verifier) for key in LOG_KEYS]))
    for seq, size in ((0, ""), (2, ""), (1, "?size=4")):
        leaf = (await audit.get(f"/v1/entries/{seq}", token)).content
        proof = (await audit.get(f"/v1/entries/{seq}/proof{size}")).content
        assert verify.check_proof(leaf, proof, reader).outcome == verify.PROVED
        assert verify.check_proof(leaf + b"x", proof, reader).outcome == verify.DISPROVED
        assert verify.read_proof(proof)[0] == seq
    assert (await audit.get("/v1/entries/4/proof?size=4")).status_code == 404


async def test_the_log_shows_that_it_continues_an_earlier_checkpoint(audit: Audit) -> None:
    newest = Checkpoint.parse(SignedNote.parse((await audit.get("/checkpoint")).content).text)
    published = await audit.bench.reader.checkpoint(4)
    assert published is not None
    old = Checkpoint.parse(SignedNote.parse(published.note).text)
    answer = await audit.get(f"/v1/consistency?from=4&to={newest.size}")
    proof = [base64.b64decode(line) for line in answer.text.splitlines()]
    assert verify_consistency(4, newest.size, old.root, newest.root, proof)
    for query in ("from=0&to=4", "from=5&to=4", f"from=4&to={newest.size + 1}", "from=4", "from=a&to=b"):
        assert (await audit.get(f"/v1/consistency?{query}")).status_code in (400, 422)


async def test_verify_proves_the_log_over_http(audit: Audit) -> None:
    bearer = await audit.token(OPERATOR, "auditor")

    def verify(token: str | None) -> int:
        with HttpSource(audit.url, token) as source:
            report = run(source, [key.verifier for key in LOG_KEYS], keyring=audit.bench.keyring)
            return report.exit_status

    assert await asyncio.to_thread(verify, bearer) == 0
    assert await asyncio.to_thread(verify, None) == 2


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_every_event_is_told_in_words_in_both_languages(audit: Audit, language: str) -> None:
    token = await audit.token("acme-kk", "auditor")
    page = (await audit.get(f"/incidents/{_EVERY}?lang={language}", token, Accept="text/html")).text
    assert f'<html lang="{language}">' in page
    for absent in ("この版では説明できない", "no words for", "読み取れません", "cannot be read", "{", "None"):
        assert absent not in page
    assert ("封印されました" if language == "ja" else "are sealed") in page
    assert len(BY_NAME) - 2 + 1 == page.count('<li id="n')


async def test_the_page_says_who_and_when_by_both_clocks_why_and_what_is_not_known(audit: Audit) -> None:
    token = await audit.token("acme-kk", "security_desk")
    page = (await audit.get(f"/incidents/{_ACME}?lang=en", token, Accept="text/html")).text
    for present in (
        "A lost phone was reported. Cause: left behind. Place: taxi.",
        "person person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a",
        "in the role of employee",
        "said at, by its writer",
        "recorded at, by Kafka",
        "because of entry 0",
        "the event it names as its cause is not in the log",
        "Not known: malicious intent",
        "The phone is not wiped by this.",
        "/v1/entries/0/proof",
        "open: more will be added",
    ):
        assert present in page, present
    assert "DRILL" not in page
    drill = (await audit.get(f"/incidents/{_DRILL}?lang=en", token, Accept="text/html")).text
    assert "This is a drill." in drill


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("name=device-locked", [1]),
        ("by=person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a", [0]),
        ("since=2099-01-01", []),
        ("until=2099-01-01&name=&by=&since=&size=", [0, 1, 2]),
        ("only=unknown", [0, 2]),
    ],
)
async def test_the_page_shows_the_entries_that_are_asked_for_and_says_how_many_it_hides(
    audit: Audit, asked: str, numbers: list[int]
) -> None:
    token = await audit.token("acme-kk", "security_desk")
    page = (await audit.get(f"/incidents/{_ACME}?lang=en&{asked}", token, Accept="text/html")).text
    assert [n for n in range(3) if f'<li id="n{n}"' in page] == numbers
    assert (f"Only {len(numbers)} of 3 entries are shown." in page) == (len(numbers) < 3)


@pytest.mark.parametrize(
    ("language", "event", "service", "person"),
    [
        ("ja", "紛失の届け出", "自動処理（mdm_actions）", "従業員 · 個人"),
        ("en", "Loss reported", "automatic (mdm_actions)", "employee · person"),
    ],
)
async def test_what_can_be_asked_for_is_said_in_the_readers_words(
    audit: Audit, language: str, event: str, service: str, person: str
) -> None:
    token = await audit.token("acme-kk", "security_desk")
    page = (await audit.get(f"/incidents/{_ACME}?lang={language}", token, Accept="text/html")).text
    assert f'<option value="device-lost">{event}</option>' in page
    assert f'<option value="mdm_actions">{service}</option>' in page
    assert f">{person} person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a</option>" in page
    assert '<span class="mono">lostphone.device-lost.v1</span>' in page
    every = (await audit.get(f"/incidents/{_EVERY}?lang={language}", token, Accept="text/html")).text
    kinds = re.findall(r'<option value="([a-z-]+)">([^<]*)</option>', every)
    assert len(kinds) > len(BY_NAME) - 2
    assert [name for name, words in kinds if name == words] == []


@pytest.mark.parametrize(("language", "words"), [("ja", "のような日付"), ("en", "must be a day such as 2026-11-24")])
async def test_a_day_that_is_none_is_refused_in_words(audit: Audit, language: str, words: str) -> None:
    token = await audit.token("acme-kk", "security_desk")
    answer = await audit.get(f"/incidents/{_ACME}?lang={language}&since=2026-02-31", token, Accept="text/html")
    assert answer.status_code == 422
    assert words in answer.text
