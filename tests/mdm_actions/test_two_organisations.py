"""Nothing of one organisation is seen or moved by another, whatever an event or a request names."""

from shared.events.mdm_actions import CommandRejected, ContainmentPlanned
from shared.events.reporter import ContainmentStep, StepRequested
from tests.mdm_actions.bench import Company, Service, lost, new_incident


async def test_an_incident_cannot_name_another_companys_phone(
    service: Service, company: Company, other_company: Company
) -> None:
    row = company.row("A-1")
    await service.import_(company, [row])
    phone = await service.world.phone(row["udid"])
    incident, device = new_incident(), company.device(row)
    await service.say(lost(device), incident, other_company.name)
    planned = await service.told(incident, ContainmentPlanned)
    assert planned.device is None
    await service.say(other_company.order(incident, device), incident, other_company.name)
    assert (await service.told(incident, CommandRejected)).reason == "device_differs"
    assert await service.commands(incident) == []
    assert await phone.obeyed() == []


async def test_another_company_neither_reads_nor_steers_an_incident(
    service: Service, company: Company, other_company: Company
) -> None:
    incident, _, phone = await service.lost_phone(company)
    before = await phone.obeyed()
    unlock = StepRequested(step=ContainmentStep.UNLOCK, reason="mine")
    await service.say(unlock, incident, other_company.name)
    path = f"/v1/incidents/{incident}/commands"
    assert (await service.call("GET", path, other_company.name, "security_desk")).status_code == 404
    assert (await service.call("GET", path, company.name, "security_desk")).status_code == 200
    assert await phone.obeyed() == before


async def test_the_breaker_of_one_company_does_not_hold_anothers_wipes(
    service: Service, company: Company, other_company: Company
) -> None:
    await service.kit.pool.execute(
        "INSERT INTO breaker (organisation, drill, opened_at, reason) VALUES ($1, false, now(), 'wipes_per_window')",
        company.name,
    )
    seen = {
        name: (await service.call("GET", "/v1/breaker", name, "approver")).json()["open"]
        for name in (company.name, other_company.name)
    }
    assert seen == {company.name: True, other_company.name: False}
