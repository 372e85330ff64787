"""The line goes last, by its own rule; where no interface stops it, two people do."""

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.events.mdm_actions import (
    CarrierResumed,
    CarrierSuspended,
    CarrierSuspensionFailed,
    CommandRejected,
    ContainmentPlanned,
    DeviceUnlocked,
    ManualTaskDone,
    ManualTaskOpened,
    SuspensionTrigger,
)
from shared.events.payload import Answer, Assurance
from shared.events.reporter import DeviceRecovered, LineResumptionRequested, LineSuspensionRequested
from tests.mdm_actions.bench import Company, Service, eventually, lost, new_incident

_PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"
_NAMED = LineSuspensionRequested(reason="misuse_of_line", named_by=_PERSON)
_UNMANAGED = {"mdm": "", "udid": "", "holder_account": "", "supervised": "unknown"}


async def _lost(
    service: Service, company: Company, *, door: str = "signed_in", **facts: str
) -> tuple[str, dict[str, str]]:
    row = company.row("A-1", **facts)
    await service.import_(company, [row])
    incident = new_incident()
    await service.say(lost(company.device(row), door=door), incident, company.name)
    return incident, row


async def test_the_line_stops_when_its_timer_ends_although_nothing_was_wiped(
    service: Service, company: Company
) -> None:
    incident, row = await _lost(service, company, **_UNMANAGED)
    assert "line" in await service.waiting(incident)
    assert await service.world.journal("carrier", f"{row['sim_id']}/suspend") == []
    await service.ring(incident, "line")
    suspended = await service.told(incident, CarrierSuspended)
    assert (suspended.trigger, suspended.read_back) == (SuspensionTrigger.TIMER, "suspended")


async def test_a_named_order_stops_the_line_at_once_and_only_once(service: Service, company: Company) -> None:
    incident, row = await _lost(service, company, door="emergency", **_UNMANAGED)
    assert "line" not in await service.waiting(incident)
    await service.say(_NAMED, incident, company.name)
    suspended = await service.told(incident, CarrierSuspended)
    assert suspended.trigger is SuspensionTrigger.MISUSE
    await service.say(_NAMED, incident, company.name)
    assert (await service.told(incident, CommandRejected)).reason == "already_suspended"
    await service.say(LineResumptionRequested(reason="mistake"), incident, company.name)
    await service.told(incident, CarrierResumed)
    assert len(await service.world.journal("carrier", f"{row['sim_id']}/suspend")) == 1


async def test_an_answer_of_the_carrier_that_was_lost_is_asked_for_and_not_repeated(
    service: Service, company: Company
) -> None:
    incident, row = await _lost(service, company, **_UNMANAGED)
    fault = {"kind": "lose_answer", "calls": 1, "match": f"{row['sim_id']}/suspend"}
    await service.world.post("carrier", "/_faults", fault)
    await service.say(_NAMED, incident, company.name)
    await service.told(incident, CarrierSuspended)
    assert len(await service.world.journal("carrier", f"{row['sim_id']}/suspend")) == 1
    answer = await service.call("GET", f"/v1/incidents/{incident}/commands", company.name, "security_desk")
    (command,) = answer.json()["commands"]
    assert (command["state"], command["tries"]["count"] >= 3) == ("succeeded", True)


async def test_a_carrier_that_says_no_is_told_with_its_reason(service: Service, company: Company) -> None:
    row = company.row("A-1", **_UNMANAGED)
    await service.import_(company, [row | {"sim_id": "", "carrier": "", "asset_tag": "A-0"}])
    assert (await service.call("GET", "/v1/devices", company.name, "operator")).json()["devices"]
    unknown = company.row("A-2", **_UNMANAGED)
    answer = await service.call(
        "POST",
        "/v1/inventory/import?apply=true",
        company.name,
        "operator",
        content="\n".join([",".join(unknown), ",".join(unknown.values())]).encode(),
    )
    assert answer.json()["applied"]
    incident = new_incident()
    await service.say(lost(company.device(unknown)), incident, company.name)
    await service.say(_NAMED, incident, company.name)
    failed = await service.told(incident, CarrierSuspensionFailed)
    assert failed.reason == "sim_not_found"


async def test_a_desk_is_called_by_one_person_and_confirmed_by_another(
    service: Service, company: Company, other_company: Company
) -> None:
    incident, _ = await _lost(service, company, **_UNMANAGED, carrier="docomo", sim_id="")
    planned = await service.told(incident, ContainmentPlanned)
    assert ("suspend_line", "manual") in [(step.step, step.state) for step in planned.steps]
    await service.say(_NAMED, incident, company.name)
    opened = await service.told(incident, ManualTaskOpened)
    assert (opened.kind, opened.carrier) == ("suspend_line", "docomo")

    listed = (await service.call("GET", "/v1/tasks", company.name, "security_desk")).json()["tasks"]
    assert [task["task"] for task in listed] == [opened.task]
    assert "docomo" in listed[0]["instructions"]["ja"]
    elsewhere = await service.call("GET", "/v1/tasks", other_company.name, "security_desk")
    assert elsewhere.json()["tasks"] == []

    path = f"/v1/tasks/{opened.task}"
    done = {"done_at": datetime.now(UTC).isoformat(), "reference": "D-7781"}
    too_early = {"done_at": (datetime.now(UTC) - timedelta(days=1)).isoformat()}
    assert (
        await service.call("POST", f"{path}/done", other_company.name, "security_desk", json=done)
    ).status_code == 404
    assert (
        await service.call("POST", f"{path}/done", company.name, "security_desk", json=too_early)
    ).status_code == 422
    early = await service.call("POST", f"{path}/confirm", company.name, "security_desk", sub="two")
    assert (early.status_code, early.json()["code"]) == (409, "task_not_done")
    assert (await service.call("POST", f"{path}/done", company.name, "security_desk", sub="one", json=done)).is_success
    same = await service.call("POST", f"{path}/confirm", company.name, "security_desk", sub="one")
    assert (same.status_code, same.json()["code"]) == (409, "same_person")
    assert "CarrierSuspended" not in await service.names(incident)
    assert (await service.call("POST", f"{path}/confirm", company.name, "security_desk", sub="two")).is_success

    suspended = await service.told(incident, CarrierSuspended)
    assert (suspended.assurance, suspended.reference) == (Assurance.CARRIER_REFERENCE, "D-7781")
    assert suspended.read_back is None
    told = await service.told(incident, ManualTaskDone)
    assert told.done_by != told.confirmed_by


_BACK = DeviceRecovered(recovered_at=datetime.now(UTC), from_whom="police", identity_checked=Answer.YES)


async def _tasks(service: Service, company: Company) -> list[dict[str, Any]]:
    answer = await service.call("GET", "/v1/tasks", company.name, "security_desk")
    tasks: list[dict[str, Any]] = answer.json()["tasks"]
    return tasks


async def test_a_call_that_nobody_made_is_taken_off_the_list_when_the_phone_is_back(
    service: Service, company: Company
) -> None:
    incident, _ = await _lost(service, company, **_UNMANAGED, carrier="kddi", sim_id="")
    await service.say(_NAMED, incident, company.name)
    await service.told(incident, ManualTaskOpened)
    await service.say(_BACK, incident, company.name)
    await eventually(lambda: service.commands(incident), lambda found: found == [("suspend_line", "cancelled")])
    assert await _tasks(service, company) == []


async def test_a_call_that_was_not_made_in_time_stays_on_the_list_until_the_phone_is_back(
    service: Service, company: Company
) -> None:
    incident, _ = await _lost(service, company, **_UNMANAGED, carrier="kddi", sim_id="")
    await service.say(_NAMED, incident, company.name)
    opened = await service.told(incident, ManualTaskOpened)
    await service.ring(incident, "expire")
    await service.told(incident, CarrierSuspensionFailed)
    assert [task["task"] for task in await _tasks(service, company)] == [opened.task]
    await service.say(_BACK, incident, company.name)
    await eventually(lambda: _tasks(service, company), lambda tasks: tasks == [])
    assert "CarrierSuspended" not in await service.names(incident)


async def test_a_line_that_its_carrier_has_not_stopped_yet_when_the_phone_is_back_keeps_it_locked_no_longer(
    service: Service, company: Company
) -> None:
    sim = company.row("A-1")["sim_id"]
    incident, _, phone = await service.lost_phone(company, sim_id=sim)
    suspend = f"{sim}/suspend"
    fault = {"kind": "answer", "status": 503, "calls": 1000, "match": suspend}
    await service.world.post("carrier", "/_faults", fault)
    await service.say(_NAMED, incident, company.name)
    await eventually(lambda: service.world.journal("carrier", suspend), lambda calls: len(calls) > 0)
    back = DeviceRecovered(recovered_at=datetime.now(UTC), from_whom="holder", identity_checked=Answer.YES)
    await service.say(back, incident, company.name)
    await service.told(incident, DeviceUnlocked)
    assert ("suspend_line", "cancelled") in await service.commands(incident)
    assert not (await phone.state())["lost_mode"]
