"""A wipe is ordered when one person proposed and another approved the same statement; nothing less, nothing later."""

from typing import Any

import pytest

from services.reporter.store import count_approvals_pending
from shared.events import mdm_actions as done
from shared.events.wipe import Step
from tests.reporter.running import APPROVER, DESK, LEAD, Reporter
from tests.stack.service import Someone

_COMMAND = "5e0a3c44-6f1b-5d7e-8c2a-1b9f0d3e4a55"
_AT = "2026-11-24T23:41:07.000+09:00"


class Case:
    """A triaged case with a known phone, a desk and an approver."""

    def __init__(self, reporter: Reporter, organisation: str) -> None:
        self.reporter = reporter
        self.organisation = organisation
        self.incident = ""
        self.device = ""
        self.desk: Someone
        self.approver: Someone

    async def begin(self, **facts: Any) -> "Case":
        self.device = await self.reporter.phone(self.organisation, number="09012345678", **facts)
        self.desk = await self.reporter.someone(self.organisation, DESK)
        self.approver = await self.reporter.someone(self.organisation, APPROVER, LEAD)
        body = {"reported_as": "proxy", "holder_name": "鈴木", "phone": "09012345678", "callback": "0312345678"}
        self.incident = (await self.desk.post("/v1/reports", body))["incident"]
        return self

    @property
    def path(self) -> str:
        return f"/v1/incidents/{self.incident}"

    async def statement(self) -> dict[str, Any]:
        answer: dict[str, Any] = await self.desk.get(f"{self.path}/wipe/statement")
        return answer["statement"]  # type: ignore[no-any-return]

    def signed(self, statement: dict[str, Any], who: str = "desk-key") -> dict[str, Any]:
        signature = self.reporter.sign(Step.PROPOSE, statement, who)
        return {"statement": statement, "signature": signature, "reason": "passcode_note"}

    async def propose(self, expect: int = 201) -> Any:
        statement = await self.statement()
        return await self.desk.post(f"{self.path}/wipe/proposals", self.signed(statement), expect=expect)

    async def approve(self, proposal: dict[str, Any], by: Someone | None = None, expect: int = 201) -> Any:
        signature = self.reporter.sign(Step.APPROVE, proposal["statement"], "approver-key")
        path = f"{self.path}/wipe/proposals/{proposal['nonce']}/approvals"
        return await (by or self.approver).post(path, {"signature": signature}, expect=expect)

    async def kinds(self) -> list[str]:
        return [kind for kind, _ in await self.reporter.told(self.incident)]


@pytest.fixture
async def case(reporter: Reporter, acme: str) -> Case:
    return await Case(reporter, acme).begin()


async def test_proposal_and_approval_order_the_wipe_with_both_signatures(case: Case) -> None:
    proposal = await case.propose()
    assert proposal["state"] == "proposed"
    assert "wipe-requested" not in await case.kinds()
    assert await count_approvals_pending(case.reporter.kit.pool) == 1
    approved = await case.approve(proposal)
    assert await count_approvals_pending(case.reporter.kit.pool) == 0
    assert approved["state"] == "requested"
    kind, order = (await case.reporter.told(case.incident))[-1]
    assert kind == "wipe-requested"
    assert order["statement"] == proposal["statement"]
    assert len(order["approved"]) == 1


async def test_the_one_who_proposed_cannot_approve(case: Case) -> None:
    both = await case.reporter.someone(case.organisation, DESK, APPROVER)
    statement = await case.statement()
    proposal = await both.post(f"{case.path}/wipe/proposals", case.signed(statement))
    assert (await case.approve(proposal, both, expect=409))["code"] == "same_person_signed_twice"


async def test_a_key_that_proposed_cannot_approve_in_another_hand(case: Case) -> None:
    statement = await case.statement()
    proposed = case.signed(statement, "approver-key")
    proposal = await case.desk.post(f"{case.path}/wipe/proposals", proposed)
    assert (await case.approve(proposal, expect=409))["code"] == "same_person_signed_twice"


async def test_the_desk_cannot_approve_and_an_employee_cannot_propose(case: Case) -> None:
    proposal = await case.propose()
    await case.approve(proposal, case.desk, expect=403)
    employee = await case.reporter.someone(case.organisation)
    await employee.get(f"{case.path}/wipe/statement", expect=403)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("decision_version", 2),
        ("device", "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f"),
        ("organisation", "other-kk"),
        ("drill", True),
        ("ownership", "personal"),
        ("accept_by", "2099-01-01T00:00:00.000Z"),
        ("valid_until", "2099-01-01T00:00:00.000Z"),
    ],
)
async def test_a_statement_that_does_not_match_the_case_is_refused(case: Case, field: str, value: Any) -> None:
    statement = (await case.statement()) | {field: value}
    answer = await case.desk.post(f"{case.path}/wipe/proposals", case.signed(statement), expect=409)
    assert (answer["code"], answer["field"]) == ("statement_differs", field)


async def test_a_personal_phone_gets_no_statement(reporter: Reporter, acme: str) -> None:
    case = await Case(reporter, acme).begin(ownership="personal")
    assert (await case.desk.get(f"{case.path}/wipe/statement", expect=409))["code"] == "personal_device"


async def test_an_emergency_report_gets_no_statement_before_it_is_verified(reporter: Reporter, acme: str) -> None:
    case = await Case(reporter, acme).begin()
    await reporter.phone(acme, number="08011112222")
    body = {"reported_as": "holder", "holder_name": "鈴木", "phone": "08011112222", "callback": "0312345678"}
    accepted = await reporter.nobody().post("/v1/emergency-reports", body | {"organisation": acme})
    path = f"/v1/incidents/{accepted['incident']}/wipe/statement"
    assert (await case.desk.get(path, expect=409))["code"] == "report_not_verified"


async def test_only_one_proposal_waits_and_a_declined_one_is_over(case: Case) -> None:
    proposal = await case.propose()
    assert (await case.propose(expect=409))["code"] == "proposal_already_waiting"
    path = f"{case.path}/wipe/proposals/{proposal['nonce']}"
    declined = await case.approver.post(f"{path}/decline", {"reason": "wait_for_taxi_company"})
    assert declined["state"] == "declined"
    assert (await case.approve(proposal, expect=409))["code"] == "proposal_ended"
    await case.propose()


async def test_a_withdrawn_order_moves_the_decision_version(case: Case) -> None:
    proposal = await case.propose()
    await case.approve(proposal)
    path = f"{case.path}/wipe/proposals/{proposal['nonce']}"
    await case.desk.post(f"{path}/withdraw", {"reason": "device_found"})
    kind, data = (await case.reporter.told(case.incident))[-1]
    assert (kind, data["decision_version"]) == ("wipe-withdrawn", 2)
    assert (await case.statement())["decision_version"] == 2


async def test_recovery_puts_a_waiting_proposal_out_of_date(case: Case) -> None:
    proposal = await case.propose()
    await case.desk.post(f"{case.path}/recovered", {"from_whom": "taxi_company", "identity_checked": "yes"})
    assert (await case.approve(proposal, expect=409))["code"] == "proposal_stale"
    shown = await case.desk.get(f"{case.path}/wipe/proposals/{proposal['nonce']}")
    assert shown["state"] == "stale"


async def test_sent_is_never_shown_as_wiped_and_confirmed_is_the_phones_word(case: Case) -> None:
    proposal = await case.propose()
    await case.approve(proposal)
    common = {"device": case.device, "command": _COMMAND, "nonce": proposal["nonce"]}
    # Whatever the sender claims: handed over is at most P2.
    sent = done.WipeSent.model_validate(common | {"proof": "P4", "sent_at": _AT})
    await case.reporter.hear(sent, case.incident, case.organisation)
    shown = (await case.desk.get(case.path))["wipe"]
    assert (shown["state"], shown["proof"]) == ("sent", "P2")
    confirmed = done.WipeConfirmed.model_validate(common | {"proof": "P3", "confirmed_at": _AT, "evidence": "0" * 64})
    record = await case.reporter.hear(confirmed, case.incident, case.organisation)
    shown = (await case.desk.get(case.path))["wipe"]
    assert (shown["state"], shown["proof"]) == ("confirmed", "P3")
    entries = len((await case.desk.get(case.path))["entries"])
    await case.reporter.hear_again(record)
    assert len((await case.desk.get(case.path))["entries"]) == entries


async def test_an_order_that_was_refused_says_why_and_another_can_be_made(case: Case) -> None:
    proposal = await case.propose()
    await case.approve(proposal)
    refused = done.CommandRejected(what="wipe", reason="signature_invalid", nonce=proposal["nonce"])
    await case.reporter.hear(refused, case.incident, case.organisation)
    shown = await case.desk.get(f"{case.path}/wipe/proposals/{proposal['nonce']}")
    assert (shown["state"], shown["end_reason"]) == ("refused", "signature_invalid")
    await case.propose()
