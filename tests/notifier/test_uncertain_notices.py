"""A notice of which nobody knows whether it left is told to operations until somebody has seen to it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lostphone.standing import Finding, _figures
from shared.events.reporter import IncidentClosed
from tests.notifier.cases import BIG, LOCKED, SENT, WIPED, assessed, lost
from tests.notifier.running import Notifier
from tests.notifier.test_notices import ORDER

_CSV = {"Content-Type": "text/csv"}
_TWO = "name,mail\n佐藤 花子,hanako@example.jp\n鈴木 一郎,ichiro@example.jp\n"


@pytest.fixture
def notifier(lone_notifier: Notifier) -> Notifier:
    """One of its own: its figures are those of all organisations."""
    return lone_notifier


async def _told_one_for_sure(notifier: Notifier, incident: str, *, cause: str = "theft", drill: bool = False) -> None:
    """Of two people, the answer of the mail server about one is lost."""
    facts = assessed(**BIG | {"people": 2})
    await notifier.hear(incident, lost(cause=cause), LOCKED, SENT, WIPED, facts, drill=drill)
    await notifier.outside.fault("mail", kind="lose_answer", match="hanako@example.jp")
    privacy = await notifier.someone("privacy")
    await privacy.ask("POST", f"/v1/incidents/{incident}/principals", 200, content=_TWO.encode(), headers=_CSV)
    await privacy.post(f"/v1/incidents/{incident}/notices", ORDER, expect=202)
    await notifier.heard_of(incident, "notices-settled")


async def _gauge(notifier: Notifier) -> float:
    families = text_string_to_metric_families((await notifier.http.get("/metrics")).text)
    (family,) = [family for family in families if family.name == "lostphone_notices_uncertain"]
    return family.samples[0].value


async def _found(notifier: Notifier) -> list[Finding]:
    findings: list[Finding] = []
    await _figures("notifier", notifier.installed.dsn("notifier"), findings)
    return [finding for finding in findings if finding.what == "notices_uncertain"]


async def _duties(notifier: Notifier, incident: str, state: str) -> list[str]:
    privacy = await notifier.someone("privacy")
    duties = (await privacy.get(f"/v1/incidents/{incident}/duties"))["duties"]
    return [duty["duty"] for duty in duties if duty["recipient"] == "principal" and duty["state"] == state]


async def test_it_stands_until_the_duty_towards_the_people_is_met(notifier: Notifier, incident: str) -> None:
    await _told_one_for_sure(notifier, incident)
    (finding,) = await _found(notifier)
    assert (finding.level, await _gauge(notifier)) == ("person", 1)
    assert finding.facts == {"subject": incident, "organisation": notifier.organisation, "count": 1}
    assert all(f"/incidents/{incident}/notices" in sentence for sentence in finding.sentences())
    privacy = await notifier.someone("privacy")
    duties = await _duties(notifier, incident, "open")
    assert duties
    for duty in duties:
        await privacy.post(f"/v1/duties/{duty}/meet", {"how": "told_by_post_or_phone"})
    assert (await _found(notifier), await _gauge(notifier)) == ([], 0)


async def test_where_nobody_has_to_be_told_it_stands_until_the_case_is_closed(
    notifier: Notifier, incident: str
) -> None:
    await _told_one_for_sure(notifier, incident, cause="left_behind")
    assert await _duties(notifier, incident, "open") == []
    assert (len(await _found(notifier)), await _gauge(notifier)) == (1, 1)
    closed = IncidentClosed(outcome="wiped_not_recovered", prevention_actions=0)
    await notifier.hear(incident, closed)
    assert (await _found(notifier), await _gauge(notifier)) == ([], 0)


async def test_a_drill_leaves_none(notifier: Notifier, incident: str) -> None:
    await _told_one_for_sure(notifier, incident, drill=True)
    await notifier.kit.pool.execute("UPDATE notice SET state = 'uncertain'")
    assert (await _found(notifier), await _gauge(notifier)) == ([], 0)
