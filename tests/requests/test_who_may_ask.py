"""Each operation of each service's OpenAPI document, as each role and as nobody: who may not is told so with 401 or 403
before anything is looked up. The table says who may, apart from the code."""

import re
from collections.abc import Mapping

import httpx2
import pytest

from tests.requests.running import ROLES, SERVICES, World
from tests.requests.story import Known

_DESK = "security_desk incident_lead"
_CASE = f"{_DESK} approver privacy_officer executive disclosure_owner auditor"
_FLEET = f"{_DESK} approver privacy_officer operator auditor"
_EVERYONE = " ".join(role for role in ROLES if role != "everything")
_OPEN = "nobody"

_MAY = {
    "reporter": {
        "POST /v1/reports": _EVERYONE,
        "POST /v1/emergency-reports": _OPEN,
        "GET /v1/receipts/{code}": _OPEN,
        "POST /v1/receipts/{code}/amend": _OPEN,
        "POST /v1/receipts/{code}/found": _OPEN,
        "GET /v1/incidents": _CASE,
        "GET /v1/incidents/{incident}": _CASE,
        "POST /v1/incidents/{incident}/verify": _DESK,
        "POST /v1/incidents/{incident}/triage": _DESK,
        "POST /v1/incidents/{incident}/amend": _DESK,
        "POST /v1/incidents/{incident}/steps": _DESK,
        "POST /v1/incidents/{incident}/line/suspend": _DESK,
        "POST /v1/incidents/{incident}/line/resume": _DESK,
        "POST /v1/incidents/{incident}/police": _DESK,
        "POST /v1/incidents/{incident}/facility": _DESK,
        "POST /v1/incidents/{incident}/assessment": "privacy_officer",
        "POST /v1/incidents/{incident}/assessment/exemption": "privacy_officer executive",
        "POST /v1/incidents/{incident}/recovered": _DESK,
        "POST /v1/incidents/{incident}/written-off": "incident_lead",
        "POST /v1/incidents/{incident}/prevention": _DESK,
        "POST /v1/incidents/{incident}/close": "incident_lead",
        "POST /v1/incidents/{incident}/reopen": _DESK,
        "POST /v1/incidents/{incident}/cancel": "incident_lead",
        "GET /v1/incidents/{incident}/wipe/statement": f"{_DESK} approver",
        "POST /v1/incidents/{incident}/wipe/proposals": f"{_DESK} approver",
        "GET /v1/incidents/{incident}/wipe/proposals/{nonce}": _CASE,
        "POST /v1/incidents/{incident}/wipe/proposals/{nonce}/approvals": "approver",
        "POST /v1/incidents/{incident}/wipe/proposals/{nonce}/decline": "approver",
        "POST /v1/incidents/{incident}/wipe/proposals/{nonce}/withdraw": f"{_DESK} approver",
        "GET /v1/me": _EVERYONE,
        "POST /v1/people/search": "privacy_officer",
        "POST /v1/people/{person}/erasure": "privacy_officer",
        "POST /v1/disclosures": "privacy_officer",
    },
    "mdm_actions": {
        "GET /v1/tasks": _DESK,
        "POST /v1/tasks/{task}/done": _DESK,
        "POST /v1/tasks/{task}/confirm": _DESK,
        "POST /v1/inventory/import": "operator",
        "GET /v1/devices": _FLEET,
        "POST /v1/devices/{device}/retire": "operator",
        "GET /v1/incidents/{incident}/commands": _FLEET,
        "GET /v1/breaker": _FLEET,
        "POST /v1/breaker/reset": "incident_lead approver",
    },
    "notifier": {
        "GET /v1/alerts": _CASE,
        "POST /v1/alerts/{alert}/acknowledge": f"{_DESK} approver privacy_officer executive",
        "GET /v1/duties": _CASE,
        "GET /v1/incidents/{incident}/duties": _CASE,
        "GET /v1/incidents/{incident}/filing": _CASE,
        "POST /v1/duties/{duty}/file": "privacy_officer",
        "POST /v1/duties/{duty}/meet": "privacy_officer",
        "POST /v1/duties/{duty}/reopen": "privacy_officer",
        "POST /v1/duties/{duty}/waive": "privacy_officer executive",
        "POST /v1/incidents/{incident}/principals": "privacy_officer",
        "POST /v1/principals/search": "privacy_officer",
        "POST /v1/incidents/{incident}/notices": "privacy_officer",
        "GET /v1/incidents/{incident}/notices": _CASE,
        "GET /v1/incidents/{incident}/notices/{batch}/ledger": _CASE,
        "POST /v1/incidents/{incident}/disclosures": "disclosure_owner privacy_officer",
        "GET /v1/incidents/{incident}/disclosures": _CASE,
        "GET /v1/disclosures/{disclosure}": _CASE,
        "POST /v1/disclosures/{disclosure}/revise": "disclosure_owner privacy_officer",
        "POST /v1/disclosures/{disclosure}/approve": "privacy_officer executive",
        "POST /v1/disclosures/{disclosure}/contact-desk-check": "disclosure_owner privacy_officer incident_lead",
        "POST /v1/disclosures/{disclosure}/issue": "disclosure_owner",
        "POST /v1/disclosures/{disclosure}/retract": "disclosure_owner",
    },
    "audit": {
        "GET /checkpoint": _OPEN,
        "GET /tile/{rest}": _OPEN,
        "GET /tile/entries/{rest}": "auditor",
        "GET /detached/{sha256}": "auditor",
        "GET /v1/entries/{seq}": _CASE,
        "GET /v1/entries/{seq}/proof": _OPEN,
        "GET /v1/consistency": _OPEN,
        "GET /v1/incidents/{subject}/timeline": _CASE,
        "POST /v1/incidents/{subject}/evidence": "privacy_officer auditor",
        "GET /v1/policy": _OPEN,
        "GET /v1/receipts/{topic}/{partition}/{offset}": _OPEN,
        "GET /v1/streams": "auditor",
    },
}  # fmt: skip
_FORMS = {
    "reporter": {
        "POST /report": _EVERYONE,
        "POST /incidents/{incident}/verify": _DESK,
        "POST /incidents/{incident}/triage": _DESK,
        "POST /incidents/{incident}/assessment": "privacy_officer",
        "POST /incidents/{incident}/exemption": "privacy_officer executive",
        "POST /incidents/{incident}/close": "incident_lead",
        "POST /incidents/{incident}/wipe/{nonce}/decline": "approver",
        "POST /incidents/{incident}/wipe/{nonce}/withdraw": f"{_DESK} approver",
    },
    "notifier": {
        "POST /alerts/{alert}": f"{_DESK} approver privacy_officer executive",
        "POST /duties/{duty}/file": "privacy_officer",
        "POST /duties/{duty}/waive": "privacy_officer executive",
        "POST /incidents/{incident}/notices": "privacy_officer",
        "POST /incidents/{incident}/notices/people": "privacy_officer",
        "POST /incidents/{incident}/disclosures": "disclosure_owner privacy_officer",
    },
}
"""What pages send, a page's own acts among them."""
_NOWHERE = "01a22000-0000-7000-8000-000000000000"
_SHAPED = {"nonce": "0" * 32, "person": f"person-{'0' * 32}", "code": "0" * 20, "seq": "0", "sha256": "0" * 64}
_SHAPED |= {"topic": "lostphone.log.v1", "partition": "0", "offset": "0", "rest": "000"}


@pytest.mark.parametrize("service", SERVICES)
async def test_the_table_has_every_documented_operation(world: World, service: str) -> None:
    document = (await world.http.get(f"{world.services[service].url}/openapi.json")).json()
    there = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    # Webhooks are signed by vendors, not asked by people.
    assert {name for name in there if "/webhooks/" not in name} == set(_MAY[service])


@pytest.mark.parametrize("service", SERVICES)
async def test_an_operation_answers_those_who_may_ask_and_nobody_else(world: World, service: str) -> None:
    asked = [
        (operation, who, allowed.split())
        for operation, allowed in [*_MAY[service].items(), *_FORMS.get(service, {}).items()]
        for who in ("nobody", *_EVERYONE.split())
    ]
    wrong = []
    for operation, who, allowed in asked:
        answer = await _ask(world, service, operation, None if who == "nobody" else await world.token(who))
        expected = _refusal(who, allowed)
        said = (answer.status_code, answer.json().get("code") if answer.status_code in (401, 403) else None)
        if said != expected if expected else said in ((401, "sign_in_needed"), (403, "role_needed")):
            wrong.append((operation, who, said))
    assert wrong == []


@pytest.mark.parametrize("service", SERVICES)
async def test_people_of_another_organisation_are_told_what_is_said_of_things_that_are_not_there(
    world: World, known: Known, service: str
) -> None:
    token = await world.token("everything", world.installed.new_organisation())
    of_things = {"incident", "subject", "duty", "disclosure", "alert", "device"}
    told_apart = []
    for operation in _MAY[service]:
        names = of_things & set(re.findall(r"\{(\w+)\}", operation))
        for name in names:
            there = await _ask(world, service, operation, token, {name: known.ids[name][0]})
            nowhere = await _ask(world, service, operation, token)
            answers = [(answer.status_code, answer.json().get("code")) for answer in (there, nowhere)]
            if answers[0] != answers[1] or there.is_success:
                told_apart.append((operation, *answers))
    assert told_apart == []


def _refusal(who: str, allowed: list[str]) -> tuple[int, str] | None:
    if who in allowed or "nobody" in allowed:
        return None
    return (401, "sign_in_needed") if who == "nobody" else (403, "role_needed")


async def _ask(
    world: World, service: str, operation: str, token: str | None, known: Mapping[str, str] | None = None
) -> httpx2.Response:
    """With a body in which everything is missing, about things that are not there but for those that are named."""
    method, path = operation.split(" ")
    ids = _SHAPED | (known or {})
    url = world.services[service].url + re.sub(r"\{(\w+)\}", lambda found: ids.get(found[1], _NOWHERE), path)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await world.http.request(method, url, json={} if method == "POST" else None, headers=headers)


async def test_who_is_not_signed_in_learns_nothing_from_a_body_that_is_no_json(world: World, known: Known) -> None:
    url = f"{world.services['reporter'].url}/v1/incidents"
    headers = {"Content-Type": "application/json"}
    answers = []
    for incident in (known.ids["incident"][0], "00000000-0000-7000-8000-000000000000", "none"):
        answer = await world.http.post(f"{url}/{incident}/verify", content=b"{", headers=headers)
        answers.append((answer.status_code, answer.json() | {"instance": None}))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][1]["errors"][0]["code"] == "json_invalid"
