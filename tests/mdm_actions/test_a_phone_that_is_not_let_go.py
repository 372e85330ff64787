"""A line that was not resumed, or a phone that was not unlocked, is told to operations: no event says so."""

from datetime import UTC, datetime

from lostphone.standing import Finding, _figures
from shared.events.mdm_actions import CarrierResumed, CarrierSuspended
from shared.events.payload import Answer
from shared.events.reporter import (
    DeviceRecovered,
    LineResumptionRequested,
    LineSuspensionRequested,
)
from tests.mdm_actions.bench import Company, Service

_PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"


async def _found(service: Service, incident: str) -> list[Finding]:
    findings: list[Finding] = []
    await _figures("mdm_actions", service.installed.dsn("mdm_actions"), findings)
    return [item for item in findings if item.what == "not_let_go" and item.facts["subject"] == incident]


async def _not_resumed(service: Service, company: Company) -> str:
    """Its line was stopped, the phone is back, and the carrier does not resume the line."""
    incident, _, phone = await service.lost_phone(company)
    await phone.tell("offline")
    misuse = LineSuspensionRequested(reason="misuse_of_line", named_by=_PERSON)
    await service.say(misuse, incident, company.name)
    await service.told(incident, CarrierSuspended)
    assert await _found(service, incident) == []
    refused = {"kind": "answer", "status": 400, "calls": 1, "match": "activate"}
    await service.world.post("carrier", "/_faults", refused)
    recovered = DeviceRecovered(recovered_at=datetime.now(UTC), from_whom="police", identity_checked=Answer.YES)
    await service.say(recovered, incident, company.name)
    await service.until_command(incident, "resume_line", "failed")
    return incident


async def test_a_line_that_was_not_resumed_is_named_until_it_is(service: Service, company: Company) -> None:
    incident = await _not_resumed(service, company)
    (finding,) = await _found(service, incident)
    assert (finding.level, finding.facts["kind"]) == ("person", "resume_line")
    assert all("resume_line" in sentence and incident in sentence for sentence in finding.sentences())
    await service.say(LineResumptionRequested(reason="asked_again"), incident, company.name)
    await service.told(incident, CarrierResumed)
    assert await _found(service, incident) == []


async def test_after_a_week_nobody_is_asked_to_any_more(service: Service, company: Company) -> None:
    incident = await _not_resumed(service, company)
    await service.kit.pool.execute(
        "UPDATE command SET ended_at = now() - interval '8 days' WHERE incident = $1", incident
    )
    assert await _found(service, incident) == []
