"""Where it happens: a database server of its own, the run's broker, a witness, and the parts of one audit service."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from confluent_kafka.admin import AdminClient, NewTopic

from lostphone import database
from lostphone.embedded import EmbeddedPostgres
from lostphone.installation import Installation
from sandbox.identity import Identity
from sandbox.part import Part
from sandbox.playing import served
from sandbox.tokens import bearer
from sandbox.witness import Witness
from services.audit.tlog import Checkpoint, SignedNote, VerifierKey, WitnessKey
from tests.audit.conftest import LOG_KEYS, ORIGIN
from tests.audit.records import Writers
from tests.audit.running import OPERATOR, audit_settings, eventually
from tests.chaos.audit import parts
from tests.stack.installed import PASSWORDS, with_database

_DATABASE = "timeline"
_PARTITIONS = 4
_UP_WITHIN = 120.0
_LAST_WORDS = 1500


class _Remembering(Witness):
    """Keeps every checkpoint that it cosigned, published or not."""

    def __init__(self, part: Part, keys: list[WitnessKey], logs: list[VerifierKey]) -> None:
        super().__init__(part, keys, logs)
        self.cosigned: list[bytes] = []

    def _store(self, origin: str, note: bytes) -> None:
        super()._store(origin, note)
        self.cosigned.append(note)


@dataclass
class Ground:
    """Methods that start or kill block for a moment; only one task calls them."""

    folder: Path
    bootstrap: str
    superuser: str
    postgres: EmbeddedPostgres
    writers: Writers
    witness: _Remembering
    told: Mapping[str, Any]
    """Settings of the service."""
    http: httpx2.AsyncClient
    processes: dict[str, parts.Process] = field(default_factory=dict)
    died: list[str] = field(default_factory=list)
    """What parts said last that ended without having been killed."""

    @property
    def topic(self) -> str:
        return self.writers.topic

    async def token(self) -> str:
        """An auditor's, of the operator."""
        claims = {"organisation": OPERATOR, "roles": ["auditor"], "name": "監査", "locale": "ja"}
        return await bearer(self.http, str(self.told["oidc_issuer"]), secrets.token_hex(8), claims=claims)

    async def kill(self, name: str) -> None:
        if name == "postgres":
            await asyncio.to_thread(self.postgres.kill)
            return
        self.look_at(name)
        process = self.processes.pop(name)
        process.kill()
        await asyncio.to_thread(process.join)

    def look_at(self, name: str) -> None:
        """Keep what it said last if it ended by itself."""
        if (status := self.processes[name].exitcode) is not None:
            said = (self.folder / f"{name}.log").read_text()[-_LAST_WORDS:]
            self.died.append(f"{name} ended by itself with {status}: {said}")

    async def start(self, name: str) -> None:
        if name == "postgres":
            await asyncio.to_thread(self.postgres.start)
            return
        said = self.folder / f"{name}.log"
        self.processes[name] = await asyncio.to_thread(parts.start, name, self.told, self.topic, said)


@asynccontextmanager
async def ground(folder: Path, bootstrap: str) -> AsyncIterator[Ground]:
    """All parts run. `folder` must be open to the account of PostgreSQL, and `bootstrap` have every topic."""
    writers = Writers(folder, topic=f"lostphone.test.{secrets.token_hex(6)}")
    postgres = EmbeddedPostgres(folder / "postgres", durable=False)
    ports = {name: _free() for name in ("identity", "witness", "http")}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    async with AsyncExitStack() as stack:
        superuser = await asyncio.to_thread(postgres.start)
        stack.callback(postgres.kill)
        await database.prepare(superuser, _DATABASE, PASSWORDS)
        await database.migrate_all(with_database(superuser, _DATABASE), ("audit",))
        await asyncio.to_thread(
            admin.create_topics([NewTopic(writers.topic, _PARTITIONS, 1)])[writers.topic].result, 60
        )
        stack.callback(admin.delete_topics, [writers.topic])
        witness = await _outside(stack, folder, ports)
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=10))
        dsn = f"postgresql://audit:{PASSWORDS['audit']}@{superuser.rpartition('@')[2].partition('/')[0]}/{_DATABASE}"
        numbers = {name: taken.getsockname()[1] for name, taken in ports.items()}
        ports["http"].close()
        told = audit_settings(
            folder,
            writers,
            Installation.open(folder / "installation"),
            (numbers["http"], numbers["identity"]),
            kafka_bootstrap=bootstrap,
            postgres_dsn=dsn,
            postgres_connections=4,
            log_policy_file=folder / "policy.txt",
            log_state_dir=folder / "published",
        )
        place = Ground(folder, bootstrap, with_database(superuser, _DATABASE), postgres, writers, witness, told, http)
        stack.callback(_end, place)
        for name in parts.NAMES:
            await place.start(name)
        await eventually(lambda: _answers(place), _UP_WITHIN)
        yield place


async def _outside(stack: AsyncExitStack, folder: Path, ports: Mapping[str, socket.socket]) -> _Remembering:
    """The witness and the identity provider, in this process: they do not die."""
    identity, watching = Part("identity", folder), Part("witness", folder)
    keys = [WitnessKey("witness.example/chaos", key.key) for key in LOG_KEYS]
    witness = _Remembering(watching, keys, [key.verifier for key in LOG_KEYS])
    issuer = f"http://127.0.0.1:{ports['identity'].getsockname()[1]}"
    for part, application, name in (
        (identity, Identity(identity, issuer).application(), "identity"),
        (watching, witness.application(), "witness"),
    ):
        stack.callback(part.journal.close)
        await stack.enter_async_context(served(application, ports[name]))
    lines = [f"log {key.verifier}" for key in LOG_KEYS]
    url = f"http://127.0.0.1:{ports['witness'].getsockname()[1]}"
    lines += [f"witness w{at} {key.verifier} {url}" for at, key in enumerate(keys)]
    (folder / "policy.txt").write_text("\n".join([*lines, "group both all w0 w1", "quorum both", ""]))
    return witness


async def newest(place: Ground) -> SignedNote | None:
    """The checkpoint that is served now, if one is."""
    try:
        answer = await place.http.get(f"{place.told['public_url']}/checkpoint")
    except httpx2.HTTPError:
        return None
    return SignedNote.parse(answer.content) if answer.status_code == httpx2.codes.OK else None


async def _answers(place: Ground) -> bool:
    note = await newest(place)
    return note is not None and Checkpoint.parse(note.text).origin == ORIGIN


def _end(place: Ground) -> None:
    for process in place.processes.values():
        process.kill()
        process.join()


def _free() -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", 0))
    return taken
