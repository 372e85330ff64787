"""What is kept here in the clear of an erased person goes too: where they signed in, and what named their old phone."""

from services.mdm_actions.domain.command import Kind
from shared.events.mdm_actions import DeviceRegistered
from shared.events.reporter import IncidentCancelled, PersonalDataErased
from tests.mdm_actions.bench import Company, Service, lost, new_incident

_KEPT = (
    "SELECT a::text FROM account a WHERE organisation = $1 "
    "UNION ALL SELECT d::text FROM device d WHERE organisation = $1 AND retired_at IS NOT NULL "
    "UNION ALL SELECT c::text FROM command c WHERE organisation = $1 AND kind = 'revoke_sessions'"
)


async def test_the_account_goes_with_the_last_phone_and_the_phone_comes_back_as_a_new_one(
    service: Service, company: Company
) -> None:
    row = company.row("A-1", ownership="personal", mdm="", udid="")
    subject = f"device-{company.device(row)}"
    await service.import_(company, [row])
    registered = await service.told(subject, DeviceRegistered)
    assert registered.holder is not None
    incident = new_incident()
    await service.say(lost(company.device(row)), incident, company.name)
    await service.until_command(incident, Kind.REVOKE_SESSIONS, "succeeded", "failed")
    await service.say(IncidentCancelled(reason="found_before_exposure"), incident, company.name)
    erased = PersonalDataErased(person=registered.holder, ground="left_the_company", fields=4, on_hold=True)

    async def kept(name: str) -> bool:
        return any(row[name] in found[0] for found in await service.kit.pool.fetch(_KEPT, company.name))

    async def erase(**facts: object) -> None:
        said = PersonalDataErased.model_validate(erased.model_dump() | facts)
        await service.say(said, f"org-{company.name}", company.name)

    await erase()
    await erase(on_hold=False)
    assert await kept("holder_account"), "first while it is held, then while the phone is in use"
    path = f"/v1/devices/{company.device(row)}/retire"
    body = {"reason": "contract_ended"}
    assert (await service.call("POST", path, company.name, "operator", json=body)).is_success
    await erase(on_hold=False, devices=[company.device(row)])
    assert not await kept("holder_account")

    await service.import_(company, [row])
    again = await service.told(subject, DeviceRegistered, 2)
    assert again.identifiers.keys() == registered.identifiers.keys()
    assert not set(again.identifiers.values()) & set(registered.identifiers.values()), "the old ones open nothing"
