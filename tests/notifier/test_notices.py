"""The people concerned are told once, each outcome is known or said to be unknown, and nobody else hears of it."""

import re
from typing import Any

import pytest

from services.notifier import notices
from shared.events.reporter import PersonalDataErased
from shared.vault import MAX_PEOPLE
from tests.notifier.cases import BIG, DETAILS, LOCKED, SENT, WIPED, assessed, lost
from tests.notifier.running import Notifier, Outside, notifier_at, until
from tests.stack.installed import Installed

ISSUER = DETAILS["issuer"]
LINE_USER = "U" + "0123456789abcdef" * 2
ORDER = {"template": "jp-loss-v1", "assessment_version": 1, "issuer": ISSUER}


@pytest.fixture
def notifier(lone_notifier: Notifier) -> Notifier:
    """One of its own: every message that left is counted."""
    return lone_notifier


async def _ready(notifier: Notifier, incident: str, csv: str, *, people: int = 2, drill: bool = False) -> None:
    facts = assessed(**BIG | {"people": people})
    await notifier.hear(incident, lost(cause="theft"), LOCKED, SENT, WIPED, facts, drill=drill)
    privacy = await notifier.someone("privacy")
    await privacy.ask("POST", f"/v1/incidents/{incident}/principals", 200, content=csv.encode(), headers=_CSV)


_CSV = {"Content-Type": "text/csv"}
_TWO = f"name,mail,line_user_id\n佐藤 花子,hanako@example.jp,\n鈴木 一郎,,{LINE_USER}\n"


async def _send(notifier: Notifier, incident: str) -> dict[str, Any]:
    privacy = await notifier.someone("privacy")
    await privacy.post(f"/v1/incidents/{incident}/notices", ORDER, expect=202)
    (settled,) = await notifier.heard_of(incident, "notices-settled")
    return settled


async def _open(notifier: Notifier, incident: str) -> set[str]:
    privacy = await notifier.someone("privacy")
    found = (await privacy.get(f"/v1/incidents/{incident}/duties"))["duties"]
    return {duty["rule"] for duty in found if duty["state"] == "open"}


async def test_everybody_is_told_by_their_own_channel_and_the_duty_is_met(notifier: Notifier, incident: str) -> None:
    await _ready(notifier, incident, _TWO)
    settled = await _send(notifier, incident)
    assert settled["by_state"] == {"accepted": 2}
    (sent,) = await notifier.said(incident, "notices-sent")
    assert sent["by_channel"] == {"mail": 1, "line": 1}
    assert sent["actor"].endswith("/privacy_officer")
    (mail,) = await notifier.outside.mails("hanako@example.jp")
    assert "業務用携帯電話の盗難" in mail["headers"]["Subject"]
    assert "二次被害の有無" in mail["plain"]
    (push,) = await notifier.outside.pushes()
    assert push["to"] == LINE_USER
    assert "盗難" not in push["messages"][0]["text"]
    (met,) = [event for event in await notifier.said(incident, "duty-met") if event["rule"] == "JP-APPI-3"]
    assert met["how"] == "all_principals_told"


async def test_people_who_come_to_light_after_all_were_told_are_owed_their_notice(
    notifier: Notifier, incident: str
) -> None:
    await _ready(notifier, incident, _TWO)
    await _send(notifier, incident)
    as_many = assessed(**BIG | {"people": 2}, version=2)
    await notifier.hear(incident, as_many)
    assert "JP-APPI-3" not in await _open(notifier, incident)
    await notifier.hear(incident, as_many.model_copy(update={"version": 3, "people": 3}))
    assert "JP-APPI-3" in await _open(notifier, incident)


async def test_the_link_in_a_message_opens_the_whole_notice(notifier: Notifier, incident: str) -> None:
    await _ready(notifier, incident, _TWO)
    await _send(notifier, incident)
    (push,) = await notifier.outside.pushes()
    link = next(line for line in push["messages"][0]["text"].splitlines() if line.startswith("http"))
    for lang, order in (("ja", ["対象となる情報", "Information affected"]), ("en", ["Misuse", "二次被害の有無"])):
        page = await notifier.http.get(f"{link}?lang={lang}", headers={"Accept": "text/html"})
        assert page.status_code == 200
        assert page.text.index(f"<h2>{order[0]}</h2>") < page.text.index(f"<h2>{order[1]}</h2>")
        assert not {"詳しくはこちら", "Read more"} & set(re.findall("<h2>(.*?)</h2>", page.text))
    assert "花子" not in page.text
    assert (await notifier.http.get(link[:-3] + "xyz")).status_code == 404


async def test_no_address_stands_in_any_event_or_table(notifier: Notifier, incident: str) -> None:
    await _ready(notifier, incident, _TWO)
    await _send(notifier, incident)
    tables = ("principal", "notice", "notice_attempt", "batch", "outbox", "timer")
    for table in tables:
        rows = await notifier.kit.pool.fetch(f"SELECT {table}::text AS row FROM {table}")
        text = "".join(row["row"] for row in rows) + str(await notifier.said(incident))
        for planted in ("hanako", "花子", LINE_USER):
            assert planted not in text, table


async def test_a_dry_run_and_a_preview_change_and_send_nothing(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), LOCKED, SENT, WIPED, assessed(**BIG))
    privacy = await notifier.someone("privacy")
    path = f"/v1/incidents/{incident}/principals"
    answer = await privacy.ask("POST", f"{path}?dry_run=true", 200, content=_TWO.encode(), headers=_CSV)
    assert (answer["people"], answer["dry_run"]) == (2, True)
    assert (await privacy.get(f"/v1/incidents/{incident}/notices"))["listed"] == 0
    bad = b"name,mail\nA,not-a-mail\n"
    refused = await privacy.ask("POST", path, 422, content=bad, headers=_CSV)
    assert refused["errors"] == [{"row": 2, "code": "mail_malformed"}]
    await privacy.ask("POST", path, 200, content=_TWO.encode(), headers=_CSV)
    again = await privacy.ask("POST", path, 200, content=_TWO.encode(), headers=_CSV)
    assert (again["added"], again["already_listed"], again["listed"]) == (0, 2, 2)
    preview = await privacy.post(f"/v1/incidents/{incident}/notices", ORDER | {"preview": True}, expect=200)
    assert (preview["people"], preview["by_channel"]) == (2, {"line": 1, "mail": 1})
    assert await notifier.outside.journal("mail") == []
    assert await notifier.said(incident, "notices-sent") == []


async def test_a_refused_mailbox_falls_back_to_line_and_else_opens_the_duty_to_publish(
    notifier: Notifier, incident: str
) -> None:
    both = f"name,mail,line_user_id\nA,gone@example.jp,{LINE_USER}\nB,lost@example.jp,\n"
    await notifier.outside.refuse("mail", {"address": "gone@example.jp", "code": 550})
    await notifier.outside.refuse("mail", {"address": "lost@example.jp", "code": 550})
    await _ready(notifier, incident, both)
    settled = await _send(notifier, incident)
    assert settled["by_state"] == {"accepted": 1, "bounced": 1}
    assert len(await notifier.outside.pushes()) == 1
    opened = {event["rule"] for event in await notifier.said(incident, "duty-opened")}
    assert "JP-APPI-3S" in opened
    assert "JP-APPI-3" not in {event["rule"] for event in await notifier.said(incident, "duty-met")}
    privacy = await notifier.someone("privacy")
    (batch,) = (await privacy.get(f"/v1/incidents/{incident}/notices"))["batches"]
    rows = (await privacy.get(f"/v1/incidents/{incident}/notices/{batch['batch']}/ledger"))["people"]
    assert sorted((row["channel"], row["state"], row["reason"]) for row in rows) == [
        ("line", "accepted", None),
        ("mail", "bounced", "smtp_550"),
    ]


async def test_a_mail_whose_answer_was_lost_is_uncertain_and_never_sent_again(
    notifier: Notifier, incident: str
) -> None:
    await notifier.outside.fault("mail", kind="lose_answer", match="hanako@example.jp")
    await _ready(notifier, incident, _TWO)
    settled = await _send(notifier, incident)
    assert settled["by_state"] == {"accepted": 1, "uncertain": 1}
    assert len(await notifier.outside.mails("hanako@example.jp")) == 1
    privacy = await notifier.someone("privacy")
    refused = await privacy.post(f"/v1/incidents/{incident}/notices", ORDER, expect=409)
    assert refused["code"] == "nobody_to_tell"


async def test_a_line_message_whose_answer_was_lost_is_sent_again_with_its_key_and_arrives_once(
    notifier: Notifier, incident: str
) -> None:
    await notifier.outside.fault("line", kind="lose_answer")
    await _ready(notifier, incident, _TWO)
    privacy = await notifier.someone("privacy")
    await privacy.post(f"/v1/incidents/{incident}/notices", ORDER, expect=202)

    async def tried() -> bool:
        return len(await notifier.outside.journal("line")) == 1

    await until(tried, "the first push")

    async def again() -> bool:
        await notifier.kit.pool.execute("UPDATE notice SET not_before = now() WHERE state = 'planned'")
        await notifier.fire(incident, "notices")
        return bool(await notifier.said(incident, "notices-settled"))

    await until(again, "the push again")
    (settled,) = await notifier.said(incident, "notices-settled")
    assert settled["by_state"] == {"accepted": 2}
    assert len(await notifier.outside.pushes()) == 1
    keys = {entry["headers"]["x-line-retry-key"] for entry in await notifier.outside.journal("line")}
    assert len(keys) == 1


async def test_line_is_asked_until_it_says_what_became_of_a_push(notifier: Notifier, incident: str) -> None:
    await _ready(notifier, incident, f"name,mail,line_user_id\n鈴木 一郎,,{LINE_USER}\n", people=1)
    await notifier.outside.fault("line", kind="lose_answer", calls=7)
    privacy = await notifier.someone("privacy")
    await privacy.post(f"/v1/incidents/{incident}/notices", ORDER, expect=202)

    async def asked(times: int) -> bool:
        await notifier.kit.pool.execute("UPDATE notice SET not_before = now() WHERE state = 'planned'")
        await notifier.fire(incident, "notices")
        return await notifier.kit.pool.fetchval("SELECT count(*) FROM notice_attempt") >= times

    await until(lambda: asked(7), "seven answers that were lost")
    assert await notifier.kit.pool.fetchval("SELECT state FROM notice") in ("planned", "sending", "accepted")
    await until(lambda: asked(8), "the answer")
    (settled,) = await notifier.heard_of(incident, "notices-settled")
    assert settled["by_state"] == {"accepted": 1}
    assert len(await notifier.outside.pushes()) == 1


async def test_a_push_that_was_interrupted_longer_ago_than_line_knows_its_key_is_uncertain(
    installation: Installed, outside: Outside, acme: str, incident: str
) -> None:
    async with notifier_at(installation, outside, acme, timers=False) as stopped:
        await _ready(stopped, incident, f"name,mail,line_user_id\n鈴木 一郎,,{LINE_USER}\n", people=1)
        privacy = await stopped.someone("privacy")
        await privacy.post(f"/v1/incidents/{incident}/notices", ORDER, expect=202)
        await stopped.kit.pool.execute("UPDATE notice SET state = 'sending', tries = 1")
        await stopped.kit.pool.execute("UPDATE batch SET started_at = now() - interval '21 hours'")
    async with notifier_at(installation, outside, acme) as started:
        (settled,) = await started.heard_of(incident, "notices-settled")
    assert settled["by_state"] == {"uncertain": 1}
    assert await outside.pushes() == []


async def test_what_was_being_sent_when_the_process_ended_is_uncertain_for_mail_and_repeated_for_line(
    installation: Installed, outside: Outside, acme: str, incident: str
) -> None:
    async with notifier_at(installation, outside, acme, timers=False) as stopped:
        await _ready(stopped, incident, _TWO)
        privacy = await stopped.someone("privacy")
        await privacy.post(f"/v1/incidents/{incident}/notices", ORDER, expect=202)
        await stopped.kit.pool.execute("UPDATE notice SET state = 'sending', tries = 1")
    async with notifier_at(installation, outside, acme) as started:
        (settled,) = await started.heard_of(incident, "notices-settled")
    assert settled["by_state"] == {"accepted": 1, "uncertain": 1}
    assert await outside.mails() == []
    assert len(await outside.pushes()) == 1


async def test_people_whom_a_slow_mail_server_leaves_no_time_for_come_later_and_are_told_once(
    notifier: Notifier, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_WORK_SECONDS", 0.2)
    await notifier.outside.fault("mail", kind="slow", seconds=0.3, calls=20)
    rows = "".join(f"Person {n},p{n}@example.jp\n" for n in range(20))
    await _ready(notifier, incident, f"name,mail\n{rows}", people=20)
    settled = await _send(notifier, incident)
    assert settled["by_state"] == {"accepted": 20}
    assert len(await notifier.outside.mails()) == 20
    tries = await notifier.kit.pool.fetch("SELECT tries, count(*) FROM notice GROUP BY tries")
    assert [tuple(row) for row in tries] == [(1, 20)]
    # Eight are begun at once; the others had to wait for another firing.
    assert await notifier.kit.pool.fetchval("SELECT count(DISTINCT at) FROM notice_attempt") >= 3


async def test_a_drill_tells_nobody(notifier: Notifier, incident: str) -> None:
    await _ready(notifier, incident, _TWO, drill=True)
    settled = await _send(notifier, incident)
    assert (settled["by_state"], settled["drill"]) == ({"accepted": 2}, "true")
    assert await notifier.outside.journal("mail") == []
    assert await notifier.outside.journal("line") == []


async def test_notices_come_from_the_current_assessment_and_the_privacy_officer_only(
    notifier: Notifier, incident: str, beta: str
) -> None:
    await _ready(notifier, incident, _TWO)
    await notifier.hear(incident, assessed(**BIG | {"version": 2, "people": 2}))
    path = f"/v1/incidents/{incident}/notices"
    privacy, pr = await notifier.someone("privacy"), await notifier.someone("pr")
    refused = await privacy.post(path, ORDER, expect=409)
    assert (refused["code"], refused["current"]) == ("assessment_superseded", 2)
    await pr.post(path, ORDER | {"assessment_version": 2}, expect=403)
    stranger = await notifier.someone("privacy", beta)
    await stranger.post(path, ORDER | {"assessment_version": 2}, expect=404)
    await stranger.get(path, expect=404)


async def test_a_notice_that_claims_a_wipe_nobody_heard_of_is_not_sent(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), LOCKED, SENT, assessed(**BIG | {"people": 2}))
    privacy = await notifier.someone("privacy")
    await privacy.ask("POST", f"/v1/incidents/{incident}/principals", 200, content=_TWO.encode(), headers=_CSV)
    refused = await privacy.post(f"/v1/incidents/{incident}/notices", ORDER, expect=409)
    assert {finding["code"] for finding in refused["findings"]} == {"protection_differs"}


async def test_a_list_may_be_longer_than_what_the_vault_takes_at_once(notifier: Notifier, incident: str) -> None:
    await notifier.hear(incident, lost(), assessed())
    privacy = await notifier.someone("privacy")
    rows = "\n".join(f"客{number},customer{number}@example.jp" for number in range(MAX_PEOPLE + 1))
    path = f"/v1/incidents/{incident}/principals"
    answer = await privacy.ask("POST", path, 200, content=f"name,mail\n{rows}\n".encode(), headers=_CSV)
    assert answer["listed"] == MAX_PEOPLE + 1


async def test_a_thousand_people_are_told(notifier: Notifier, incident: str) -> None:
    rows = "".join(f"Person {n},p{n}@example.jp\n" for n in range(1001))
    await _ready(notifier, incident, f"name,mail\n{rows}", people=1001)
    privacy = await notifier.someone("privacy")
    await privacy.post(f"/v1/incidents/{incident}/notices", ORDER, expect=202)

    async def settled() -> bool:
        return bool(await notifier.said(incident, "notices-settled"))

    await until(settled, "a thousand mails", seconds=90)
    entries = await notifier.outside.journal("mail")
    assert len({entry["path"] for entry in entries}) == len(entries) == 1001


async def test_whoever_asks_to_be_erased_is_found_by_the_address_and_then_no_more(
    notifier: Notifier, incident: str
) -> None:
    await _ready(notifier, incident, _TWO)
    privacy = await notifier.someone("privacy")
    by_mail = {"mail": "Hanako@example.jp"}
    ((found,),) = (await privacy.post("/v1/principals/search", by_mail)).values()
    ((other,),) = (await privacy.post("/v1/principals/search", {"line_user_id": LINE_USER})).values()
    assert found["incident"] == other["incident"] == incident
    assert found["person"] != other["person"]
    await privacy.post("/v1/principals/search", {"mail": "a@b.example", "line_user_id": LINE_USER}, expect=422)
    await (await notifier.someone("desk")).post("/v1/principals/search", by_mail, expect=403)
    stranger = await notifier.someone("privacy", organisation="beta-kk")
    assert await stranger.post("/v1/principals/search", by_mail) == {"people": []}
    erased = PersonalDataErased(person=found["person"], ground="request_of_the_person", fields=2)
    await notifier.hear(f"org-{notifier.organisation}", erased)
    assert await privacy.post("/v1/principals/search", by_mail) == {"people": []}
