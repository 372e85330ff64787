"""One whole installation with a guarded broker, and the demo played into it once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lostphone import running
from lostphone.acls import manifest
from lostphone.installation import INTEGRATORS, Installation
from lostphone.kafka_access import signed_in
from lostphone.status import Status
from tests.secure.bus import Bus, Rights

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Guarded:
    """The installation, after the demo."""

    data_dir: Path
    said: str
    """Everything that starting it and playing the demo printed."""

    @property
    def status(self) -> Status:
        return running.required(self.data_dir)

    @property
    def installation(self) -> Installation:
        return Installation.read(self.data_dir)

    def connection(self, principal: str, password: str | None = None) -> dict[str, Any]:
        """How this principal reaches the broker."""
        kafka = self.status.kafka
        assert kafka.ca_file is not None
        known = password or self.installation.kafka_password(principal)
        return {"bootstrap.servers": kafka.bootstrap, **signed_in(principal, known, Path(kafka.ca_file))}

    def bus(self, principal: str) -> Bus:
        return Bus(self.connection(principal))

    def rights(self, principal: str) -> Rights:
        return Rights(principal, manifest(INTEGRATORS))

    def lostphone(self, *words: str, exits: int = 0, **environment: str) -> str:
        """Run the command; what it wrote, to both."""
        done = command(*words, data_dir=self.data_dir, **environment)
        assert done.returncode == exits, f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def json(self, *words: str, exits: int = 0) -> Any:
        done = command(*words, "--json", data_dir=self.data_dir)
        assert done.returncode == exits, f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def heard(self) -> list[dict[str, Any]]:
        """Every record of the log, as `tail` checks it."""
        done = command("tail", "--until-end", "--json", data_dir=self.data_dir)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def command(*words: str, data_dir: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lostphone", *words],
        cwd=_ROOT,
        env={**os.environ, "LOSTPHONE_DATA": str(data_dir), "LOSTPHONE_LANG": "en", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    place = tmp_path_factory.mktemp("guarded")
    data_dir = place / "data"
    try:
        up = command("up", "--secure", "--detach", data_dir=data_dir)
        assert up.returncode == 0, up.stderr
        demo = command("demo", "--folder", str(place / "demo"), data_dir=data_dir)
        assert demo.returncode == 0, demo.stderr + demo.stdout[-2000:]
        yield Guarded(data_dir, up.stdout + up.stderr + demo.stdout + demo.stderr)
    finally:
        command("down", data_dir=data_dir)
