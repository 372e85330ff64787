"""A third party's clock over a checkpoint: asked for, anchored, carried in the bundle, checked by all."""

import hashlib
import io
import itertools
import re
import zipfile
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from services.audit import timestamps
from services.audit.clerk import Clerk
from services.audit.domain.leaf import LeafBuilder
from services.audit.evidence import verify
from services.audit.evidence.bundle import Assembly, Wanted
from services.audit.guard import ForkedError, Guard
from services.audit.hourly import Hourly
from services.audit.kept import Kept
from services.audit.timeline import Timeline
from services.audit.timestamps import TimestampError, Timestamps
from services.audit.tlog import Checkpoint, SignedNote
from shared.telemetry import Health
from tests.audit.authority import authority
from tests.audit.conftest import BLINDING, LOG_KEYS, ORIGIN, Bench
from tests.audit.dripping import dripping

_ONE = "0192f0c1-0000-7000-8000-000000000001"
_VKEY = str(LOG_KEYS[0].verifier)


async def test_a_checkpoint_is_certified_and_the_bundle_proves_when_it_existed(bench: Bench, tmp_path: Path) -> None:
    clerk = Clerk(bench.units, bench.timeline, LeafBuilder(BLINDING))
    await bench.record(*(bench.writers.record("DeviceLocked", _ONE) for _ in range(3)))
    await bench.publish()
    async with authority(tmp_path / "tsa") as (url, root), httpx2.AsyncClient() as http:
        stamps = Timestamps(url, root.read_bytes(), http)
        hourly = Hourly(bench.dsn, clerk, bench.reader, stamps, Kept(tmp_path / "outside"), Health())
        async with bench.pool.acquire() as connection:
            for _ in range(2):  # the second finds that the hour is not over
                await hourly.stamp(SimpleNamespace(connection=connection), stamps)  # type: ignore[arg-type]
        (tmp_path / "other").mkdir()
        async with authority(tmp_path / "stranger") as (stranger, _):
            with pytest.raises(TimestampError, match="does not verify"):
                await Timestamps(stranger, root.read_bytes(), http).stamp(b"note")
    assert [entry["kind"] for entry in await bench.entries()] == ["event", "event", "event", "anchor"]
    export = await clerk.export(_ONE, "acme-kk", [], "service/audit")
    await bench.publish()
    published = await bench.reader.newest()
    assert published is not None
    archive = await Assembly(
        bench.reader, LOG_KEYS[0], Wanted(export, published, f"log {_VKEY}\nquorum none\n")
    ).build()
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    assert "timestamps/3.tsr" in files
    roots = [root.read_bytes()]

    def outcome(files: dict[str, bytes], roots: list[bytes]) -> dict[str, str]:
        options = verify.Options(verify.policy_of([_VKEY]), tsa_roots=roots)
        return {str(check["name"]): str(check["outcome"]) for check in verify.Bundle(files, options).check().checks}

    assert set(outcome(files, roots).values()) == {"proved"}
    assert outcome(files, [])["timestamps"] == "not_checked"
    strangers = [(tmp_path / "stranger" / "root.pem").read_bytes()]
    assert outcome(files, strangers)["timestamps"] == "disproved"
    response = files["timestamps/3.tsr"]
    for at in range(0, len(response), 7):
        changed = response[:at] + bytes([response[at] ^ 1]) + response[at + 1 :]
        assert outcome({**files, "timestamps/3.tsr": changed}, roots)["timestamps"] == "disproved"


async def test_a_stamp_is_read_as_openssl_wrote_it(tmp_path: Path) -> None:
    async with authority(tmp_path / "tsa") as (url, root), httpx2.AsyncClient() as http:
        stamp = verify.Stamp(await Timestamps(url, root.read_bytes(), http).stamp(b"note"))
    assert stamp.imprint == hashlib.sha256(b"note").digest()
    assert stamp.verifies([root.read_bytes()])


async def test_a_certificate_that_may_issue_none_makes_no_authority(tmp_path: Path) -> None:
    """Else whoever has any certificate of a public authority could date evidence back."""
    query = TimestampRequestBuilder().data(b"note").hash_algorithm(HashAlgorithm.SHA256).build().as_bytes()
    async with authority(tmp_path / "tsa", issuer="web") as (url, root), httpx2.AsyncClient() as http:
        stamp = verify.Stamp((await http.post(url, content=query)).content)
    with pytest.raises(verify.BadError, match="may issue none"):
        stamp.verifies([root.read_bytes()])


async def test_a_refusal_of_the_authority_is_told_with_its_status_and_what_to_do(bench: Bench, tmp_path: Path) -> None:
    said = r"status 2, rejection: Message digest algorithm is not supported\."
    await bench.record(bench.writers.record("DeviceLocked", _ONE))
    await bench.publish()
    clerk = Clerk(bench.units, bench.timeline, LeafBuilder(BLINDING))
    query = TimestampRequestBuilder().data(b"note").hash_algorithm(HashAlgorithm.SHA256).build().as_bytes()
    async with authority(tmp_path / "tsa", digests="sha512") as (url, root), httpx2.AsyncClient() as http:
        stamps = Timestamps(url, root.read_bytes(), http)
        health = Health()
        hourly = Hourly(bench.dsn, clerk, bench.reader, stamps, Kept(tmp_path / "outside"), health)
        async with bench.pool.acquire() as connection:
            await hourly.stamp(SimpleNamespace(connection=connection), stamps)  # type: ignore[arg-type]
        refusal = (await http.post(url, content=query)).content
    reason = (await health.ready())["timestamps"] or ""
    assert re.search(said, reason)
    assert "LOSTPHONE_TSA_URL" in reason
    with pytest.raises(verify.BadError, match=said + r".*ask .* for a bundle"):
        verify.Stamp(refusal)


async def test_an_authority_that_refuses_is_left_alone_for_longer_and_longer_and_asked_in_turn_when_it_recovers(
    bench: Bench, tmp_path: Path
) -> None:
    await bench.record(bench.writers.record("DeviceLocked", _ONE))
    await bench.publish()
    clerk, health, now, asked = Clerk(bench.units, bench.timeline, LeafBuilder(BLINDING)), Health(), [0.0], []
    async with (
        authority(tmp_path / "tsa") as (url, root),
        authority(tmp_path / "none", digests="sha512") as (refusing, _),
        httpx2.AsyncClient() as http,
    ):
        good, bad = (Timestamps(where, root.read_bytes(), http) for where in (url, refusing))
        hourly = Hourly(bench.dsn, clerk, bench.reader, bad, Kept(tmp_path / "out"), health, clock=lambda: now[0])

        async def look(stamps: Timestamps) -> None:
            async with bench.pool.acquire() as connection:
                await hourly.stamp(SimpleNamespace(connection=connection), stamps)  # type: ignore[arg-type]

        while now[0] < 3600:
            (tmp_path / "none" / "query").unlink(missing_ok=True)
            await look(bad)
            if (tmp_path / "none" / "query").exists():
                asked.append(now[0])
            now[0] += 15
        pauses = [later - earlier for earlier, later in itertools.pairwise(asked)]
        assert pauses[:5] == [15, 30, 60, 120, 240]
        assert set(pauses[5:]) == {300}
        assert "it is asked again after 300 s" in str((await health.ready())["timestamps"])
        now[0] = asked[-1] + 300
        await look(good)
    assert (await health.ready())["timestamps"] is None
    assert [entry["kind"] for entry in await bench.entries()] == ["event", "anchor"]


async def test_an_answer_that_cannot_be_recorded_is_not_asked_for_again_at_once(bench: Bench, tmp_path: Path) -> None:
    await bench.record(bench.writers.record("DeviceLocked", _ONE))
    await bench.publish()
    (tmp_path / "state").mkdir()
    longer = Checkpoint(ORIGIN, 9, bytes(32))
    note = SignedNote(longer.text(), (LOG_KEYS[0].sign(longer, 1),))
    (tmp_path / "state" / "checkpoint").write_bytes(bytes(note))
    guard = Guard(ORIGIN, [LOG_KEYS[0].verifier], tmp_path / "state", None)
    clerk = Clerk(bench.units, Timeline(LeafBuilder(BLINDING), guard), LeafBuilder(BLINDING))
    async with authority(tmp_path / "tsa") as (url, root), httpx2.AsyncClient() as http:
        stamps = Timestamps(url, root.read_bytes(), http)
        hourly = Hourly(bench.dsn, clerk, bench.reader, stamps, Kept(tmp_path / "out"), Health(), clock=lambda: 0.0)
        async with bench.pool.acquire() as connection:
            listening = SimpleNamespace(connection=connection)
            with pytest.raises(ForkedError):
                await hourly.stamp(listening, stamps)  # type: ignore[arg-type]
            (tmp_path / "tsa" / "query").unlink()
            await hourly.stamp(listening, stamps)  # type: ignore[arg-type]
    assert not (tmp_path / "tsa" / "query").exists()


async def test_an_authority_that_gives_a_byte_now_and_then_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timestamps, "_TIMEOUT_SECONDS", 0.3)
    async with authority(tmp_path / "tsa") as (_, root), dripping() as url, httpx2.AsyncClient() as http:
        with pytest.raises(TimestampError, match="TimeoutError"):
            await Timestamps(url, root.read_bytes(), http).stamp(b"note")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (b"\x30\x03\x02\x01\x03", "status 3, waiting;"),
        (b"\x30\x03\x02\x01\x7f", "status 127;"),
        (b"\x30\x04\x02\x02\x00\x00", "status 0;"),
        (b"\x30\x07\x02\x01\x02\x30\x02\x0c\x00", "status 2, rejection;"),
        (b"\x30\x08\x02\x01\x02\x30\x03\x0c\x01\xff", "status 2, rejection: \ufffd;"),
    ],
)  # fmt: skip
def test_a_refusal_of_any_form_names_its_status(status: bytes, said: str) -> None:
    with pytest.raises(verify.BadError, match=re.escape(said)):
        verify.Stamp(b"\x30" + bytes([len(status)]) + status)


async def test_whatever_a_timestamp_is_the_verifier_says_so(tmp_path: Path) -> None:
    async with authority(tmp_path / "tsa") as (url, root), httpx2.AsyncClient() as http:
        response = await Timestamps(url, root.read_bytes(), http).stamp(b"note")
    roots, usage = [root.read_bytes()], b"\x55\x1d\x25"
    assert usage in response
    without_usage = response.replace(usage, b"\x55\x1d\x24")
    without_time = re.sub(rb"\x18(?=.20\d{12})", b"\x16", response)
    assert without_time != response
    for changed in (without_usage, without_time):
        with pytest.raises((verify.BadError, IndexError)):
            verify.Stamp(changed).verifies(roots)


async def test_a_change_of_keys_is_signed_by_the_old_one(bench: Bench) -> None:
    clerk = Clerk(bench.units, bench.timeline, LeafBuilder(BLINDING))
    await bench.record(bench.writers.record("DeviceLocked", _ONE))
    await clerk.keys(LOG_KEYS[0], LOG_KEYS)
    export = await clerk.export(_ONE, "acme-kk", [], "service/audit")
    await bench.publish()
    published = await bench.reader.newest()
    assert published is not None
    wanted = Wanted(export, published, f"log {_VKEY}\nquorum none\n")
    with zipfile.ZipFile(io.BytesIO(await Assembly(bench.reader, LOG_KEYS[0], wanted).build())) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    report = verify.Bundle(files, verify.Options(verify.policy_of([_VKEY]))).check()
    assert next(check["detail"] for check in report.checks if check["name"] == "keys").startswith("1 changes of keys")
    assert report.outcome == "proved"
