"""Evidence that was made to harm whoever checks it: the verifiers end, in the memory that they need, with an exit
status and a sentence, and nothing in that sentence reaches a terminal as anything but words."""

import asyncio
import gzip
import io
import json
import os
import socket
import struct
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from typer.testing import CliRunner

from lostphone.verify import DirectorySource, HttpSource, UnreadableError, app, run
from lostphone.verify.bundle import check_bundle
from sandbox.playing import served
from services.audit.evidence import verify
from services.audit.tlog import Policy, pack_bundle
from tests.audit.dripping import HEAD, dripping
from tests.audit.forger import EXPORT, KEYS, POLICY, STRANGER, Forger

_VKEY = str(KEYS[0])
_CLOSED = ["ce_type", verify.CLOSED]


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger(tmp_path)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    (tmp_path / "policy").write_text(POLICY)
    return tmp_path / "policy"


def _reason(place: Path) -> str:
    report = verify.check_bundle(place, verify.Options(verify.Policy(POLICY)))
    assert report.outcome == "disproved"
    return str(report.offences[0]["reason"])


def test_an_archive_of_more_files_than_one_can_have_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(verify.MAX_BUNDLE_FILES + 1):
            archive.writestr(str(number), b"")
    assert "more than 65535 files" in _reason(tmp_path / "many.zip")


def test_an_archive_that_two_programs_may_read_in_two_ways_is_refused(tmp_path: Path, forger: Forger) -> None:
    packed = verify.pack(forger.manifest(forger.files()))
    where = tmp_path / "evidence.zip"
    (first,) = struct.unpack_from("<I", packed, len(packed) - 6)
    twice = packed[: packed.index(b"PK\x03\x04", 4)] * 2 + packed[first:]
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = archive.namelist()
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(packed)) as archive,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed_anew,
    ):
        for name in names:
            packed_anew.writestr(name, archive.read(name))
    for data, said in (
        (twice, "twice"),
        (buffer.getvalue(), "packed anew"),
        (b"x" + packed, "byte for byte"),
        (packed + b"x", "byte for byte"),
        (packed[:-1], "byte for byte"),
        (packed[:40], "byte for byte"),
        (packed[:20], "damaged"),
    ):
        where.write_bytes(data)
        assert said in _reason(where)
    where.write_bytes(packed)
    assert verify.unpack(where) == forger.manifest(forger.files())


@pytest.mark.parametrize("harm", ["pipe", "link", "device", "sparse"])
def test_in_a_folder_only_files_are_read_and_no_more_than_a_bundle_has(
    tmp_path: Path, forger: Forger, policy: Path, capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    folder = tmp_path / "bundle"
    for name, data in forger.manifest(forger.files()).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    at = folder / "entries" / "more"
    if harm == "pipe":
        os.mkfifo(at)
    elif harm == "sparse":
        with at.open("wb") as file:
            file.truncate(verify.MAX_BUNDLE_BYTES)
    else:
        at.symlink_to("/dev/zero" if harm == "device" else folder / "checkpoint")
    status = 1 if harm in ("link", "device") else 2
    assert verify.main(["bundle", str(folder), "--policy", str(policy)]) == status
    assert json.loads(capsys.readouterr().out)["checks"]


@pytest.mark.parametrize("read", [lambda place: DirectorySource(place).read("checkpoint"),
                                  lambda place: verify.reader_of(str(place), None)("checkpoint")])  # fmt: skip
def test_in_a_copy_of_a_log_only_files_are_read(tmp_path: Path, read: Callable[[Path], bytes]) -> None:
    os.mkfifo(tmp_path / "checkpoint")
    with pytest.raises((UnreadableError, verify.UnreadableError), match="not a file"):
        read(tmp_path)


def test_no_terminal_obeys_what_evidence_is_called(
    tmp_path: Path, forger: Forger, policy: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    files = forger.manifest(forger.files())
    files["a\x1b[2J\x9b2J\r\n✓ Result: proved \u202e"] = b""
    place = tmp_path / "evidence.zip"
    place.write_bytes(verify.pack(files))
    assert verify.main(["bundle", str(place), "--policy", str(policy)]) == 1
    assert capsysbinary.readouterr().out.isascii()
    said = CliRunner().invoke(app, [str(place), "--policy", str(policy)], standalone_mode=False)
    assert said.return_value == 1
    assert not {"\x1b", "\x9b", "\u202e"} & set(said.stdout)
    assert not any(line.startswith("✓ Result") for line in said.stdout.splitlines())
    assert "<U+001B>[2J" in said.stdout


@pytest.mark.parametrize("seq", ["9" * 30, "5"])
def test_what_no_json_of_ours_can_say_is_reported_all_the_same(
    tmp_path: Path, forger: Forger, policy: Path, seq: str
) -> None:
    files = forger.files()
    files[f"entries/{seq}.leaf"] = b'{"k":"\\ud800"}\n'
    files["disclosures/0.json"] = json.dumps({"fields": [{"digest": "\ud800"}]}).encode()
    place = tmp_path / "evidence.zip"
    place.write_bytes(verify.pack(forger.manifest(files)))
    assert verify.main(["bundle", str(place), "--policy", str(policy)]) == 1
    for options in ([], ["--json"]):
        said = CliRunner().invoke(app, [str(place), "--policy", str(policy), *options], standalone_mode=False)
        assert said.return_value == 1, said.exception


def test_a_field_that_names_one_erasure_many_times_is_judged_once(tmp_path: Path, forger: Forger) -> None:
    forger.fields[0][1]["erased_by"] = [5] * 1_000_000
    report = verify.Bundle(forger.manifest(forger.files()), verify.Options(verify.Policy(POLICY))).check()
    assert report.outcome == "proved"


def _outcomes(place: Path) -> list[str]:
    alone = verify.check_log(str(place), verify.Options(verify.policy_of([_VKEY])))
    return [alone.outcome, run(DirectorySource(place), KEYS).outcome.value]


def _headers(change: Callable[[list[Any]], object]) -> Callable[[Forger], None]:
    def lie(forger: Forger) -> None:
        line, _, value = forger.rests[2][1:].partition(b"\n")
        said = json.loads(line)
        change(said["h"])
        forger.rests[2] = b"\n" + json.dumps(said).encode() + b"\n" + value

    return lie


@pytest.mark.parametrize(
    ("lie", "outcome"),
    [
        # An event that says twice what it is: both take the first, and neither sees a closing that the other does not.
        (_headers(lambda headers: headers.append(_CLOSED)), "proved"),
        (_headers(lambda headers: headers.insert(0, _CLOSED)), "disproved"),
        (lambda forger: forger.rests.__setitem__(6, forger.rests[6].replace(b'"key"', b'"kez"', 1)), "disproved"),
        (lambda forger: forger.rests.__setitem__(EXPORT, b" "), "disproved"),
        (lambda forger: forger.headers[4].update(p="0"), "disproved"),
        (lambda forger: forger.headers[4].update(s=["x"]), "disproved"),
        (lambda forger: forger.headers[EXPORT].update(k="detached"), "disproved"),
        (lambda forger: forger.headers[4].update(sha256=["x"], size=0), "disproved"),
        (lambda forger: forger.headers[2].update(m="application/cloudevents+json"), "proved"),
    ],
)
def test_both_verifiers_of_a_whole_log_say_the_same_of_it(
    tmp_path: Path, forger: Forger, lie: Callable[[Forger], None], outcome: str
) -> None:
    lie(forger)
    if outcome == "proved":
        forger.settle()
    place = forger.save(tmp_path / "log")
    assert _outcomes(place) == [outcome, outcome]
    assert verify.main(["log", str(place), "--vkey", _VKEY]) == (0 if outcome == "proved" else 1)


def test_nothing_is_read_of_a_log_that_nobody_trusted_signed(tmp_path: Path, forger: Forger) -> None:
    place = forger.save(tmp_path / "log")
    (place / "checkpoint").write_bytes(forger.note(1 << 40, key=STRANGER, root=bytes(32)))
    report = verify.check_log(str(place), verify.Options(verify.policy_of([_VKEY])))
    assert [check["name"] for check in report.checks] == ["signature"]
    assert _outcomes(place) == ["disproved", "disproved"]


def _named(place: Path) -> list[int | None]:
    """The entry that each of them names."""
    alone = verify.check_log(str(place), verify.Options(verify.policy_of([_VKEY]))).document()["first_offence"]
    offence = run(DirectorySource(place), KEYS).first_offence
    assert alone is not None
    assert offence is not None
    return [alone["seq"], offence.seq]


_DEEP = b"[" * 25_000 + b"]" * 25_000


@pytest.mark.parametrize(
    "leaf",
    [
        b'{"k":"event","x":' + _DEEP + b"}\n{}\n",
        b'{"k":"event","m":null}\n{"key":"","h":' + _DEEP + b"}\n" + verify.CLOSED.encode(),
        b'{"k":"event","m":"application/cloudevents+json"}\n{"key":"","h":[]}\n["' + verify.CLOSED.encode() + b'",'
        + _DEEP + b"]",
        _DEEP,
    ],
)  # fmt: skip
def test_an_entry_that_nests_without_end_is_named_by_both(tmp_path: Path, forger: Forger, leaf: bytes) -> None:
    leaves = forger.leaves()
    leaves[4] = leaf
    forger.leaves = lambda: leaves  # type: ignore[method-assign]
    place = forger.save(tmp_path / "log")
    assert _outcomes(place) == ["disproved", "disproved"]
    assert _named(place) == [4, 4]


@pytest.mark.parametrize("cut", [1, 3, 700, 2000])
def test_where_a_bundle_of_entries_breaks_off_both_name_the_entry(tmp_path: Path, forger: Forger, cut: int) -> None:
    place = forger.save(tmp_path / "log")
    (bundle,) = (place / "tile/entries").glob("*.p/*")
    whole = bundle.read_bytes()
    bundle.write_bytes(whole[:-cut])
    broken = 0
    while len(whole[:-cut]) >= len(pack_bundle(forger.leaves()[: broken + 1])):
        broken += 1
    assert _named(place) == [broken, broken]
    bundle.write_bytes(whole + b"x")
    assert _named(place) == [0, 0]


def test_a_log_that_shrank_is_named_alike(tmp_path: Path, forger: Forger) -> None:
    kept = forger.note()
    del forger.headers[EXPORT], forger.rests[EXPORT]
    place = forger.save(tmp_path / "log")
    report = verify.check_log(str(place), verify.Options(verify.policy_of([_VKEY]), [kept]))
    offence = run(DirectorySource(place), KEYS, earlier=[kept]).first_offence
    assert offence is not None
    assert report.document()["first_offence"]["seq"] == offence.seq == EXPORT


def test_a_kind_that_is_half_a_character_is_reported(tmp_path: Path, forger: Forger) -> None:
    forger.headers[4]["k"] = "\\ud800"
    escaped = [leaf.replace(b"\\\\ud800", b"\\ud800") for leaf in forger.leaves()]
    forger.leaves = lambda: escaped  # type: ignore[method-assign]
    place = forger.save(tmp_path / "log")
    assert _outcomes(place) == ["disproved", "disproved"]
    assert verify.main(["log", str(place), "--vkey", _VKEY]) == 1
    options = [str(place), "--vkey", _VKEY, "--data-dir", str(tmp_path / "none")]
    for more in ([], ["--json"]):
        assert CliRunner().invoke(app, [*options, *more], standalone_mode=False).return_value == 1


def test_the_readers_policy_is_asked_about_a_whole_log_too(tmp_path: Path, forger: Forger, policy: Path) -> None:
    place = forger.save(tmp_path / "log")
    assert run(DirectorySource(place), KEYS, policy=Policy.parse(POLICY)).outcome == "proved"
    note = (place / "checkpoint").read_bytes()
    options = [str(place), "--policy", str(policy), "--data-dir", str(tmp_path / "none"), "--json"]
    said = CliRunner().invoke(app, options, standalone_mode=False)
    assert [said.return_value, json.loads(said.stdout)["checks"][1]["name"]] == [0, "quorum"]
    (place / "checkpoint").write_bytes(note[: note.rindex("—".encode())])
    said = CliRunner().invoke(app, options, standalone_mode=False)
    assert [said.return_value, json.loads(said.stdout)["first_offence"]["check"]] == [1, "quorum"]
    (place / "checkpoint").write_bytes(note[:-8] + b"AAAAAA==\n")
    said = CliRunner().invoke(app, options, standalone_mode=False)
    assert said.return_value == 1


def test_a_damaged_bundle_does_not_pass_for_one_that_only_ends_earlier(tmp_path: Path, forger: Forger) -> None:
    files = forger.manifest(forger.files())
    names = {"whole": files, "other": {**files, "entries/7.leaf": b"no leaf"},
             "none": {name: data for name, data in files.items() if name != "MANIFEST.json"}}  # fmt: skip
    for name, one in names.items():
        (tmp_path / name).write_bytes(verify.pack(one))
    assert verify.main(["diff", str(tmp_path / "whole"), str(tmp_path / "whole")]) == 0
    assert verify.main(["diff", str(tmp_path / "whole"), str(tmp_path / "other")]) == 1
    assert verify.main(["diff", str(tmp_path / "none"), str(tmp_path / "whole")]) == 1
    log = forger.save(tmp_path / "log")
    next((log / "tile/entries").glob("*.p/*")).write_bytes(b"\x00")
    assert verify.main(["diff", str(log), str(tmp_path / "whole")]) == 1


def test_the_proof_that_the_report_asks_for_can_be_given(tmp_path: Path, forger: Forger, policy: Path) -> None:
    files = forger.files()
    (tmp_path / "kept").write_bytes(files.pop("previous/4"))
    (tmp_path / "proof").write_bytes(files.pop("consistency/4-13"))
    (tmp_path / "evidence.zip").write_bytes(verify.pack(forger.manifest(files)))
    place, earlier = tmp_path / "evidence.zip", [tmp_path / "kept"]
    assert "--proof 4=FILE" in str(check_bundle(place, policy, [], earlier=earlier).document())
    assert check_bundle(place, policy, [], earlier=earlier, proofs=[f"4={tmp_path}/proof"]).outcome == "proved"


@asynccontextmanager
async def _server(answer: Callable[[Request], Response]) -> AsyncIterator[str]:
    async def endpoint(request: Request) -> Response:
        return answer(request)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with served(Starlette(routes=[Route("/checkpoint", endpoint)]), taken):
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def _served(log: str, token: str | None = None) -> bytes:
    with HttpSource(log, token) as source:
        return source.read("checkpoint")


def _read_alone(log: str, token: str | None = None) -> bytes:
    return verify.reader_of(log, token)("checkpoint")


_READERS = pytest.mark.parametrize("read", [_served, _read_alone])
_UNREADABLE = (UnreadableError, verify.UnreadableError)


@_READERS
async def test_nobody_goes_where_a_log_sends_its_readers_on_to(read: Callable[[str, str], bytes]) -> None:
    seen: list[str | None] = []

    def note(request: Request) -> Response:
        seen.append(request.headers.get("authorization"))
        return Response(b"a note")

    async with _server(note) as other, _server(lambda _: RedirectResponse(f"{other}/checkpoint")) as log:
        with pytest.raises(_UNREADABLE, match=f"HTTP 307.*it is at {other}/checkpoint: give that address"):
            await asyncio.to_thread(read, log, "secret")
        assert await asyncio.to_thread(read, other, "secret") == b"a note"
    assert seen == ["Bearer secret"]


async def _without_end() -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(0)
        yield bytes(1 << 20)


@_READERS
@pytest.mark.parametrize("status", [200, 307])
async def test_an_answer_without_end_is_not_waited_for(read: Callable[[str], bytes], status: int) -> None:
    there = {"Location": "/elsewhere"}
    async with _server(lambda _: StreamingResponse(_without_end(), status, headers=there)) as log:
        with pytest.raises(_UNREADABLE, match=r"longer|HTTP 307"):
            await asyncio.to_thread(read, log)


@_READERS
@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (HEAD, b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X"),
        (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: x\r\n"),
    ],
    ids=["body", "head", "lines of the head", "answers before the answer", "chunks", "trailers"],
)
async def test_a_log_that_comes_byte_by_byte_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[str], bytes], first: bytes, drop: bytes
) -> None:
    monkeypatch.setattr(verify, "PATIENCE_SECONDS", 0.5)
    async with dripping(first, drop) as log:
        with pytest.raises(_UNREADABLE, match="less than 8192 bytes a second"):
            await asyncio.to_thread(read, log.rstrip("/"))


def test_patience_lasts_as_long_as_enough_comes() -> None:
    patience = verify.Patience()
    for _ in range(1000):  # an hour and more, on a line that is just fast enough
        patience.spend(5.0, 5 * verify.SLOWEST_BYTES)
    patience.spend(0.0, 1 << 40)  # what came early is no credit for an hour of nothing
    patience.spend(verify.PATIENCE_SECONDS - 1, 0)
    with pytest.raises(verify.UnreadableError, match="make a copy"):
        patience.spend(1.1, 1)


@_READERS
async def test_what_a_server_compresses_unasked_is_read_and_bounded(read: Callable[[str], bytes]) -> None:
    note = gzip.compress(b"a note")
    bomb = gzip.compress(bytes(verify.MAX_FILE_BYTES + 1))
    for body, encoding, said in (
        (note, "gzip", None),
        (bomb, "gzip", "longer"),
        (note[:-1], "gzip", "does not end"),
        (note + note, "gzip", "does not end"),
        (b"a note", "gzip", "not compressed"),
        (b"a note", "br", "not known here: br"),
    ):
        async with _server(lambda _, b=body, e=encoding: Response(b, headers={"Content-Encoding": e})) as log:  # type: ignore[misc]
            if said is None:
                assert await asyncio.to_thread(read, log) == b"a note"
                continue
            with pytest.raises(_UNREADABLE, match=said):
                await asyncio.to_thread(read, log)


@_READERS
async def test_an_answer_that_breaks_off_is_unreadable_and_no_lie(read: Callable[[str], bytes]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"half a note")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(_UNREADABLE):
            await asyncio.to_thread(read, url)


async def test_a_server_that_speaks_no_http_is_unreadable() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00 no HTTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(verify.UnreadableError):
            await asyncio.to_thread(verify.reader_of(url, None), "checkpoint")
