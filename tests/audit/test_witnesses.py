"""A checkpoint is published when the witnesses of the policy signed it; one that refuses stops it, a dead one does not
stop what is written."""

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.part import Part
from sandbox.playing import served
from sandbox.witness import Witness
from services.audit.guard import ForkedError, Guard
from services.audit.publisher import Publisher, UnwitnessedError
from services.audit.tlog import (
    EMPTY_ROOT,
    Checkpoint,
    Edge,
    Policy,
    Proofs,
    SignedNote,
    WitnessKey,
    leaf_hash,
)
from services.audit.tlog.note import Signature
from services.audit.witnesses import Prove, Witnesses, _request
from shared.telemetry import Health
from tests.audit.conftest import LOG_KEYS, ORIGIN, Bench

_ONE = "0192f0c1-0000-7000-8000-000000000001"
_NAME = "witness.example/one"
_KEYS = [
    WitnessKey(_NAME, Ed25519PrivateKey.from_private_bytes(b"w" * 32)),
    WitnessKey(_NAME, MLDSA44PrivateKey.from_seed_bytes(b"w" * 32)),
]
_LOGS = [key.verifier for key in LOG_KEYS]


def _policy(url: str, quorum: str = "one") -> Policy:
    lines = [f"log {vkey}" for vkey in _LOGS]
    lines += [f"witness {name} {key.verifier} {url}" for name, key in zip(("ed", "pq"), _KEYS, strict=True)]
    return Policy.parse("\n".join([*lines, "group one all ed pq", f"quorum {quorum}", ""]))


@dataclass
class Watched:
    """A witness that runs, and a publisher that asks it."""

    part: Part
    url: str
    http: httpx2.AsyncClient
    bench: Bench

    def publisher(self, quorum: str = "one", guard: Guard | None = None) -> Publisher:
        witnesses = Witnesses(_policy(self.url, quorum), self.http)
        return Publisher(
            self.bench.dsn, ORIGIN, LOG_KEYS, Health(), witnesses=witnesses, guard=guard, units=self.bench.units
        )

    async def publish(self, publisher: Publisher) -> bool:
        async with self.bench.pool.acquire() as connection:
            return await publisher.publish(connection)

    async def note(self) -> SignedNote:
        newest = await self.bench.reader.newest()
        assert newest is not None
        return SignedNote.parse(newest.note)


@pytest.fixture
async def watched(bench: Bench, tmp_path: Path) -> AsyncIterator[Watched]:
    part = Part("witness", tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with served(Witness(part, _KEYS, _LOGS).application(), taken), httpx2.AsyncClient() as http:
            yield Watched(part, url, http, bench)
    part.journal.close()


async def _grow(bench: Bench, count: int) -> None:
    await bench.record(*(bench.writers.record("DeviceLocked", _ONE) for _ in range(count)))


async def test_a_checkpoint_carries_the_signatures_of_the_witness(watched: Watched) -> None:
    publisher = watched.publisher()
    for count in (3, 1, 300):
        await _grow(watched.bench, count)
        assert await watched.publish(publisher)
    note = await watched.note()
    everyone = [*_LOGS, *(key.verifier for key in _KEYS)]
    assert note.verified_by(everyone) == everyone
    seen = await watched.http.get(f"{watched.url}/{_hexed(ORIGIN)}/checkpoint")
    assert SignedNote.parse(seen.content).text == note.text


async def test_after_a_restart_the_witness_says_from_where_to_prove(watched: Watched) -> None:
    await _grow(watched.bench, 3)
    await watched.publish(watched.publisher())
    # Signed by the witness, and not stored by the log before it died.
    await _grow(watched.bench, 4)
    size, root = 7, await watched.bench.reader.root(7)
    note = _signed(Checkpoint(ORIGIN, size, root))
    async with watched.bench.pool.acquire() as connection:
        answers = await Witnesses(_policy(watched.url), watched.http).cosign(
            Checkpoint(ORIGIN, size, root), note, _prover(watched.bench, size), 3
        )
        assert answers.signed == {"ed", "pq"}
        assert connection is not None
    await _grow(watched.bench, 2)
    assert await watched.publish(watched.publisher())
    assert Checkpoint.parse((await watched.note()).text).size == 9


async def test_another_history_is_refused_and_nothing_is_published(watched: Watched) -> None:
    other, _ = Edge().append([leaf_hash(b"other"), leaf_hash(b"history")])
    forged = Checkpoint(ORIGIN, 2, other.root())
    body = b"old 0\n\n" + bytes(_signed(forged))
    assert (await watched.http.post(f"{watched.url}/add-checkpoint", content=body)).status_code == 200
    await _grow(watched.bench, 5)
    publisher = watched.publisher()
    with pytest.raises(UnwitnessedError, match="HTTP 422") as refused:
        await watched.publish(publisher)
    assert refused.value.refusals[0].code == "witness_fork"
    with pytest.raises(UnwitnessedError, match="HTTP 422"):
        await watched.publish(watched.publisher("none"))
    assert await watched.bench.reader.newest() is None, "nor where the policy would do without the witness"
    await publisher._wait_for_witnesses(UnwitnessedError(refused.value.refusals, ()))
    (finding,) = await watched.bench.outbox()
    assert (finding["topic"], json.loads(finding["value"])["finding"]) == (
        "lostphone.integrity-finding.v1",
        "witness_fork",
    )


async def test_a_witness_that_knows_more_than_the_log_is_a_fork(watched: Watched) -> None:
    other, _ = Edge().append([leaf_hash(b"more")] * 9)
    body = b"old 0\n\n" + bytes(_signed(Checkpoint(ORIGIN, 9, other.root())))
    assert (await watched.http.post(f"{watched.url}/add-checkpoint", content=body)).status_code == 200
    await _grow(watched.bench, 5)
    with pytest.raises(UnwitnessedError, match="knows a log of 9 entries") as refused:
        await watched.publish(watched.publisher())
    assert refused.value.refusals[0].code == "witness_fork"


async def test_a_dead_witness_stops_no_entry_and_the_policy_says_whether_a_checkpoint_waits(
    watched: Watched,
) -> None:
    await _grow(watched.bench, 2)
    away = Witnesses(_policy("http://127.0.0.1:9"), watched.http)
    publisher = Publisher(watched.bench.dsn, ORIGIN, LOG_KEYS, Health(), witnesses=away)
    with pytest.raises(UnwitnessedError, match="does not answer"):
        await watched.publish(publisher)
    await _grow(watched.bench, 2)
    assert len(await watched.bench.entries()) == 4
    content_alone = Witnesses(_policy("http://127.0.0.1:9", "none"), watched.http)
    assert await watched.publish(Publisher(watched.bench.dsn, ORIGIN, LOG_KEYS, Health(), witnesses=content_alone))


async def _without_end() -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(0)
        yield b"\xe2\x80\x94 a AAAAAAAA\n" * 1_000


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Response("", 409), "witness_fork"),
        (Response("7\n", 409, media_type="text/plain"), "witness_fork"),
        (PlainTextResponse("no", 403), "witness_refused"),
        (PlainTextResponse("no", 404), "witness_refused"),
        (PlainTextResponse("broken", 500), "witness_refused"),
        (PlainTextResponse("not a signature\n", 200), "witness_refused"),
        (PlainTextResponse("— witness.example/one AAAAAAAAAAAA\n", 200), "witness_refused"),
        (StreamingResponse(_without_end()), "witness_refused"),
    ],
    ids=["409 empty", "409 of another type", "403", "404", "500", "no signature", "a stranger's", "without end"],
)
async def test_whatever_is_neither_a_signature_nor_a_size_is_a_refusal(
    bench: Bench, answer: Response, code: str
) -> None:
    async def add(_: Request) -> Response:
        return answer

    app = Starlette(routes=[Route("/add-checkpoint", add, methods=["POST"])])
    await _grow(bench, 2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with served(app, taken), httpx2.AsyncClient() as http:
            witnesses = Witnesses(_policy(f"http://127.0.0.1:{taken.getsockname()[1]}"), http)
            root = await bench.reader.root(2)
            answers = await witnesses.cosign(
                Checkpoint(ORIGIN, 2, root), _signed(Checkpoint(ORIGIN, 2, root)), _prover(bench, 2), 0
            )
    assert [refusal.code for refusal in answers.refusals] == [code]
    assert not answers.signatures


@pytest.mark.parametrize(
    ("time", "said"),
    [(0, "states no time"), (1, None), (2**63 - 1, None), (2**63, "is wrong"), (2**64 - 1, "is wrong")],
    ids=["none", "long ago", "the last", "one later", "the last that 64 bits state"],
)
@pytest.mark.parametrize("key", _KEYS, ids=["ed25519", "mldsa44"])
async def test_a_cosignature_states_a_time_that_one_may_state(
    bench: Bench, key: WitnessKey, time: int, said: str | None
) -> None:
    await _grow(bench, 2)
    note = _signed(Checkpoint(ORIGIN, 2, await bench.reader.root(2)))

    async def add(_: Request) -> Response:
        return PlainTextResponse(key.cosign(note.text, time).line())

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        app = Starlette(routes=[Route("/add-checkpoint", add, methods=["POST"])])
        async with served(app, taken), httpx2.AsyncClient() as http:
            witnesses = Witnesses(_policy(f"http://127.0.0.1:{taken.getsockname()[1]}"), http)
            answers = await witnesses.cosign(Checkpoint.parse(note.text), note, _prover(bench, 2), 0)
    assert len(answers.signatures) == (said is None)
    assert [(refusal.code, said in refusal.reason) for refusal in answers.refusals if said] == (
        [("witness_refused", True)] if said else []
    )


async def test_the_witness_answers_as_the_protocol_says(watched: Watched) -> None:
    edge, _ = Edge().append([leaf_hash(bytes([at])) for at in range(4)])
    note = bytes(_signed(Checkpoint(ORIGIN, 4, edge.root())))

    async def ask(body: bytes) -> httpx2.Response:
        return await watched.http.post(f"{watched.url}/add-checkpoint", content=body)

    assert (await ask(b"old 5\n\n" + note)).status_code == 400
    assert (await ask(b"old x\n\n" + note)).status_code == 400
    conflict = await ask(b"old 3\n\n" + note)
    # Word for word, without a charset: Tessera and others compare it so.
    assert (conflict.status_code, conflict.text, conflict.headers["content-type"]) == (409, "0\n", "text/x.tlog.size")
    stranger = WitnessKey("log.example/acme", _KEYS[0].key)
    unsigned = SignedNote(
        Checkpoint(ORIGIN, 4, edge.root()).text(), (stranger.cosign(Checkpoint(ORIGIN, 4, edge.root()).text(), 1),)
    )
    assert (await ask(b"old 0\n\n" + bytes(unsigned))).status_code == 403
    elsewhere = SignedNote(Checkpoint("other.example", 4, edge.root()).text(), unsigned.signatures)
    assert (await ask(b"old 0\n\n" + bytes(elsewhere))).status_code == 404
    empty = bytes(_signed(Checkpoint(ORIGIN, 0, edge.root())))
    assert (await ask(b"old 0\n\n" + empty)).status_code == 422
    assert (await ask(b"old 0\n\n" + note)).status_code == 200
    assert (await ask(b"old 4\n\n" + note)).status_code == 200
    other = bytes(_signed(Checkpoint(ORIGIN, 4, leaf_hash(b"other"))))
    assert (await ask(b"old 4\n\n" + other)).status_code == 422


_STRANGERS = [Signature("stranger.example", bytes([0, 0, 0, at]), b"s") for at in range(98)]


@pytest.mark.parametrize("more", [_STRANGERS, None], ids=["of others", "its own again"])
async def test_more_lines_under_a_checkpoint_do_not_stop_the_witness(
    watched: Watched, more: list[Signature] | None
) -> None:
    """Whoever reads the log's public checkpoint may hand it in, with more under it than a note may have."""
    hashes = [leaf_hash(bytes([at])) for at in range(5)]
    edges = [Edge().append(hashes[:size])[0] for size in (4, 5)]
    first, second = (_signed(Checkpoint(ORIGIN, edge.size, edge.root())) for edge in edges)
    full = SignedNote(first.text, (*first.signatures, *(more or [first.signatures[0]] * 98)))
    url = f"{watched.url}/add-checkpoint"
    assert (await watched.http.post(url, content=b"old 0\n\n" + bytes(full))).status_code == 200
    kept = SignedNote.parse((await watched.http.get(f"{watched.url}/{_hexed(ORIGIN)}/checkpoint")).content)
    everyone = [*_LOGS, *(key.verifier for key in _KEYS)]
    assert kept.verified_by(everyone) == everyone
    assert len(kept.signatures) == len(everyone)
    body = await _request(4, second, _proof_from(edges[0]))
    assert (await watched.http.post(url, content=body)).status_code == 200


async def test_what_is_too_long_to_be_asked_and_what_is_no_hash_is_refused(watched: Watched) -> None:
    assert (await watched.http.post(f"{watched.url}/add-checkpoint", content=bytes(65_537))).status_code == 400
    note = bytes(_signed(Checkpoint(ORIGIN, 0, EMPTY_ROOT)))
    assert (await watched.http.post(f"{watched.url}/add-checkpoint", content=b"old 0\n\n" + note)).status_code == 200
    for path, status in ((_hexed(ORIGIN), 200), (_hexed(ORIGIN) + "ab", 404), (_hexed("x"), 404), ("g" * 64, 404)):
        assert (await watched.http.get(f"{watched.url}/{path}/checkpoint")).status_code == status


async def test_a_database_from_a_backup_is_not_written_to(watched: Watched, tmp_path: Path) -> None:
    bench = watched.bench
    guard = Guard(ORIGIN, _LOGS, tmp_path / "kept", None)
    await _grow(bench, 5)
    await watched.publish(watched.publisher(guard=guard))
    async with bench.pool.acquire() as connection:
        await guard.check(connection, 5)
        with pytest.raises(ForkedError, match="older backup"):
            await guard.check(connection, 4)
        (tmp_path / "kept" / "checkpoint").write_bytes(bytes(_signed(Checkpoint(ORIGIN, 3, leaf_hash(b"other")))))
        with pytest.raises(ForkedError, match="are not those"):
            await guard.check(connection, 5)
        by_witness = Guard(ORIGIN, _LOGS, None, Witnesses(_policy(watched.url), watched.http))
        await by_witness.look()
        with pytest.raises(ForkedError, match="the witness"):
            await by_witness.check(connection, 4)


def _signed(checkpoint: Checkpoint) -> SignedNote:
    return SignedNote(checkpoint.text(), tuple(key.sign(checkpoint, 1) for key in LOG_KEYS))


def _prover(bench: Bench, size: int) -> Prove:
    async def prove(old: int) -> list[bytes]:
        return await bench.reader.hashes(size, Proofs(size).consistency(old))

    return prove


def _proof_from(edge: Edge) -> Prove:
    """For the one entry behind a tree of four: its hash alone leads from there."""

    async def prove(_: int) -> list[bytes]:
        assert edge.size == 4
        return [leaf_hash(bytes([4]))]

    return prove


def _hexed(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()
