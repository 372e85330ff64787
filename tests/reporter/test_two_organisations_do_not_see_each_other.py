"""Two companies in one installation: nothing of one is seen, found or changed by the other."""

from shared.events import mdm_actions as done
from tests.reporter.running import APPROVER, DESK, LEAD, PRIVACY, Reporter

_REPORT = {"reported_as": "proxy", "holder_name": "鈴木", "phone": "09012345678", "callback": "0312345678"}


async def test_cases_are_seen_and_changed_by_their_own_people_only(reporter: Reporter, acme: str, beta: str) -> None:
    await reporter.phone(acme, number="09012345678")
    colleague = await reporter.someone(acme)
    accepted = await colleague.post("/v1/reports", _REPORT)
    stranger = await reporter.someone(beta, DESK, LEAD, APPROVER, PRIVACY)
    path = f"/v1/incidents/{accepted['incident']}"
    assert (await stranger.get("/v1/incidents?state=all"))["incidents"] == []
    for ask in (
        stranger.get(path, expect=404),
        stranger.get(f"{path}/wipe/statement", expect=404),
        stranger.post(f"{path}/triage", {"cause": "theft", "severity": "high"}, expect=404),
        stranger.post(f"{path}/close", {"outcome": "x"}, expect=404),
        stranger.post(f"{path}/assessment", {}, expect=404),
        stranger.post(f"{path}/cancel", {"reason": "x"}, expect=404),
    ):
        assert (await ask)["code"] == "incident_unknown"
    assert len(await reporter.told(accepted["incident"])) == 1


async def test_the_same_number_in_two_companies_is_two_phones(reporter: Reporter, acme: str, beta: str) -> None:
    ours, theirs = await reporter.phone(acme, number="09012345678"), await reporter.phone(beta, number="09012345678")
    for organisation, device in ((acme, ours), (beta, theirs)):
        one = await reporter.someone(organisation)
        accepted = await one.post("/v1/reports", _REPORT)
        [(_, data)] = await reporter.told(accepted["incident"])
        assert data["device"] == device


async def test_a_phone_of_the_other_company_cannot_be_named(reporter: Reporter, acme: str, beta: str) -> None:
    theirs = await reporter.phone(beta, asset_tag="BETA-1")
    one = await reporter.someone(acme, DESK)
    assert (await one.post("/v1/reports", _REPORT | {"device": theirs}, expect=422))["code"] == "phone_not_found"
    accepted = await one.post("/v1/reports", _REPORT)
    for name in ({"device": theirs}, {"phone": "BETA-1"}):
        body = {"cause": "theft", "severity": "high"} | name
        await one.post(f"/v1/incidents/{accepted['incident']}/triage", body, expect=422)


async def test_an_event_of_another_company_changes_nothing(reporter: Reporter, acme: str, beta: str) -> None:
    device = await reporter.phone(acme, number="09012345678")
    desk = await reporter.someone(acme, DESK)
    accepted = await desk.post("/v1/reports", _REPORT)
    failed = done.LockFailed(device=device, reason="not_supervised")
    await reporter.hear(failed, accepted["incident"], beta)
    assert (await desk.get(f"/v1/incidents/{accepted['incident']}"))["tracks"]["lock"]["state"] == "none"
    await reporter.hear(done.DeviceRetired(reason="ended"), f"device-{device}", beta)
    assert (await desk.get(f"/v1/incidents/{accepted['incident']}"))["device"]["retired"] is False


async def test_the_same_idempotency_key_belongs_to_each_company_alone(reporter: Reporter, acme: str, beta: str) -> None:
    await reporter.phone(acme)
    await reporter.phone(beta)
    headers = {"Idempotency-Key": "0123456789abcdef"}
    answers = [
        await reporter.nobody().post("/v1/emergency-reports", _REPORT | {"organisation": name}, headers=headers)
        for name in (acme, beta)
    ]
    assert answers[0]["receipt_code"] != answers[1]["receipt_code"]
    assert answers[0]["incident"] != answers[1]["incident"]
