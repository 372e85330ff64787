"""A witness of another house: signs a checkpoint only when it continues the last that it saw (c2sp.org/tlog-witness).

`python -m sandbox.witness` plays it as a process of its own, as LOSTPHONE_WITNESS_CONFIG names. It keeps what it saw on
disk, and stores before it answers: after a crash it never signs two histories.
"""

import asyncio
import base64
import binascii
import hashlib
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import BaseModel, ConfigDict
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox.part import Part
from sandbox.playing import served
from services.audit.tlog import (
    EMPTY_ROOT,
    Checkpoint,
    CheckpointError,
    NoteError,
    SignedNote,
    VerifierKey,
    WitnessKey,
    verify_consistency,
)

VARIABLE = "LOSTPHONE_WITNESS_CONFIG"
_SIZE_TYPE = "text/x.tlog.size"
_MAX_LINES = 63
_MAX_BODY = 64 * 1024
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Config(BaseModel):
    """What the process is told."""

    model_config = ConfigDict(extra="forbid")

    data_dir: Path
    host: str = "127.0.0.1"
    port: int
    played: bool = True
    """With the journal and the faults of a part of the sandbox. A witness that counts has neither."""
    name: str
    keys: list[Path]
    """PEM: Ed25519, ML-DSA-44."""
    logs: list[str]
    """Verifier keys of the logs that it watches."""


class Witness:
    """Watches some logs, and signs in its own name."""

    def __init__(self, part: Part, keys: list[WitnessKey], logs: list[VerifierKey]) -> None:
        self._part = part
        self._keys = keys
        self._logs: dict[str, list[VerifierKey]] = {}
        for log in logs:
            self._logs.setdefault(log.name, []).append(log)
        self._lock = asyncio.Lock()

    def application(self, *, played: bool = True) -> ASGIApp:
        routes = [
            Route("/add-checkpoint", self._add, methods=["POST"]),
            Route("/{log:str}/checkpoint", self._newest),
        ]
        if not played:
            return Starlette(routes=[Route("/health/ready", _ready), *routes])
        return self._part.application(routes)

    async def _add(self, request: Request) -> Response:
        try:
            old, proof, note = _request(await _body(request))
            checkpoint = Checkpoint.parse(note.text)
        except (NoteError, CheckpointError, ValueError) as error:
            return PlainTextResponse(f"{error}\n", 400)
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            return PlainTextResponse("this log is not watched\n", 404)
        try:
            signed = {(key.name, key.keyid) for key in note.verified_by(keys)}
        except NoteError as error:
            return PlainTextResponse(f"{error}\n", 403)
        # Anybody may hand in a checkpoint of the log, with as many lines more under it as he likes.
        lines = {(line.name, line.keyid): line for line in note.signatures}
        note = SignedNote(note.text, tuple(line for key, line in lines.items() if key in signed))
        if old > checkpoint.size:
            return PlainTextResponse("old is larger than the checkpoint\n", 400)
        async with self._lock:
            return self._judge(old, proof, note, checkpoint)

    def _judge(self, old: int, proof: list[bytes], note: SignedNote, checkpoint: Checkpoint) -> Response:
        seen = self._seen(checkpoint.origin)
        size = seen.size if seen is not None else 0
        if old != size:
            # Given as a media type it would get a charset behind it, and logs of other makes compare it whole.
            return Response(f"{size}\n", 409, headers={"Content-Type": _SIZE_TYPE})
        if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
            return PlainTextResponse("an empty log has another root\n", 422)
        if seen is not None and size:
            if checkpoint.size == size and checkpoint.root != seen.root:
                return PlainTextResponse("another root was signed for this size\n", 422)
            if not verify_consistency(size, checkpoint.size, seen.root, checkpoint.root, proof):
                return PlainTextResponse("the proof does not lead from the last checkpoint to this one\n", 422)
        elif proof:
            return PlainTextResponse("nothing is proved from an empty log\n", 422)
        now = int(time.time())
        signatures = tuple(key.cosign(note.text, now) for key in self._keys)
        cosigned = SignedNote(note.text, (*note.signatures, *signatures))
        self._store(checkpoint.origin, bytes(cosigned))
        return PlainTextResponse("".join(signature.line() for signature in signatures))

    async def _newest(self, request: Request) -> Response:
        log = request.path_params["log"]
        file = self._part.folder / f"{log[:64]}.checkpoint"
        if not _HASH.fullmatch(log) or not file.exists():
            return PlainTextResponse("this log was not seen\n", 404)
        return Response(file.read_bytes(), media_type="text/plain; charset=utf-8")

    def _seen(self, origin: str) -> Checkpoint | None:
        file = self._file(origin)
        return Checkpoint.parse(SignedNote.parse(file.read_bytes()).text) if file.exists() else None

    def _store(self, origin: str, note: bytes) -> None:
        file = self._file(origin)
        new = file.with_suffix(f".{os.getpid()}.new")
        with new.open("wb") as out:
            out.write(note)
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)

    def _file(self, origin: str) -> Path:
        return self._part.folder / f"{hashlib.sha256(origin.encode()).hexdigest()}.checkpoint"


async def _ready(_: Request) -> Response:
    return PlainTextResponse("ready\n")


async def _body(request: Request) -> bytes:
    """Raises `ValueError` for a longer one than anybody needs, which is not read to its end."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY:
            raise ValueError("the request is too long")
    return bytes(body)


def _request(body: bytes) -> tuple[int, list[bytes], SignedNote]:
    """The size that the log believes us to know, the proof, and the checkpoint."""
    head, separator, note = body.partition(b"\n\n")
    first, *lines = head.decode("ascii").split("\n")
    word, _, size = first.partition(" ")
    if not separator or word != "old" or not size.isdecimal() or (size != "0" and size[0] == "0"):
        raise ValueError("the request begins with `old` and a size")
    if len(lines) > _MAX_LINES:
        raise ValueError("the proof has too many lines")
    try:
        proof = [base64.b64decode(line, validate=True) for line in lines]
    except binascii.Error:
        raise ValueError("a line of the proof is not base64") from None
    return int(size), proof, SignedNote.parse(note)


def witness_key(name: str, pem: Path) -> WitnessKey:
    """Raises `ValueError` when the file holds no Ed25519 or ML-DSA-44 key."""
    key = load_pem_private_key(pem.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey | MLDSA44PrivateKey):
        raise ValueError(f"{pem} is not a witness's key")  # noqa: TRY004 - what the file holds is at fault
    return WitnessKey(name, key)


def witness(config: Config) -> Witness:
    """The witness of a configuration."""
    part = Part("witness", config.data_dir)
    keys = [witness_key(config.name, pem) for pem in config.keys]
    return Witness(part, keys, [VerifierKey.parse(vkey) for vkey in config.logs])


async def _play(config: Config) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((config.host, config.port))
        async with served(witness(config).application(played=config.played), taken):
            await ended.wait()


if __name__ == "__main__":
    if VARIABLE not in os.environ:
        sys.exit(f"{VARIABLE} must name a JSON file")
    asyncio.run(_play(Config.model_validate_json(Path(os.environ[VARIABLE]).read_bytes())))
