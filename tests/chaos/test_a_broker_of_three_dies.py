"""With three brokers, the death of one under load loses nothing and stops nobody for long."""

from pathlib import Path

import pytest

from tests.chaos.cluster import one_of_three_killed

pytestmark = pytest.mark.timeout(600)


async def test_no_committed_event_is_lost_or_heard_twice_when_a_broker_is_killed_under_load(
    tmp_path: Path, postgres: str
) -> None:
    seen = await one_of_three_killed(tmp_path, seconds=9, superuser=postgres)
    assert seen["wrong"] == []
    assert seen["events"] > 50
