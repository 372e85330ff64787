"""A reporter restored from an older backup reads from the log what it had said since, and goes on from there."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from services.reporter.store import missing
from shared.events import Received, read
from shared.events import mdm_actions as done
from shared.events import notifier as told
from shared.vault import DataClass
from tests.reporter.running import APPROVER, DESK, LEAD, PRIVACY, Reporter, reporter_at
from tests.reporter.test_two_people_agree_on_a_wipe import Case
from tests.stack.installed import Installed, copy_of

_COMMAND = "5e0a3c44-6f1b-5d7e-8c2a-1b9f0d3e4a55"
_AT = "2026-11-24T23:41:07.000+09:00"
_DUTY = {
    "duty": "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e70",
    "rule": "JP-APPI-1",
    "phase": "preliminary",
    "rule_version": 1,
    "jurisdiction": "JP",
    "recipient": "ppc",
    "provisional": False,
    "reasons": ["x"],
    "known_at": _AT,
    "due": _AT,
}
_EMERGENCY = {
    "reported_as": "holder",
    "holder_name": "鈴木",
    "phone": "09012345678",
    "callback": "0312345678",
    "place": "taxi",
    "circumstances": "忘年会の帰り",
}
_NOT_IN_THE_LOG = ("now", "contact", "brought_back", "reports", "links", "assessment_prefill")


class Log:
    """The records that the reporter said and heard, in their order."""

    def __init__(self, reporter: Reporter, organisation: str) -> None:
        self._reporter = reporter
        self._organisation = organisation
        self._said = 0
        self.records: list[Received] = []

    async def caught_up(self) -> None:
        """What the reporter has said since."""
        rows = await self._reporter.kit.pool.fetch(
            "SELECT place, key, headers, value FROM outbox WHERE place > $1 ORDER BY place", self._said
        )
        for row in rows:
            headers = tuple((name, text.encode()) for name, text in row["headers"])
            if dict(headers)["ce_organisation"] == self._organisation.encode():
                self.records.append(Received("lostphone.log.v1", 0, 0, 0, row["key"].encode(), headers, row["value"]))
            self._said = row["place"]

    async def hear(self, payload: Any, subject: str) -> None:
        await self.caught_up()
        self.records.append(await self._reporter.hear(payload, subject, self._organisation))
        await self.caught_up()

    @property
    def last(self) -> dict[str, int]:
        """By subject, the last sequence of what the reporter said."""
        found: dict[str, int] = {}
        for record in self.records:
            attributes = dict(record.headers)
            if attributes["ce_source"] == b"/lostphone/reporter":
                found[(record.key or b"").decode()] = int(attributes["ce_sequence"] or 0)
        return found


@pytest.fixture
def log(reporter: Reporter, acme: str) -> Log:
    return Log(reporter, acme)


type Restore = Callable[[], AbstractAsyncContextManager[Reporter]]


@pytest.fixture
def restored(reporter: Reporter, template: str, postgres: str, acme: str, log: Log) -> Restore:
    """A reporter of the same installation over a database that knows the phones alone, as the restore leaves it."""

    @asynccontextmanager
    async def open_it() -> AsyncIterator[Reporter]:
        await log.caught_up()
        async with copy_of(template, postgres) as dsn:
            connection = await asyncpg.connect(dsn, server_settings={"search_path": "reporter"})
            for device in await reporter.kit.pool.fetch("SELECT * FROM device WHERE organisation = $1", acme):
                values = {**device, "facts": json.dumps(device["facts"])}.values()
                await connection.execute("INSERT INTO device VALUES ($1, $2, $3, $4, $5)", *values)
            for subject, last in log.last.items():
                await connection.execute("INSERT INTO subject_sequence (subject, last) VALUES ($1, $2)", subject, last)
                await connection.execute("INSERT INTO said_after_backup VALUES ($1, 0, $2)", subject, last)
            await connection.close()
            installed = Installed(reporter.installed.bootstrap, dsn, reporter.installed.files)
            async with reporter_at(installed, reporter.identity) as running:
                yield running

    return open_it


async def _read_again(reporter: Reporter, records: list[Received]) -> None:
    """As the consumer does it: in one batch."""
    async with reporter.kit.units.begin() as unit:
        await reporter.parts.sink.take(unit, [read(record, reporter.kit.keyring) for record in records])


async def _shown(reporter: Reporter, organisation: str, incident: str) -> dict[str, Any]:
    """The case without what no event says; moments as events write them."""
    lead = await reporter.someone(organisation, LEAD)
    case = await lead.get(f"/v1/incidents/{incident}")
    plain = json.dumps({name: value for name, value in case.items() if name not in _NOT_IN_THE_LOG})
    found: dict[str, Any] = json.loads(re.sub(r"(:\d\d\.\d{3})\d+", r"\1", plain))
    return found


async def _carried(reporter: Reporter, organisation: str, log: Log) -> str:
    """A case through the emergency door, with everything that people decide, closed, and opened again by a duty."""
    case = Case(reporter, organisation)
    case.device = await reporter.phone(organisation, number="09012345678")
    case.desk = await reporter.someone(organisation, DESK)
    case.approver = await reporter.someone(organisation, APPROVER, LEAD, PRIVACY)
    emergency = _EMERGENCY | {"organisation": organisation}
    answer = await reporter.http.post("/v1/emergency-reports", json=emergency)
    assert answer.status_code == 201, answer.text
    case.incident = answer.json()["incident"]
    await case.desk.post(f"{case.path}/verify", {"method": "call_back"})
    signed_in = {"reported_as": "proxy", "holder_name": "鈴木", "phone": "09012345678", "callback": "0399998888"}
    assert (await case.desk.post("/v1/reports", signed_in | {"cause": "theft"}))["incident"] == case.incident
    await case.desk.post(f"{case.path}/triage", {"cause": "theft", "severity": "high"})
    locked = {"device": case.device, "command": _COMMAND, "mode": "lost_mode", "proof": "P3", "acknowledged_at": _AT}
    await log.hear(done.DeviceLocked.model_validate(locked), case.incident)
    proposal = await case.propose()
    await case.approve(proposal)
    wiped = {"device": case.device, "command": _COMMAND, "nonce": proposal["nonce"], "evidence": "0" * 64}
    await log.hear(done.WipeConfirmed.model_validate(wiped | {"proof": "P3", "confirmed_at": _AT}), case.incident)
    await case.approver.post(f"{case.path}/assessment", {"people": 80})
    action = {"measure": "no_company_phone_at_drinking_events", "kind": "rule"}
    await case.approver.post(f"{case.path}/prevention", action)
    await case.approver.post(f"{case.path}/close", {"outcome": "wiped_not_recovered"})
    await log.hear(told.DutyOpened.model_validate(_DUTY), case.incident)
    return case.incident


async def test_a_case_comes_back_as_it_was_without_its_words(
    reporter: Reporter, restored: Restore, acme: str, log: Log
) -> None:
    incident = await _carried(reporter, acme, log)
    before = await _shown(reporter, acme, incident)
    assert [entry["type"] for entry in before["entries"]][-2:] == [
        "lostphone.duty-opened.v1",
        "lostphone.incident-reopened.v1",
    ]
    async with restored() as again:
        await _read_again(again, log.records)
        assert await missing(again.kit.pool) == {}
        assert await _shown(again, acme, incident) == before
        assert await again.kit.pool.fetchval("SELECT count(*) FROM outbox") == 0, "nothing is said a second time"

        desk = await again.someone(acme, DESK)
        case = await desk.get(f"/v1/incidents/{incident}")
        assert case["brought_back"]
        assert set(case["contact"].values()) == {None}
        assert [(told["number"], told["door"], told["trusted"]) for told in case["reports"]] == [
            (1, "emergency", True),
            (2, "signed_in", True),
        ]
        await desk.post(f"/v1/incidents/{incident}/amend", {"callback": "0311112222"})
        case = await desk.get(f"/v1/incidents/{incident}")
        assert case["contact"]["callback"] == "0311112222"
        ((_, headers, _),) = await again.outbox(incident)
        assert int(headers["ce_sequence"]) == log.last[incident] + 1


async def test_reading_the_log_once_more_changes_nothing(
    reporter: Reporter, restored: Restore, acme: str, log: Log
) -> None:
    incident = await _carried(reporter, acme, log)
    async with restored() as again:
        await _read_again(again, log.records)
        before = await _shown(again, acme, incident)
        await _read_again(again, log.records)
        assert await _shown(again, acme, incident) == before


async def test_a_report_that_came_before_its_earlier_case_was_read_again_is_shown_beside_it(
    reporter: Reporter, restored: Restore, acme: str, log: Log
) -> None:
    report = {"reported_as": "proxy", "holder_name": "鈴木", "callback": "0312345678"}
    report["device"] = await reporter.phone(acme)
    earlier = (await (await reporter.someone(acme)).post("/v1/reports", report))["incident"]
    async with restored() as again:
        desk = await again.someone(acme, DESK, LEAD)
        later = (await desk.post("/v1/reports", report))["incident"]
        assert later != earlier, "nothing tells of the earlier one yet"
        await _read_again(again, log.records)
        for case, other in ((earlier, later), (later, earlier)):
            assert (await desk.get(f"/v1/incidents/{case}"))["others_open"] == [other]
            page = await desk.http.get(f"/incidents/{case}", headers={"Authorization": f"Bearer {desk.token}"})
            assert f'href="/incidents/{other}"' in page.text
        assert (await desk.post("/v1/reports", report))["incident"] == later, "it is the newest that goes on"
        await desk.post(f"/v1/incidents/{later}/cancel", {"reason": "duplicate"})
        assert (await desk.get(f"/v1/incidents/{earlier}"))["others_open"] == []
        assert (await desk.post("/v1/reports", report))["incident"] == earlier


async def test_whoever_was_erased_after_the_backup_is_erased_again(
    reporter: Reporter, restored: Restore, acme: str, log: Log
) -> None:
    privacy = await reporter.someone(acme, PRIVACY)
    person = reporter.kit.people.ref(acme, "erased-after-the-backup")
    await privacy.post(f"/v1/people/{person}/erasure", {"ground": "request_of_the_person"})
    async with restored() as again:
        vault = again.kit.vault
        value = {"organisation": acme, "person": person, "data_class": DataClass.CONTACT, "name": "callback"}
        async with again.kit.units.begin() as unit:
            digest = await vault.put(unit.connection, value="0312345678", **value)
        await _read_again(again, log.records)
        async with again.kit.units.begin() as unit:
            opened = await vault.open(unit.connection, digest, organisation=acme, actor="a/b", reason="is it gone")
        assert opened is None
        assert await missing(again.kit.pool) == {}
