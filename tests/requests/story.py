"""One lost phone as far as the desk has come, so that requests meet something."""

import random
from dataclasses import dataclass
from typing import Any

from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation

from tests.notifier.cases import DETAILS
from tests.requests.running import World


@dataclass(frozen=True)
class Known:
    """Ids that exist, by the name of the path parameter."""

    ids: dict[str, list[str]]

    def point(self, case: Any, chance: random.Random) -> None:
        """Have a request ask for something that is there, where its path names a thing and is not wrong on purpose."""
        path = case.meta.components.get(ParameterLocation.PATH)
        if path is not None and path.mode is GenerationMode.NEGATIVE:
            return
        for name in case.path_parameters or {}:
            if name in self.ids:
                case.path_parameters[name] = chance.choice(self.ids[name])


async def ask(world: World, service: str, role: str | None, order: str, body: Any = None) -> Any:
    """The answer's JSON; anything but success fails the test."""
    method, path = order.split(" ")
    url = world.services[service].url
    answer = await world.http.request(method, f"{url}{path}", json=body, headers=await world.headers(role))
    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
    return answer.json() if answer.content else None


async def a_case(world: World) -> Known:
    """A phone in the inventory, a report through each door, verified, triaged and assessed, a draft to publish."""
    tag = "FUZZ-0001"
    csv = f"asset_tag,platform,model,ownership,phone_number\n{tag},ios,iPhone 16,company,+819000000099\n"
    url = world.services["mdm_actions"].url
    answer = await world.http.post(
        f"{url}/v1/inventory/import?apply=true", content=csv.encode(), headers=await world.headers("operator")
    )
    assert answer.is_success, answer.text
    assert answer.json()["applied"], answer.text
    await world.tell()
    report = {"reported_as": "proxy", "holder_name": "鈴木 健", "phone": tag, "callback": "03-1234-5678"}
    signed_in = await ask(world, "reporter", "employee", "POST /v1/reports", report | {"data_items": ["mail"]})
    emergency = await ask(
        world,
        "reporter",
        None,
        "POST /v1/emergency-reports",
        report | {"organisation": world.organisation, "phone": "黒いiPhone"},
    )
    await world.tell()
    incident = signed_in["incident"]
    triage = {"cause": "left_behind", "severity": "high", "phone": tag}
    await ask(world, "reporter", "security_desk", f"POST /v1/incidents/{incident}/triage", triage)
    findings = {"leak": "suspected", "people": 1200, "data_items": ["contacts"]}
    await ask(world, "reporter", "privacy_officer", f"POST /v1/incidents/{incident}/assessment", findings)
    await world.tell()
    draft = await ask(world, "notifier", "disclosure_owner", f"POST /v1/incidents/{incident}/disclosures", DETAILS)
    duties = await ask(world, "notifier", "privacy_officer", f"GET /v1/incidents/{incident}/duties")
    alerts = await ask(world, "notifier", "security_desk", "GET /v1/alerts")
    devices = await ask(world, "mdm_actions", "operator", "GET /v1/devices")
    return Known(
        {
            "incident": [incident, emergency["incident"]],
            "subject": [incident],
            "code": [signed_in["receipt_code"], emergency["receipt_code"]],
            "duty": [duty["duty"] for duty in duties["duties"]] or [incident],
            "disclosure": [draft["disclosure"]],
            "alert": [alert["alert"] for alert in alerts["alerts"]] or [incident],
            "device": [device["device"] for device in devices["devices"]],
            "seq": ["0", "1", "3"],
        }
    )
