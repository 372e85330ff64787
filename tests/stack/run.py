"""The broker and the database of one test run, shared by all its workers: the first that needs one starts it.

Addresses stand in a file of the run's folder, under a lock; whoever ends the run ends what was started.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lostphone.embedded import EmbeddedKafka, EmbeddedPostgres
from lostphone.embedded.child import began
from lostphone.sources import Part, Source, choose
from tests.stack.installed import drop_database

_PREFIX = "lostphone-test-"


def alone[T](work: Coroutine[Any, Any, T]) -> T:
    """Run it in a thread of its own: `asyncio.run` would take the session's event loop away from the tests."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@dataclass(frozen=True)
class Address:
    """Where a part of the stack is, and how it came to be."""

    source: Source
    address: str
    container: str | None = None


class Run:
    """One test run. `folder` is the same for every worker of the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def begin(cls) -> "Run":
        """A new run of this process. What a run that was killed left behind is ended first."""
        # Not under pytest's own folder, which is closed to the account that PostgreSQL runs as.
        home = Path(tempfile.gettempdir())
        for owner in home.glob(f"{_PREFIX}*/owner"):
            pid, began_at = owner.read_text().split()
            if owner.stat().st_uid == os.geteuid() and began(int(pid)) != began_at:
                cls(owner.parent).end()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
        folder.chmod(0o755)
        (folder / "owner").write_text(f"{os.getpid()} {began(os.getpid())}")
        return cls(folder)

    def kafka(self) -> str:
        """A broker's bootstrap address."""
        return self._once("kafka", lambda: self._start("kafka")).address

    def postgres(self) -> str:
        """A superuser's DSN."""
        return self._once("postgres", lambda: self._start("postgres")).address

    def once(self, name: str, work: Callable[[], Any]) -> Any:
        """Do the work in one worker of the run; all get its answer, which must be JSON."""
        file = self.folder / f"{name}.json"
        with self._locked(name):
            if not file.exists():
                file.write_text(json.dumps(work()))
            return json.loads(file.read_text())

    def end(self) -> None:
        """Stop what this run started. What the environment named stays."""
        for part in ("kafka", "postgres"):
            file = self.folder / f"{part}.json"
            if not file.exists():
                # A run that was broken off may have left a process without an address.
                self._embedded(part).kill()
                continue
            address = Address(**json.loads(file.read_text()))
            if address.source == Source.EMBEDDED:
                self._embedded(part).stop()
            elif address.container is not None:
                from tests.stack import containers

                containers.remove(address.container)
            elif part == "postgres" and (template := self.folder / "template.json").exists():
                alone(drop_database(json.loads(template.read_text()), address.address))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _once(self, part: Part, start: Callable[[], Address]) -> Address:
        kept = self.once(part, lambda: vars(start()))
        return Address(Source(kept["source"]), kept["address"], kept["container"])

    def _start(self, part: Part) -> Address:
        source, address = choose(part, for_tests=True)
        if address is not None:
            return Address(source, address)
        if source is Source.DOCKER:
            from tests.stack import containers

            return Address(source, *(containers.start_kafka() if part == "kafka" else containers.start_postgres()))
        return Address(source, self._embedded(part).start())

    def _embedded(self, part: str) -> EmbeddedKafka | EmbeddedPostgres:
        if part == "kafka":
            return EmbeddedKafka(self.folder / "kafka")
        return EmbeddedPostgres(self.folder / "postgres", durable=False)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
