"""The company's list of phones: said first, then done; identifiers in the vault; nobody else's phones."""

import asyncio
import threading

import pytest

from services.mdm_actions import inventory
from services.mdm_actions.domain.inventory import Sheet
from shared.events.mdm_actions import DeviceChanged, DeviceRegistered, DeviceRetired
from tests.mdm_actions.bench import Company, Service


async def test_a_dry_run_changes_nothing_and_an_import_registers_each_phone(service: Service, company: Company) -> None:
    rows = [company.row("A-1"), company.row("A-2")]
    dry = await service.import_(company, rows, apply=False)
    assert (dry["applied"], dry["added"]) == (False, ["A-1", "A-2"])
    assert await service.names(f"device-{company.device(rows[0])}") == []

    done = await service.import_(company, rows)
    assert (done["applied"], done["added"]) == (True, ["A-1", "A-2"])
    registered = await service.told(f"device-{company.device(rows[0])}", DeviceRegistered)
    assert set(registered.identifiers) == {"serial", "imei", "phone_number", "marks"}
    async with service.kit.units.begin() as unit:
        imei = await service.kit.vault.open(
            unit.connection, registered.identifiers["imei"], organisation=company.name, actor="test", reason="test"
        )
    assert imei == rows[0]["imei"]
    for secret in (rows[0]["imei"], rows[0]["serial"], rows[0]["phone_number"], rows[0]["holder"]):
        kept = await service.kit.pool.fetch("SELECT row_to_json(d)::text AS row FROM device d")
        assert not any(secret in row["row"] for row in kept)


async def test_importing_again_tells_only_what_changed(service: Service, company: Company) -> None:
    rows = [company.row("A-1"), company.row("A-2"), company.row("A-3")]
    await service.import_(company, rows)
    subject = f"device-{company.device(rows[1])}"
    before = await service.told(subject, DeviceRegistered)
    rows[1] = rows[1] | {"colour": "blue", "imei": "359999999999999"}
    said = await service.import_(company, rows[:2])
    assert said["changed"] == [{"asset_tag": "A-2", "columns": ["colour", "imei"]}]
    assert (said["unchanged"], said["missing"]) == (["A-1"], ["A-3"])
    changed = await service.told(subject, DeviceChanged)
    assert (changed.changed, changed.colour) == (["colour", "imei"], "blue")
    assert changed.identifiers["serial"] == before.identifiers["serial"]
    assert changed.identifiers["imei"] != before.identifiers["imei"]
    assert await service.names(f"device-{company.device(rows[0])}") == ["DeviceRegistered"]
    assert (await service.import_(company, rows[:2]))["changed"] == []


async def test_the_service_goes_on_while_a_long_file_is_read(
    service: Service, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    went_on = threading.Event()
    read = inventory.read

    def read_slowly(text: str) -> Sheet:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).add_done_callback(lambda _: went_on.set())
        assert went_on.wait(10), "nothing else had its turn"
        return read(text)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(inventory, "read", read_slowly)
    assert (await service.import_(company, [company.row("A-1")]))["added"] == ["A-1"]


async def test_one_bad_row_keeps_the_whole_file_out(service: Service, company: Company) -> None:
    rows = [company.row("A-1"), company.row("A-2", ownership="borrowed")]
    said = await service.import_(company, rows)
    assert (said["applied"], [bad["line"] for bad in said["bad"]]) == (False, [3])
    assert (await service.call("GET", "/v1/devices", company.name, "operator")).json()["devices"] == []


async def test_nobody_takes_over_the_phone_or_line_of_another_company(
    service: Service, company: Company, other_company: Company
) -> None:
    row = company.row("A-1")
    await service.import_(company, [row])
    for stolen in ({"udid": row["udid"]}, {"sim_id": row["sim_id"]}):
        said = await service.import_(other_company, [other_company.row("B-1", **stolen)])
        assert (said["applied"], len(said["bad"])) == (False, 1)
    assert (await service.call("GET", "/v1/devices", other_company.name, "operator")).json()["devices"] == []


async def test_phones_leave_and_come_back(service: Service, company: Company, other_company: Company) -> None:
    row = company.row("A-1")
    await service.import_(company, [row])
    path, body = f"/v1/devices/{company.device(row)}/retire", {"reason": "contract_ended"}
    assert (await service.call("POST", path, other_company.name, "operator", json=body)).status_code == 404
    assert (await service.call("POST", path, company.name, "security_desk", json=body)).status_code == 403
    assert (await service.call("POST", path, company.name, "operator", json=body)).is_success
    await service.told(f"device-{company.device(row)}", DeviceRetired)
    assert (await service.import_(company, [row]))["added"] == ["A-1"]
    await service.told(f"device-{company.device(row)}", DeviceRegistered, count=2)


async def test_the_import_is_for_operators(service: Service, company: Company) -> None:
    assert (await service.http.post("/v1/inventory/import", content=b"")).status_code == 401
    assert (await service.call("POST", "/v1/inventory/import", company.name, "security_desk")).status_code == 403
