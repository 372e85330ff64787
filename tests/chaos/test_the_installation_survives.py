"""One installation, put through everything that goes wrong. The long version of each is `make chaos`."""

from collections.abc import Iterator
from dataclasses import asdict

import pytest

from tests.chaos.campaign import night
from tests.chaos.outages import OUTAGES, SHORT, go_through
from tests.chaos.replay import check_rebuilt, check_replay
from tests.chaos.world import World, world

pytestmark = pytest.mark.timeout(900)

_SEED = 20261124


@pytest.fixture(scope="module")
def installation_under_fire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("chaos") / "data") as running:
        yield running


async def test_every_report_ends_as_it_should_while_processes_are_killed(installation_under_fire: World) -> None:
    told = await night(installation_under_fire, _SEED, kills=20, stories=6, mean_pause=0.8, within=400)
    assert told.wrong == [], told.summary()
    assert sum(told.kills.done.values() if told.kills else ()) == 20


async def test_offsets_set_back_and_a_batch_sent_twice_change_nothing(installation_under_fire: World) -> None:
    assert await check_replay(installation_under_fire, within=300) == []


async def test_the_timeline_built_again_from_the_log_is_the_same_to_the_byte(installation_under_fire: World) -> None:
    assert await check_rebuilt(installation_under_fire) == []


async def test_outages_show_in_readiness_and_pass_by_themselves(installation_under_fire: World) -> None:
    outages = [outage for outage in OUTAGES if outage.name in SHORT]
    seen = await go_through(installation_under_fire, _SEED + 1, outages, seconds=6, within=300)
    assert [wrong for one in seen for wrong in one.wrong] == [], [asdict(one) for one in seen]
