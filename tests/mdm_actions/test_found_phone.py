"""A phone that is back is let go in order: disarm the wipe, resume the line, then unlock."""

from datetime import UTC, datetime

from shared.events.mdm_actions import (
    CarrierResumed,
    CarrierSuspended,
    CommandRejected,
    DeviceLocated,
    DeviceLocked,
    DeviceUnlocked,
    WipeDisarmed,
    WipeSent,
)
from shared.events.payload import Answer
from shared.events.reporter import (
    ContainmentStep,
    DeviceRecovered,
    IncidentCancelled,
    IncidentClosed,
    IncidentReopened,
    LineSuspensionRequested,
    StepRequested,
)
from tests.mdm_actions.bench import Company, Phone, Service, eventually

_PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"
_MISUSE = LineSuspensionRequested(reason="misuse_of_line", named_by=_PERSON)


def _recovered() -> DeviceRecovered:
    return DeviceRecovered(recovered_at=datetime.now(UTC), from_whom="police", identity_checked=Answer.YES)


async def _contained(service: Service, company: Company) -> tuple[str, str, Phone]:
    """Locked, located, its line stopped, a wipe armed, and out of reach."""
    incident, device, phone = await service.lost_phone(company)
    await phone.tell("offline")
    await service.say(_MISUSE, incident, company.name)
    await service.told(incident, CarrierSuspended)
    await service.say(company.order(incident, device), incident, company.name)
    await service.told(incident, WipeSent)
    return incident, device, phone


async def _times(service: Service, incident: str) -> dict[str, tuple[datetime, datetime]]:
    """When the newest command of each kind was ordered, and when it had ended."""
    query = "SELECT kind, ordered_at, ended_at FROM command WHERE incident = $1 ORDER BY place"
    rows = await service.kit.pool.fetch(query, incident)
    return {row["kind"]: (row["ordered_at"], row["ended_at"]) for row in rows}


async def test_wipe_then_line_then_lock(service: Service, company: Company) -> None:
    incident, _, phone = await _contained(service, company)
    await service.say(_recovered(), incident, company.name)
    await service.told(incident, CarrierResumed)
    await phone.tell("online")
    await service.told(incident, DeviceUnlocked)
    times = await _times(service, incident)
    assert times["wipe"][1] <= times["resume_line"][0]
    assert times["resume_line"][1] <= times["unlock"][0]
    assert not (await phone.state())["lost_mode"]
    assert "EraseDevice" not in await phone.obeyed()
    assert "locate" not in await service.waiting(incident)
    assert "line" not in await service.waiting(incident)


async def test_what_ends_while_the_carrier_takes_its_time_does_not_unlock_before_the_line_works(
    service: Service, company: Company
) -> None:
    incident, _, phone = await service.lost_phone(company)
    await phone.tell("offline")
    await service.ring(incident, "locate")
    await service.until_command(incident, "locate", "queued")
    await service.say(_MISUSE, incident, company.name)
    await service.told(incident, CarrierSuspended)
    await service.world.post("carrier", "/_faults", {"kind": "slow", "seconds": 2, "match": "activate"})
    await service.say(_recovered(), incident, company.name)
    await service.until_command(incident, "locate", "cancelled")
    await service.told(incident, CarrierResumed)
    await phone.tell("online")
    await service.told(incident, DeviceUnlocked)
    times = await _times(service, incident)
    assert times["locate"][1] < times["resume_line"][1] <= times["unlock"][0]


async def test_a_false_alarm_is_let_go_the_same_way(service: Service, company: Company) -> None:
    incident, _, phone = await _contained(service, company)
    await service.say(IncidentCancelled(reason="found_in_bag"), incident, company.name)
    await service.told(incident, WipeDisarmed)
    await service.told(incident, CarrierResumed)
    await phone.tell("online")
    await service.told(incident, DeviceUnlocked)


async def test_a_phone_that_was_wiped_before_it_was_found_is_not_unlocked(service: Service, company: Company) -> None:
    incident, _, phone = await _contained(service, company)
    await phone.tell("online")
    await eventually(lambda: service.names(incident), lambda names: "WipeConfirmed" in names)
    await service.say(_recovered(), incident, company.name)
    await service.told(incident, CarrierResumed)
    assert "unlock" not in [kind for kind, _ in await service.commands(incident)]


async def test_the_desk_cannot_unlock_out_of_order(service: Service, company: Company) -> None:
    incident, _, _ = await _contained(service, company)
    unlock = StepRequested(step=ContainmentStep.UNLOCK, reason="holder_asks")
    await service.say(unlock, incident, company.name)
    assert (await service.told(incident, CommandRejected)).reason == "wipe_still_armed"


async def _back(service: Service, company: Company, answers: int) -> tuple[str, Phone]:
    """A locked phone that came back, and answers the order to unlock with this error."""
    incident, _, phone = await service.lost_phone(company)
    await phone.behave(errors={"DisableLostMode": answers})
    await service.say(_recovered(), incident, company.name)
    return incident, phone


async def test_a_phone_that_says_it_is_not_in_lost_mode_is_unlocked(service: Service, company: Company) -> None:
    incident, phone = await _back(service, company, 12067)
    await service.told(incident, DeviceUnlocked)
    assert [state for kind, state in await service.commands(incident) if kind == "unlock"] == ["succeeded"]
    assert (await phone.obeyed()).count("DisableLostMode") == 1


async def test_an_order_to_unlock_that_failed_is_not_given_again_by_itself(service: Service, company: Company) -> None:
    incident, _ = await _back(service, company, 12069)
    commands = await eventually(lambda: service.commands(incident), lambda commands: ("unlock", "failed") in commands)
    assert [kind for kind, _ in commands].count("unlock") == 1


async def test_locating_stops_when_the_phone_is_back_or_the_case_ends(service: Service, company: Company) -> None:
    incident, _, phone = await service.lost_phone(company)
    await service.ring(incident, "locate")
    await service.told(incident, DeviceLocated, count=2)
    await service.say(IncidentClosed(outcome="written_off", prevention_actions=0), incident, company.name)
    assert "locate" not in await service.waiting(incident)
    await service.say(IncidentReopened(reason="seen_again"), incident, company.name)
    await service.told(incident, DeviceLocated, count=3)
    await service.say(_recovered(), incident, company.name)
    await service.told(incident, DeviceUnlocked)
    assert "locate" not in await service.waiting(incident)
    assert (await phone.obeyed()).count("DeviceLocation") == 3


async def test_a_cancelled_case_that_goes_on_locks_the_phone_again(service: Service, company: Company) -> None:
    incident, _, phone = await service.lost_phone(company)
    await service.say(IncidentCancelled(reason="found_in_bag"), incident, company.name)
    await service.told(incident, DeviceUnlocked)
    await service.say(IncidentReopened(reason="it_was_another_phone"), incident, company.name)
    await service.told(incident, DeviceLocked, count=2)
    assert (await phone.state())["lost_mode"]


async def test_a_phone_that_is_back_stays_so_when_its_case_is_cancelled_and_goes_on(
    service: Service, company: Company
) -> None:
    incident, _, phone = await service.lost_phone(company)
    await service.say(_recovered(), incident, company.name)
    await service.told(incident, DeviceUnlocked)
    await service.say(IncidentCancelled(reason="found_before_exposure"), incident, company.name)
    before = await service.commands(incident)
    await service.say(IncidentReopened(reason="duty_opened"), incident, company.name)
    assert await service.commands(incident) == before
    assert {"line", "locate"}.isdisjoint(await service.waiting(incident))
    assert not (await phone.state())["lost_mode"]
