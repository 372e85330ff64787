"""The tools, each at one version, run by `go run`; nothing of them comes into this project."""

import asyncio
import base64
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2

from services.audit.tlog.tree import EMPTY_ROOT
from tests.audit.running import eventually
from tests.stack.service import free_port

FSCK = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4"
SPICY = "filippo.io/torchwood/cmd/spicy@v0.10.0"
_LITEWITNESS = "filippo.io/torchwood/cmd/litewitness@v0.10.0"
_WITNESS = "github.com/transparency-dev/witness/cmd/{}@v0.0.0-20260720115447-2e1c6971d19e"
_OMNIWITNESS, _GENERATE_KEYS = _WITNESS.format("omniwitness"), _WITNESS.format("generate_keys")
_WITHIN = 900.0
"""The first time they are compiled."""


async def said_by(tool: str, *arguments: str) -> str:
    """All that a tool printed until it ended."""
    process = await asyncio.create_subprocess_exec(
        *_go(), "run", tool, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), _WITHIN)
    return said.decode(errors="replace")


@asynccontextmanager
async def lite_witness(folder: Path, origin: str, vkey: str) -> AsyncIterator[Sequence[str]]:
    """litewitness, which keeps its key in an ssh-agent; yields its lines of a policy."""
    home = folder / "lite"
    home.mkdir()
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "key"))
    fingerprint = _run("ssh-keygen", "-lf", str(home / "key")).split()[1]
    agent = _start(home / "agent.said", "ssh-agent", "-D", "-a", str(home / "agent"))
    try:
        await eventually(lambda: _there(home / "agent"))
        _run("ssh-add", "-q", str(home / "key"), SSH_AUTH_SOCK=str(home / "agent"))
        port = free_port()
        arguments = ["-name", "witness.example/lite", "-db", home / "db", "-key", fingerprint]
        arguments += ["-ssh-agent", home / "agent", "-listen", f"127.0.0.1:{port}"]
        async with _playing(home, port, _LITEWITNESS, *map(str, arguments)):
            # What its witnessctl does; that one does not compile where a module that it needs is not served.
            with sqlite3.connect(home / "db") as database:
                database.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, base64.b64encode(EMPTY_ROOT).decode()))
                database.execute("INSERT INTO key VALUES (?, ?)", (origin, vkey))
            database.close()
            (said,) = [line for line in (home / "said").read_text().splitlines() if "vkey=" in line]
            yield [f"witness lite {said.partition('vkey=')[2].strip()} http://127.0.0.1:{port}"]
    finally:
        agent.terminate()
        agent.wait(10)


@asynccontextmanager
async def omni_witness(folder: Path, origin: str, vkey: str) -> AsyncIterator[Sequence[str]]:
    """omniwitness with two keys; yields its lines of a policy."""
    home = folder / "omni"
    home.mkdir()
    (home / "logs.yaml").write_text(
        f"Logs:\n  - Origin: {origin}\n    URL: http://127.0.0.1:9\n    PublicKey: {vkey}\n"
    )
    kinds = {"ed25519": [], "mldsa44": ["--mldsa"]}
    port = free_port()
    arguments = ["--listen", f"127.0.0.1:{port}", "--metrics_listen=", "--db_file", home / "db", "--logtostderr"]
    arguments += ["--additional_logs", home / "logs.yaml"]
    for kind, more in kinds.items():
        files = ["--out_priv", str(home / f"{kind}.key"), "--out_pub", str(home / f"{kind}.pub")]
        await said_by(_GENERATE_KEYS, "--origin", "witness.example/omni", *more, *files)
        arguments += ["--private_key_path", home / f"{kind}.key"]
    async with _playing(home, port, _OMNIWITNESS, *map(str, arguments)):
        yield [
            f"witness omni-{kind} {(home / f'{kind}.pub').read_text().strip()} http://127.0.0.1:{port}"
            for kind in kinds
        ]


@asynccontextmanager
async def _playing(home: Path, port: int, tool: str, *arguments: str) -> AsyncIterator[None]:
    """Run it until it is left. What it prints is in `said`."""
    process = _start(home / "said", *_go(), "run", tool, *arguments)
    try:
        await eventually(lambda: _answers(port, process), _WITHIN)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


async def _answers(port: int, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "it ended by itself"
    async with httpx2.AsyncClient(timeout=2) as http:
        try:
            await http.get(f"http://127.0.0.1:{port}/")
        except httpx2.HTTPError:
            await asyncio.sleep(0.2)
            return False
    return True


async def _there(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)


def _start(said_to: Path, *command: str) -> "subprocess.Popen[bytes]":
    """In a group of its own, which is ended as a whole: `go run` starts what it compiled."""
    with said_to.open("wb") as said:
        return subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)


def _go() -> list[str]:
    go = shutil.which("go")
    if go is None:
        raise SystemExit("`make outsiders` needs Go 1.27 or newer on the path")
    return [go]


def _run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | environment)
    return done.stdout
