"""What containment may rely on at every carrier: by an interface, by its desk, or in a drill."""

from dataclasses import dataclass
from uuid import uuid4

import httpx2
import pytest

from sandbox.companies import companies
from services.mdm_actions.carriers.desk import Desk
from services.mdm_actions.carriers.soracom import Soracom
from services.mdm_actions.drill import DrillCarrier
from services.mdm_actions.providers import Carrier, HandOver, LineAction, LineReading

ACTIONS: tuple[LineAction, ...] = ("suspend", "deactivate", "activate")


@dataclass
class Subject:
    """A carrier with one line that is open."""

    carrier: Carrier
    sim_id: str


@pytest.fixture(params=["soracom", "docomo", "a carrier nobody heard of", "drill"])
async def subject(request: pytest.FixtureRequest, outside: dict[str, str], http: httpx2.AsyncClient) -> Subject:
    sim_id = f"89{uuid4().int % 10**17:017d}"
    if request.param == "drill":
        return Subject(DrillCarrier(), sim_id)
    if request.param != "soracom":
        return Subject(Desk(request.param), sim_id)
    sim = {"sim_id": sim_id, "organisation": "acme-kk"}
    assert (await http.post(f"{outside['carrier']}/_sims", json=sim)).status_code == 201
    keys = companies().soracom_operator
    return Subject(Soracom(http, f"{outside['carrier']}/v1", keys.auth_key_id, keys.auth_key), sim_id)


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_change_is_read_back_or_handed_over_with_words_in_both_languages(
    subject: Subject, action: LineAction
) -> None:
    said = await subject.carrier.change(subject.sim_id, action)
    if isinstance(said, HandOver):
        assert set(said.instructions) == {"ja", "en"}
        assert all(said.instructions.values())
    else:
        assert said.active == (action == "activate")
        assert said.at.utcoffset() is not None


@pytest.mark.parametrize("action", ACTIONS)
async def test_repeating_a_change_gives_the_same(subject: Subject, action: LineAction) -> None:
    first = await subject.carrier.change(subject.sim_id, action)
    again = await subject.carrier.change(subject.sim_id, action)
    if isinstance(first, LineReading):
        assert isinstance(again, LineReading)
        assert (again.active, again.word) == (first.active, first.word)
    else:
        assert again == first


async def test_a_probe_of_a_carrier_that_is_there_is_silent(subject: Subject) -> None:
    await subject.carrier.probe()


async def test_a_line_can_be_stopped_and_opened_again(subject: Subject) -> None:
    for action in ACTIONS:
        await subject.carrier.change(subject.sim_id, action)
        said = await subject.carrier.change(subject.sim_id, "activate")
        assert isinstance(said, HandOver) or said.active


async def test_reading_back_says_how_the_line_stands_or_that_nobody_can_be_asked(subject: Subject) -> None:
    said = await subject.carrier.read_back(subject.sim_id)
    assert said is None or said.active
