"""People inside are woken, and more of them until somebody has it."""

from typing import Any

import pytest

from shared.events.mdm_actions import BreakerOpened, CommandRejected, WipeFailed
from shared.events.reporter import DeviceLost, DeviceRecovered, IncidentCancelled, ReportVerified
from tests.notifier import cases
from tests.notifier.cases import DEVICE, NONCE, after
from tests.notifier.running import Notifier, Outside, notifier_at, until
from tests.stack.installed import Installed

_ARMED = "SELECT due_at - now() FROM timer WHERE name LIKE 'alert:%' AND subject = $1"


def lost(**changes: Any) -> DeviceLost:
    """Lost at home, which owes the police nothing: before a weekend, that duty would wake people at once."""
    return cases.lost(place="home", **changes)


async def test_a_report_wakes_the_desk_with_a_link_and_without_personal_data(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost())
    (sent,) = await notifier.heard_of(incident, "alert-sent")
    (shown,) = await notifier.outside.alerts(f"{notifier.organisation}/security_desk")
    assert shown["links"] == [f"{notifier.url}/alerts/{sent['alert']}"]
    assert "紛失" in shown["title"]
    assert (sent["kind"], sent["role"], sent["channels"], sent["attempt"]) == (
        "device_lost", "security_desk", ["desk"], 1,
    )  # fmt: skip


async def test_an_alert_climbs_until_somebody_acknowledges_and_is_then_quiet(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost())
    await notifier.heard_of(incident, "alert-sent")
    await notifier.fire(incident, "alert")
    await notifier.heard_of(incident, "alert-sent", 2)
    await notifier.fire(incident, "alert")
    sent = await notifier.heard_of(incident, "alert-sent", 3)
    assert [item["role"] for item in sent] == ["security_desk", "incident_lead", "executive"]
    desk = await notifier.someone("desk")
    answer = await desk.post(f"/v1/alerts/{sent[0]['alert']}/acknowledge")
    assert answer["acknowledged_by"].startswith("person-")
    await desk.post(f"/v1/alerts/{sent[0]['alert']}/acknowledge")
    (acknowledged,) = await notifier.said(incident, "alert-acknowledged")
    assert acknowledged["actor"] == f"{answer['acknowledged_by']}/security_desk"
    assert await notifier.kit.pool.fetchval(_ARMED, incident) is None


async def test_it_waits_ten_minutes_before_it_insists(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost())
    await notifier.heard_of(incident, "alert-sent")
    wait = await notifier.kit.pool.fetchval(_ARMED, incident)
    assert 540 < wait.total_seconds() <= 600


async def test_an_emergency_report_asks_the_desk_to_verify(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(door="emergency"))
    (sent,) = await notifier.heard_of(incident, "alert-sent")
    assert sent["kind"] == "report_not_verified"


@pytest.mark.parametrize(
    ("payload", "kind", "role"),
    [
        (WipeFailed(device=DEVICE, nonce=NONCE, reason="device_refused"), "wipe_failed", "security_desk"),
        (CommandRejected(what="wipe", reason="same_person_signed_twice"), "command_rejected", "incident_lead"),
        (
            DeviceRecovered.model_validate(
                {"recovered_at": after(100), "from_whom": "police", "identity_checked": "yes"}
            ),
            "device_recovered",
            "privacy_officer",
        ),
    ],
)
async def test_what_goes_wrong_wakes_the_one_in_charge(
    notifier: Notifier, incident: str, payload: WipeFailed | CommandRejected | DeviceRecovered, kind: str, role: str
) -> None:
    await notifier.hear(incident, payload)
    (sent,) = await notifier.heard_of(incident, "alert-sent")
    assert (sent["kind"], sent["role"]) == (kind, role)


async def test_an_opened_breaker_wakes_the_lead_of_its_organisation(notifier: Notifier) -> None:
    subject = f"org-{notifier.organisation}"
    breaker = BreakerOpened(scope="organisation", reason="wipes_per_window", count=6, limit=5)
    await notifier.hear(subject, breaker)
    (sent,) = await notifier.heard_of(subject, "alert-sent")
    assert sent["kind"] == "breaker_opened"


async def test_a_false_alarm_ends_the_insisting(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost())
    await notifier.heard_of(incident, "alert-sent")
    await notifier.hear(incident, IncidentCancelled(reason="found_in_bag_before_exposure"))
    assert await notifier.kit.pool.fetchval(_ARMED, incident) is None


async def test_a_drill_wakes_nobody_but_runs_the_same_way(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), drill=True)
    (sent,) = await notifier.heard_of(incident, "alert-sent")
    assert (sent["channels"], sent["drill"]) == (["drill"], "true")
    reached = [entry["path"] for entry in await notifier.outside.journal("alerts")]
    assert [path for path in reached if notifier.organisation in path] == []


async def test_an_alert_that_no_pager_takes_is_sent_again_and_never_counts_as_sent(
    installation: Installed, outside: Outside, acme: str, incident: str
) -> None:
    await outside.fault("alerts", kind="answer", status=500)
    async with notifier_at(installation, outside, acme) as notifier:
        await notifier.hear(incident, lost())

        async def tried() -> bool:
            return len(await outside.journal("alerts")) == 1

        await until(tried, "the first try")

        async def postponed() -> bool:
            asked = "SELECT due_at > now() + '5 s' FROM timer WHERE name LIKE 'alert:%' AND attempt = 0"
            return bool(await notifier.kit.pool.fetchval(asked))

        await until(postponed, "the pause after a refused alert")
        assert await notifier.said(incident, "alert-sent") == []
        await notifier.fire(incident, "alert")
        await notifier.heard_of(incident, "alert-sent")


async def test_the_link_opens_a_page_that_needs_sign_in_and_its_own_organisation(
    notifier: Notifier, incident: str, beta: str
) -> None:
    await notifier.hear(incident, lost())
    (sent,) = await notifier.heard_of(incident, "alert-sent")
    page = f"/alerts/{sent['alert']}"
    answer = await notifier.http.get(page, headers={"Accept": "text/html"})
    assert answer.status_code == 401
    desk = await notifier.someone("desk")
    shown = await notifier.http.get(page, headers={"Authorization": f"Bearer {desk.token}", "Accept": "text/html"})
    assert shown.status_code == 200
    assert "担当します" in shown.text
    stranger = await notifier.someone("desk", beta)
    assert await stranger.get(f"/v1/alerts?incident={incident}") == {"alerts": []}
    await stranger.post(f"/v1/alerts/{sent['alert']}/acknowledge", expect=404)
    employee = await notifier.someone("employee")
    await employee.post(f"/v1/alerts/{sent['alert']}/acknowledge", expect=403)


async def test_hearing_a_report_again_wakes_nobody_again(notifier: Notifier, incident: str) -> None:
    (record,) = await notifier.hear(incident, lost(door="emergency"))
    await notifier.hear(incident, ReportVerified(method="call_back", verified_at=after(28)))
    await notifier.heard_of(incident, "alert-sent")
    await notifier.hear_again(record)
    assert await notifier.kit.pool.fetchval("SELECT count(*) FROM alert WHERE subject = $1", incident) == 1


async def test_what_calls_for_somebody_is_listed_however_many_came_and_were_taken_since(
    notifier: Notifier, incident: str
) -> None:
    await notifier.hear(incident, lost())
    (sent,) = await notifier.heard_of(incident, "alert-sent")
    await notifier.kit.pool.execute(
        "INSERT INTO alert (alert, subject, organisation, drill, kind, opened_at, acknowledged_by, "
        "acknowledged_at, ended) SELECT uuidv7()::text, 'org-' || $1, $1, false, 'device_lost', "
        "now() + interval '1 minute', 'person-a', now(), true FROM generate_series(1, 250)",
        notifier.organisation,
    )
    desk = await notifier.someone("desk")
    (listed,) = (await desk.get("/v1/alerts?state=open"))["alerts"]
    assert listed["alert"] == sent["alert"]
    first = (await desk.get("/v1/alerts"))["alerts"]
    rest = (await desk.get(f"/v1/alerts?after={first[-1]['alert']}"))["alerts"]
    assert (len(first), len(rest), rest[-1]["alert"]) == (200, 51, sent["alert"])
