"""A whole installation of its own, and what operators and reporters do with it."""

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from lostphone import status, topic_reader
from lostphone.identity import someone, token
from lostphone.installation import Installation
from shared.events import LOG_TOPIC, Event, KeyRing, read

ROOT = Path(__file__).parents[2]


@dataclass
class Place:
    """An installation in a directory, running or not."""

    data_dir: Path

    def lostphone(self, *arguments: str, seconds: float = 300) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "lostphone", *arguments, "--data-dir", str(self.data_dir)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def done(self, *arguments: str) -> Any:
        """The JSON that a command printed; it must have succeeded."""
        done = self.lostphone(*arguments, "--json")
        assert done.returncode == 0, f"{arguments}: {done.stderr[-2000:]}"
        return json.loads(done.stdout)

    @property
    def status(self) -> status.Status:
        found = status.read(self.data_dir)
        assert found is not None, "it runs"
        return found

    @property
    def superuser_dsn(self) -> str:
        address = self.status.postgres["audit"].dsn.rpartition("@")[2]
        password = Installation.read(self.data_dir).passwords["postgres"]
        return f"postgresql://lostphone:{password}@{address}"

    def events(self) -> list[Event]:
        """Every verified event of the log."""
        kafka = {"bootstrap.servers": self.status.kafka.bootstrap}
        keyring = KeyRing(self.data_dir / "event-keys.json")
        records = topic_reader.records(kafka, LOG_TOPIC, topic_reader.ends(kafka, LOG_TOPIC))
        readings = [read(record, keyring) for record in records]
        return [reading for reading in readings if isinstance(reading, Event)]

    def report(self, phone: str | None = None, *, who: str | None = None, **headers: str) -> str:
        """Report a lost phone, as often as it takes; the incident."""
        body = {
            "phone": phone or f"090{secrets.randbelow(10**8):08d}",
            "callback": "03-5555-0100",
            "reported_as": "holder",
            "locale": "ja",
        }
        headers = {"Authorization": f"Bearer {self._token(who)}", "Idempotency-Key": secrets.token_hex(16), **headers}
        pause = threading.Event()
        for _ in range(300):
            try:
                said = httpx2.post(f"{self.status.http['reporter']}/v1/reports", json=body, headers=headers, timeout=10)
                if said.is_success:
                    return str(said.json()["incident"])
            except httpx2.HTTPError:
                pass
            pause.wait(0.3)
        raise AssertionError("no report was accepted")

    def _token(self, who: str | None) -> str:
        return token(self.status.sandbox["identity"], who or someone("employee"))

    @contextmanager
    def under_load(self) -> Iterator[list[str]]:
        """Reports arrive meanwhile; the incidents of those that were accepted."""
        accepted: list[str] = []
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(0.3):
                accepted.append(self.report())

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield accepted
        finally:
            ended.set()
            thread.join()
