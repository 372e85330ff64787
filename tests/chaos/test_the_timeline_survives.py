"""The timeline's parts and its database are killed under load. The long version is `make chaos-audit`."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.audit.campaign import night

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own, which is closed to the account of PostgreSQL."""
    place = Path(tempfile.mkdtemp(prefix="lostphone-chaos-audit-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


async def test_nothing_is_lost_doubled_or_told_differently(topics: str, folder: Path) -> None:
    told = await night(folder, topics, 20261124, kills=15, mean_pause=0.3)
    assert told.wrong == [], told.document()
    assert sum(told.kills.values()) >= 15
