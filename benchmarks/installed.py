"""The installation that `make bench` runs against: its own, made for the run, with as many phones as are to be lost."""

import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import httpx2
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import bare
from benchmarks.figures import progress
from lostphone import running
from lostphone.installation import Installation
from lostphone.status import Status

ORGANISATION = "bench-kk"
REPORTS_OF_ONE = 15
"""A person may send 20 a minute."""
_COLUMNS = "asset_tag,platform,model,serial,ownership,supervised,mdm,udid"
_DEVICES = """
INSERT INTO devices (id, serial_number, authenticate, authenticate_at, token_update, token_update_at)
SELECT id, 'S' || left(id, 40), 'bench', now() AT TIME ZONE 'UTC', 'bench', now() AT TIME ZONE 'UTC'
FROM unnest($1::text[]) AS new (id)
"""
_ENROLLMENTS = """
INSERT INTO enrollments (id, device_id, type, topic, push_magic, token_hex, last_seen_at)
SELECT id, id, 'Device', 'bench', 'bench', 'be', now() AT TIME ZONE 'UTC' FROM unnest($1::text[]) AS new (id)
"""


@dataclass(frozen=True)
class Phone:
    """One phone that can be lost once."""

    tag: str
    udid: str


class Installed:
    """A running installation and the bare path beside it."""

    def __init__(self, status: Status, http: httpx2.AsyncClient) -> None:
        self.status = status
        self.http = http
        self.passwords = Installation.read(Path(status.data_dir)).passwords
        self.door = ""
        self._tokens: list[str] = []
        self._rows: list[str] = []

    def superuser(self, database: str = "lostphone") -> str:
        """The superuser's DSN."""
        place = urlsplit(self.status.postgres["reporter"].dsn)
        return f"postgresql://lostphone:{self.passwords['postgres']}@{place.hostname}:{place.port}/{database}"

    async def token(self, *roles: str) -> str:
        """Somebody new with these roles."""
        claims = {"organisation": ORGANISATION, "roles": ["employee", *roles], "name": "計測 太郎", "locale": "ja"}
        asked = {"sub": secrets.token_hex(8), "expires_in": 24 * 3600, "claims": claims}
        said = await self.http.post(f"{self.status.sandbox['identity']}/_token", json=asked)
        return str(said.raise_for_status().json()["access_token"])

    async def enrolled(self, number: int) -> list[Phone]:
        """New phones that only NanoMDM knows."""
        made = [Phone(f"B{secrets.token_hex(6)}", str(uuid4()).upper()) for _ in range(number)]
        for statement in (_DEVICES, _ENROLLMENTS):
            await self.query("nanomdm", statement, [phone.udid for phone in made])
        return made

    async def phones(self, number: int) -> list[Phone]:
        """New phones: enrolled at NanoMDM, in the inventory, and known to the reporter."""
        made = await self.enrolled(number)
        # What is missing from a file counts as retired, so that every file names all.
        self._rows += [f"{phone.tag},ios,iPhone 16,S{phone.tag},company,yes,nanomdm,{phone.udid}" for phone in made]
        headers = {"Authorization": f"Bearer {await self.token('operator')}", "Content-Type": "text/csv"}
        said = await self.http.post(
            f"{self.status.http['mdm_actions']}/v1/inventory/import?apply=true",
            content="\n".join([_COLUMNS, *self._rows, ""]).encode(),
            headers=headers,
            timeout=600,
        )
        said.raise_for_status()
        await self.until("lostphone", "SELECT count(*) >= $1 FROM reporter.device WHERE organisation = $2",
                         len(self._rows), ORGANISATION)  # fmt: skip
        for _ in range(number // REPORTS_OF_ONE + 1):
            self._tokens.append(await self.token())
        await self.quiet()
        return made

    async def report(self, phone: Phone, at: int) -> float:
        """Report the phone as one of the people; the moment at which it was accepted."""
        token = self._tokens[at % len(self._tokens)]
        body = {"reported_as": "proxy", "holder_name": "計測 太郎", "phone": phone.tag, "callback": "080-5555-0142"}
        said = await self.http.post(
            f"{self.status.http['reporter']}/v1/reports", json=body, headers={"Authorization": f"Bearer {token}"}
        )
        said.raise_for_status()
        return time.time()

    async def report_bare(self, phone: Phone, _at: int) -> float:
        """The same down the bare path."""
        body = {"reported_as": "proxy", "holder_name": "計測 太郎", "phone": phone.tag, "callback": "080-5555-0142",
                "udid": phone.udid}  # fmt: skip
        said = await self.http.post(f"{self.door}/v1/reports", json=body)
        said.raise_for_status()
        return time.time()

    async def locks(self, phones: list[Phone], within: float) -> dict[str, float]:
        """When NanoMDM received the lock of each phone (UDID → moment), once all have theirs."""
        wanted = [phone.udid for phone in phones]
        counted = "SELECT count(DISTINCT id) = $2 FROM enrollment_queue WHERE id = ANY($1)"
        await self.until("nanomdm", counted, wanted, len(wanted), within=within)
        rows = await self.query(
            "nanomdm",
            "SELECT id, extract(epoch FROM min(created_at) AT TIME ZONE 'UTC')::float8 AS at FROM enrollment_queue "
            "WHERE id = ANY($1) GROUP BY id",
            wanted,
        )
        return {row["id"]: row["at"] for row in rows}

    async def query(self, database: str, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Ask as the superuser."""
        connection = await asyncpg.connect(self.superuser(database))
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    async def until(self, database: str, statement: str, *values: Any, within: float = 600) -> None:
        """Wait until the statement says true. Raises `TimeoutError`."""
        connection = await asyncpg.connect(self.superuser(database))
        try:
            async with asyncio.timeout(within):
                while not await connection.fetchval(statement, *values):  # noqa: ASYNC110 - it is asked, it says nothing
                    await asyncio.sleep(0.25)
        finally:
            await connection.close()

    async def quiet(self, within: float = 900) -> None:
        """Wait until nothing is under way: outboxes empty, no timer due but those that look at unanswered commands."""
        for service in self.status.http:
            await self.until(
                "lostphone",
                f"SELECT NOT EXISTS (SELECT FROM {service}.outbox) AND NOT EXISTS "  # noqa: S608 - our own names
                f"(SELECT FROM {service}.timer WHERE (due_at <= now() AND name NOT LIKE 'watch:%') "
                "OR (attempt > 0 AND name LIKE 'send:%'))",
                within=within,
            )


async def _made_for_the_bare_path(installed: Installed, bootstrap: str) -> None:
    """Its topic and its tables; made once."""
    if await installed.query("lostphone", "SELECT FROM pg_namespace WHERE nspname = 'bench'"):
        return
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(bare.TOPIC, 12, 1)])
    await asyncio.to_thread(made[bare.TOPIC].result, 30)
    connection = await asyncpg.connect(installed.superuser())
    await connection.execute(bare.TABLES)
    await connection.close()


@asynccontextmanager
async def beside(installed: Installed) -> AsyncIterator[None]:
    """The two processes of the bare path."""
    bootstrap = installed.status.kafka.bootstrap
    await _made_for_the_bare_path(installed, bootstrap)
    port = 32000 + secrets.randbelow(700)
    common = ["--dsn", installed.superuser(), "--bootstrap", bootstrap]
    nanomdm_port = json.loads((Path(installed.status.data_dir) / "nanomdm" / "ports.json").read_text())["http"]
    with contextlib.ExitStack() as stack:
        for arguments in (
            ["door", *common, "--port", str(port)],
            [
                "worker",
                *common,
                "--nanomdm",
                f"http://127.0.0.1:{nanomdm_port}",
                "--api-key",
                installed.passwords["nanomdm_api"],
            ],
        ):
            child = subprocess.Popen([sys.executable, "-m", "benchmarks.bare", *arguments])  # noqa: ASYNC220 - stays
            stack.callback(child.wait)
            stack.callback(child.terminate)
        installed.door = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                (await installed.http.get(f"{installed.door}/health/ready")).raise_for_status()
                break
            except httpx2.HTTPError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
        yield


@contextmanager
def installation(data_dir: Path | None = None) -> Iterator[tuple[Status, float]]:
    """One of our own, ended with the run, and the seconds that it took to start for the first time."""
    with tempfile.TemporaryDirectory(prefix="lostphone-bench-") as folder:
        place = data_dir or Path(folder) / "data"
        Path(folder).chmod(0o711)
        began = time.monotonic()
        status, _ = running.start_detached(place, progress)
        took = time.monotonic() - began
        try:
            yield status, took
        finally:
            running.stop(place)
