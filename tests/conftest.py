"""What tests of every room stand on: a real broker and database, and an installation of their own.

`kafka`, `postgres`   addresses; from the environment, Docker or the embedded stack (lostphone/sources.py)
`topics`              the same broker, with every topic of the registry
`installation`        keys on disk and a fresh database with every schema; see tests/stack/installed.py

All workers of a run share one broker and one database: use organisations, subjects and groups of your own.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from lostphone.installation import Installation
from tests.stack.installed import Installed, copy_of, make_template
from tests.stack.run import Run, alone
from tests.stack.schedule import Units, rank

# How long one example takes says how busy the machine is, and nothing about the code.
settings.register_profile("lostphone", deadline=None)
settings.load_profile("lostphone")

_VARIABLE = "LOSTPHONE_TEST_RUN"
_LOOP = pytest.StashKey[asyncio.AbstractEventLoop]()
_RUN = pytest.StashKey[Run]()


def pytest_configure(config: pytest.Config) -> None:
    """One folder for the run: the controller makes it, workers hear of it through the environment."""
    # pytest-asyncio asks for the current loop before it has made one; up to Python 3.13 that makes a loop which
    # nobody closes, and the warning of it would fail whichever test runs when it is collected.
    config.stash[_LOOP] = asyncio.new_event_loop()
    asyncio.set_event_loop(config.stash[_LOOP])
    if hasattr(config, "workerinput"):
        config.stash[_RUN] = Run(Path(os.environ[_VARIABLE]))
    else:
        config.stash[_RUN] = Run.begin()
        os.environ[_VARIABLE] = str(config.stash[_RUN].folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Units | None:
    """`--dist loadfile` keeps rooms together, too."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return Units(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _LOOP in config.stash:
        config.stash[_LOOP].close()
    if not hasattr(config, "workerinput") and _RUN in config.stash:
        config.stash[_RUN].end()


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest) -> Run:
    return request.config.stash[_RUN]


@pytest.fixture(scope="session")
def kafka(run: Run) -> str:
    """The broker's bootstrap address."""
    return run.kafka()


@pytest.fixture(scope="session")
def postgres(run: Run) -> str:
    """The DSN of a superuser."""
    return run.postgres()


@pytest.fixture(scope="session")
def topics(run: Run, kafka: str) -> str:
    """The broker's bootstrap address, once every topic of the registry is there."""
    from lostphone.topics import apply, manifest

    run.once("topics", lambda: len(apply({"bootstrap.servers": kafka}, manifest())))
    return kafka


@pytest.fixture(scope="session")
def template(run: Run, postgres: str) -> str:
    """The name of a database with every role, schema and table."""
    return str(run.once("template", lambda: alone(make_template(postgres))))


@pytest.fixture
async def installation(topics: str, postgres: str, template: str, tmp_path: Path) -> AsyncIterator[Installed]:
    """A database of this test's own, keys on disk, and the run's broker with all topics."""
    async with copy_of(template, postgres) as dsn:
        yield Installed(topics, dsn, Installation.open(tmp_path / "installation"))
