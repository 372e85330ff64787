"""From the report to the end: what the desk does, what it hears, and what it may not skip."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import uuid_utils.compat as uuids

from services.reporter import store
from shared.events import mdm_actions as done
from shared.events import notifier as told
from tests.reporter.running import DESK, LEAD, PRIVACY, Reporter

_COMMAND = "5e0a3c44-6f1b-5d7e-8c2a-1b9f0d3e4a55"
_DUTY = {"duty": "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e70", "rule": "JP-APPI-1", "phase": "preliminary"}
_AT = "2026-11-24T23:41:07.000+09:00"
_REPORT = {
    "reported_as": "proxy",
    "holder_name": "鈴木 健",
    "phone": "09012345678",
    "callback": "0312345678",
    "cause": "left_behind",
    "place": "taxi",
    "intoxication": "yes",
    "passcode_set": "yes",
    "passcode_attached": "yes",
    "attached": ["passcode_note"],
    "data_items": ["contacts", "mail"],
}


async def _opened(reporter: Reporter, organisation: str, **more: Any) -> str:
    await reporter.phone(organisation, number="09012345678")
    colleague = await reporter.someone(organisation)
    body = _REPORT | {"noticed_at": datetime.now(UTC).isoformat()} | more
    return str((await colleague.post("/v1/reports", body))["incident"])


def _duty_opened() -> told.DutyOpened:
    opened = {"rule_version": 1, "jurisdiction": "JP", "recipient": "ppc", "provisional": False, "reasons": ["x"]}
    return told.DutyOpened.model_validate(_DUTY | opened | {"known_at": _AT, "due": _AT})


async def test_the_whole_case(reporter: Reporter, acme: str) -> None:
    incident = await _opened(reporter, acme)
    path = f"/v1/incidents/{incident}"
    desk = await reporter.someone(acme, DESK)
    lead = await reporter.someone(acme, LEAD)
    privacy = await reporter.someone(acme, PRIVACY)

    await desk.post(f"{path}/triage", {"cause": "left_behind", "severity": "high"})
    await desk.post(f"{path}/steps", {"step": "locate", "reason": "holder_remembers_company"})
    device = (await desk.get(path))["device"]["device"]
    locked = {"device": device, "command": _COMMAND, "mode": "lost_mode", "proof": "P3", "acknowledged_at": _AT}
    await reporter.hear(done.DeviceLocked.model_validate(locked), incident, acme)
    snapshot = {
        "device": device,
        "taken_at": _AT,
        **dict.fromkeys(("encrypted", "passcode_set", "supervised", "mdm_enrolled", "remote_erase_ready"), "yes"),
        "attempts_limited": "yes",
        "encryption_level": "E2",
        "snapshot": "0" * 64,
    }
    await reporter.hear(done.ProtectionSnapshotTaken.model_validate(snapshot), incident, acme)
    await desk.post(f"{path}/police", {"kind": "lost_property", "reception_number": "R-1", "prefecture": "tokyo"})
    await desk.post(f"{path}/facility", {"facility": "taxi", "name": "日本交通", "outcome": "contacted"})

    prefill = (await privacy.get(path))["assessment_prefill"]
    assert prefill["protection"]["key_apart"] == "no"
    assert prefill["encryption_level"] == "E2"
    assert (prefill["lock_proof"], prefill["wipe_proof"]) == ("P3", "P0")
    excused = await privacy.post(f"{path}/assessment", {"exemption_signed_off": True}, expect=409)
    assert excused["code"] == "exemption_not_shown"
    case = await privacy.post(f"{path}/assessment", {"people": 1240, "people_certain": True, "records": 1310})
    assert case["assessments"][0]["people"] == 1240
    assert case["status"] == "assessing"

    await reporter.hear(_duty_opened(), incident, acme)
    refused = await lead.post(f"{path}/close", {"outcome": "not_recovered"}, expect=409)
    assert refused["missing"] == ["duties_open", "prevention_missing"]
    filed = {"filed_at": _AT, "receipt": "PPC-1", "late": False}
    await reporter.hear(told.DutyFiled.model_validate(_DUTY | filed), incident, acme)
    await desk.post(f"{path}/prevention", {"measure": "no_phone_at_parties", "kind": "rule", "owner_id": "sato"})
    closed = await lead.post(f"{path}/close", {"outcome": "not_recovered"})
    assert closed["status"] == "closed"
    kinds = [kind for kind, _ in await reporter.told(incident)]
    assert kinds == [
        "device-lost",
        "incident-triaged",
        "step-requested",
        "police-report-filed",
        "facility-contacted",
        "leak-assessed",
        "prevention-action-recorded",
        "incident-closed",
    ]
    assert "日本交通" not in str(await reporter.told(incident))


async def test_a_duty_that_opens_after_the_end_opens_the_case_again(reporter: Reporter, acme: str) -> None:
    incident = await _opened(reporter, acme)
    lead = await reporter.someone(acme, LEAD, DESK)
    await lead.post(f"/v1/incidents/{incident}/cancel", {"reason": "found_in_bag"})
    await reporter.hear(_duty_opened(), incident, acme)
    kind, data = (await reporter.told(incident))[-1]
    assert (kind, data) == ("incident-reopened", {"reason": "duty_opened"})
    refused = await lead.post(f"/v1/incidents/{incident}/cancel", {"reason": "found_in_bag"}, expect=409)
    assert refused["missing"] == ["duties_open"]


async def _waits(pool: asyncpg.Pool, task: asyncio.Task[Any]) -> None:
    """Until the task waits for a lock, or has ended."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not task.done() and not await pool.fetchval(waiting):
        await asyncio.wait([task], timeout=0.02)


async def test_a_case_is_not_reopened_beside_one_that_opens_about_the_same_phone_at_that_moment(
    reporter: Reporter, acme: str
) -> None:
    incident = await _opened(reporter, acme)
    lead = await reporter.someone(acme, LEAD)
    path = f"/v1/incidents/{incident}"
    await lead.post(f"{path}/cancel", {"reason": "found_in_bag"})
    ended = await store.load(reporter.kit.pool, incident, acme)
    assert ended is not None
    other = ended.model_copy(update={"id": str(uuids.uuid7()), "ended": None})
    async with reporter.kit.units.begin() as unit:
        await unit.lock(f"device-{ended.facts.device}")
        reopening = asyncio.create_task(lead.post(f"{path}/reopen", {"reason": "not_in_the_bag"}, expect=409))
        await _waits(reporter.kit.pool, reopening)
        await store.add(unit, other)
    assert (await reopening)["code"] == "device_in_other_incident"


async def test_recovery_keeps_every_duty_and_asks_for_a_new_assessment(reporter: Reporter, acme: str) -> None:
    incident = await _opened(reporter, acme)
    path = f"/v1/incidents/{incident}"
    everyone = await reporter.someone(acme, LEAD, DESK, PRIVACY)
    await everyone.post(f"{path}/assessment", {"people": 80})
    await reporter.hear(_duty_opened(), incident, acme)
    unchecked = {"from_whom": "police", "identity_checked": "unknown"}
    assert (await everyone.post(f"{path}/recovered", unchecked, expect=409))["code"] == "identity_not_checked"
    case = await everyone.post(f"{path}/recovered", unchecked | {"identity_checked": "yes"})
    assert case["status"] == "recovered"
    assert case["reassess"]
    assert [duty["ended"] for duty in case["duties"]] == [False]
    assert case["decision_version"] == 2


async def test_an_assessment_sent_twice_is_one_version(reporter: Reporter, acme: str) -> None:
    incident = await _opened(reporter, acme)
    path = f"/v1/incidents/{incident}"
    everyone = await reporter.someone(acme, LEAD, DESK, PRIVACY)
    found = {"leak": "suspected", "people": 80, "people_certain": True, "data_items": ["contacts"], "final": True}
    first = await everyone.post(f"{path}/assessment", found)
    again = await everyone.post(f"{path}/assessment", found)
    assert again["assessments"] == first["assessments"]
    assert [kind for kind, _ in await reporter.told(incident)].count("leak-assessed") == 1

    more = await everyone.post(f"{path}/assessment", found | {"people": 81})
    assert [version["version"] for version in more["assessments"]] == [1, 2]
    await everyone.post(f"{path}/recovered", {"from_whom": "police", "identity_checked": "yes"})
    looked = await everyone.post(f"{path}/assessment", found | {"people": 81})
    assert [version["version"] for version in looked["assessments"]] == [1, 2, 3]
    assert not looked["reassess"]


async def test_a_line_is_stopped_before_the_wipe_only_by_name(reporter: Reporter, acme: str) -> None:
    incident = await _opened(reporter, acme)
    desk = await reporter.someone(acme, DESK)
    path = f"/v1/incidents/{incident}/line/suspend"
    refused = await desk.post(path, {"reason": "misuse_of_line"}, expect=409)
    assert refused["code"] == "line_before_wipe"
    await desk.post(path, {"reason": "misuse_of_line", "acknowledge": True})
    kind, data = (await reporter.told(incident))[-1]
    assert kind == "line-suspension-requested"
    assert data["named_by"].startswith("person-")


async def test_the_triage_names_the_phone_and_moves_the_decision_version(reporter: Reporter, acme: str) -> None:
    incident = await _opened(reporter, acme, phone="黒いスマホ")
    other = await reporter.phone(acme, asset_tag="IP-77", number="09077778888")
    desk = await reporter.someone(acme, DESK)
    triage = {"cause": "theft", "severity": "high", "phone": "ip-77", "holder_id": "suzuki"}
    case = await desk.post(f"/v1/incidents/{incident}/triage", triage)
    assert case["device"]["device"] == other
    assert case["decision_version"] == 2
    amended, triaged = (await reporter.told(incident))[-2:]
    assert amended[0] == "loss-report-amended"
    assert set(amended[1]["changed"]) == {"device", "holder", "cause"}
    assert triaged[1]["device"] == other
    unknown = await desk.post(f"/v1/incidents/{incident}/triage", triage | {"phone": "no-such"}, expect=422)
    assert unknown["code"] == "phone_not_found"


async def test_going_ahead_without_a_call_back_is_loud(reporter: Reporter, acme: str) -> None:
    await reporter.phone(acme)
    body = {"organisation": acme, "reported_as": "holder", "holder_name": "鈴木", "phone": "x99", "callback": "0312"}
    accepted = await reporter.nobody().post("/v1/emergency-reports", body)
    desk = await reporter.someone(acme, DESK)
    path = f"/v1/incidents/{accepted['incident']}/verify"
    await desk.post(path, {"method": "break_glass", "reason": "reporter_unreachable"})
    kinds = [kind for kind, _ in await reporter.told(accepted["incident"])]
    assert kinds == ["device-lost", "break-glass-used", "report-verified"]


async def test_each_act_needs_its_role(reporter: Reporter, acme: str) -> None:
    incident = await _opened(reporter, acme)
    path = f"/v1/incidents/{incident}"
    employee, desk = await reporter.someone(acme), await reporter.someone(acme, DESK)
    auditor = await reporter.someone(acme, "auditor")
    await reporter.nobody().get(path, expect=401)
    await employee.get(path, expect=403)
    await desk.post(f"{path}/assessment", {}, expect=403)
    await desk.post(f"{path}/close", {"outcome": "x"}, expect=403)
    await auditor.post(f"{path}/triage", {"cause": "theft", "severity": "high"}, expect=403)
    seen = await auditor.get(path)
    assert seen["contact"] is None
    assert "0312345678" not in str(seen)


async def test_a_practice_run_is_marked_and_only_the_desk_may_call_it(reporter: Reporter, acme: str) -> None:
    await reporter.phone(acme, number="09012345678")
    employee, desk = await reporter.someone(acme), await reporter.someone(acme, DESK)
    body = {"reported_as": "proxy", "holder_name": "訓練", "phone": "09012345678", "callback": "訓練", "drill": True}
    await employee.post("/v1/reports", body, expect=403)
    drill = await desk.post("/v1/reports", body)
    real = await employee.post("/v1/reports", body | {"drill": False})
    assert drill["incident"] != real["incident"]
    assert (await desk.get(f"/v1/incidents/{drill['incident']}"))["drill"] is True


async def test_nothing_was_done_about_a_loss_a_year_before_it(reporter: Reporter, acme: str) -> None:
    incident = await _opened(reporter, acme)
    desk = await reporter.someone(acme, DESK)
    path = f"/v1/incidents/{incident}"
    year_before = (datetime.now(UTC) - timedelta(days=365)).isoformat()
    for act, order in (
        ("police", {"filed_at": year_before}),
        ("facility", {"facility": "taxi", "contacted_at": year_before}),
        ("recovered", {"from_whom": "police", "identity_checked": "yes", "recovered_at": year_before}),
    ):
        assert (await desk.post(f"{path}/{act}", order, expect=422))["code"] == "moment_before_loss"
    hours_before = (datetime.now(UTC) - timedelta(hours=6)).isoformat()
    await desk.post(f"{path}/police", {"filed_at": hours_before})


async def test_the_police_may_have_been_told_days_before_the_company(reporter: Reporter, acme: str) -> None:
    incident = await _opened(reporter, acme, noticed_at=None)
    days_before = (datetime.now(UTC) - timedelta(days=4)).isoformat()
    desk = await reporter.someone(acme, DESK)
    await desk.post(f"/v1/incidents/{incident}/police", {"filed_at": days_before})
