"""What containment may rely on at every MDM server, and at the stand-in of a drill."""

from dataclasses import dataclass

import pytest

from services.mdm_actions.domain.command import Kind, State
from services.mdm_actions.drill import DrillDevices
from services.mdm_actions.providers import MobileDeviceManagement
from tests.providers.bench import Bench, an_order, ended, outcome_of


@dataclass
class Subject:
    """A server with one enrolled device that obeys."""

    devices: MobileDeviceManagement
    udid: str


@pytest.fixture(params=["nanomdm", "drill"])
async def subject(request: pytest.FixtureRequest, bench: Bench) -> Subject:
    if request.param == "drill":
        return Subject(DrillDevices(), "any-device")
    return Subject(bench.devices, (await bench.phone()).udid)


async def test_an_enrolled_device_is_seen_with_the_time_of_its_last_word(subject: Subject) -> None:
    presence = await subject.devices.look(subject.udid)
    assert presence.enrolled
    assert presence.last_seen is not None
    assert presence.last_seen.utcoffset() is not None


async def test_a_probe_of_a_server_that_is_there_is_silent(subject: Subject) -> None:
    await subject.devices.probe()


@pytest.mark.parametrize("kind", [Kind.LOST_MODE, Kind.LOCK, Kind.WIPE])
async def test_a_command_is_done_only_when_the_device_says_so(subject: Subject, kind: Kind) -> None:
    order = an_order(kind)
    await subject.devices.enqueue(subject.udid, order)
    outcome = await outcome_of(subject.devices, subject.udid, order.command, ended)
    assert outcome.state is State.SUCCEEDED
    assert outcome.at is not None


async def test_locating_after_lost_mode_ends_well(subject: Subject) -> None:
    for kind in (Kind.LOST_MODE, Kind.LOCATE, Kind.PLAY_SOUND, Kind.UNLOCK):
        order = an_order(kind)
        await subject.devices.enqueue(subject.udid, order)
        assert (await outcome_of(subject.devices, subject.udid, order.command, ended)).state is State.SUCCEEDED


async def test_the_same_command_twice_is_the_same_command(subject: Subject) -> None:
    order = an_order(Kind.LOST_MODE)
    for _ in range(3):
        await subject.devices.enqueue(subject.udid, order)
    outcome = await outcome_of(subject.devices, subject.udid, order.command, ended)
    await subject.devices.enqueue(subject.udid, order)
    again = await outcome_of(subject.devices, subject.udid, order.command, ended)
    assert again.state is outcome.state is State.SUCCEEDED


async def test_waking_a_device_promises_nothing_and_harms_nothing(subject: Subject) -> None:
    await subject.devices.wake([subject.udid])
