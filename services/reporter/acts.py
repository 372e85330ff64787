"""The desk's acts as people order them: API and pages both end here."""

from typing import Any

import uuid_utils.compat as uuids

from services.reporter import orders, store
from services.reporter.cases import Cases, Triage
from services.reporter.domain import assessment, desk, wipe
from services.reporter.domain.assessment import Findings
from services.reporter.domain.incident import By, Decision, Incident, RefusedError
from services.reporter.domain.report import Answers
from shared.events.payload import Answer
from shared.events.reporter import (
    DeviceRecovered,
    FacilityContacted,
    PoliceReportFiled,
    PreventionActionRecorded,
    WipeProposed,
)
from shared.messaging import Unit
from shared.vault import DataClass, People, Vault
from shared.web import Acting


class Acts:
    """Every method takes the incident, who acts, and the order; it raises `RefusedError` when the rules say no."""

    def __init__(self, cases: Cases, vault: Vault, people: People) -> None:
        self._cases = cases
        self._vault = vault
        self._people = people

    async def verify(self, incident: str, acting: Acting, order: orders.Verify) -> Incident:
        """An emergency report is genuine."""
        return await self._cases.verify(incident, acting, order.method, number=order.report, reason=order.reason)

    async def triage(self, incident: str, acting: Acting, order: orders.TriageOrder) -> Incident:
        """Holder, device and cause."""
        triage = Triage(
            cause=order.cause,
            severity=order.severity,
            device=order.device,
            phone=order.phone,
            holder=order.holder or self._employee(acting, order.holder_id),
        )
        return await self._cases.triage(incident, acting, triage)

    async def amend(self, incident: str, acting: Acting, order: orders.DeskAmend) -> Incident:
        """The desk learned more."""
        answers = Answers.model_validate(order.model_dump(exclude={"known_at"}))
        return await self._cases.amend(incident, acting, answers, order.known_at)

    async def step(self, incident: str, acting: Acting, order: orders.StepOrder) -> Incident:
        """One reversible step."""
        return await self._cases.act(
            incident, acting, lambda current, by: desk.order_step(current, order.step, order.reason, by)
        )

    async def propose(self, incident: str, acting: Acting, order: orders.Proposal) -> Incident:
        """One person proposes to wipe, and has signed."""

        async def decide(unit: Unit, current: Incident, by: By) -> Decision:
            text = None
            if order.reason_text is not None:
                text = await self._keep(unit, current, DataClass.NARRATIVE, "reason_text", order.reason_text)
            proposed = WipeProposed(
                statement=order.statement, proposed=order.signature, reason=order.reason, reason_text=text
            )
            return wipe.propose(current, await self._cases.ownership(unit, current), proposed, by)

        return await self._cases.act_within(incident, acting, decide)

    async def approve(self, incident: str, acting: Acting, nonce: str, order: orders.Approve) -> Incident:
        """Another person signs."""
        return await self._cases.approve_wipe(incident, acting, nonce, order.signature)

    async def decline(self, incident: str, acting: Acting, nonce: str, order: orders.Reason) -> Incident:
        """An approver says no."""
        return await self._cases.act(
            incident, acting, lambda current, by: wipe.decline(current, nonce, order.reason, by)
        )

    async def withdraw(self, incident: str, acting: Acting, nonce: str, order: orders.Reason) -> Incident:
        """A proposal or an order is taken back."""
        return await self._cases.act(incident, acting, lambda current, _: wipe.withdraw(current, nonce, order.reason))

    async def suspend_line(self, incident: str, acting: Acting, order: orders.SuspendLine) -> Incident:
        """Stop the line now."""
        return await self._cases.act(
            incident,
            acting,
            lambda current, by: desk.suspend_line(current, order.reason, by, named=order.acknowledge),
        )

    async def resume_line(self, incident: str, acting: Acting, order: orders.Reason) -> Incident:
        """The line is wanted again."""
        return await self._cases.act(incident, acting, lambda current, by: desk.resume_line(current, order.reason, by))

    async def police(self, incident: str, acting: Acting, order: orders.Police) -> Incident:
        """The police have the report."""

        def decide(current: Incident, by: By) -> Decision:
            report = PoliceReportFiled(**_given(order, filed_at=by.at))
            return desk.record_police(current, report, by)

        return await self._cases.act(incident, acting, decide)

    async def facility(self, incident: str, acting: Acting, order: orders.Facility) -> Incident:
        """The place was asked."""

        async def decide(unit: Unit, current: Incident, by: By) -> Decision:
            name = None
            if order.name is not None:
                name = await self._keep(unit, current, DataClass.POSITION, "facility", order.name)
            contact = FacilityContacted(**_given(order, contacted_at=by.at) | {"name": name})
            return desk.record_facility(current, contact, by)

        return await self._cases.act_within(incident, acting, decide)

    async def assess(self, incident: str, acting: Acting, order: Findings) -> Incident:
        """One more version of the leak assessment."""
        return await self._cases.act(incident, acting, lambda current, by: assessment.assess(current, order, by))

    async def second_exemption(self, incident: str, acting: Acting, order: orders.SecondExemption) -> Incident:
        """Another person finds the exemption satisfied."""
        return await self._cases.act(
            incident, acting, lambda current, by: assessment.second(current, order.version, by)
        )

    async def recovered(self, incident: str, acting: Acting, order: orders.Recovered) -> Incident:
        """The phone is back."""

        def decide(current: Incident, by: By) -> Decision:
            back = DeviceRecovered(
                recovered_at=order.recovered_at or by.at,
                from_whom=order.from_whom,
                identity_checked=Answer(order.identity_checked),
                viewed=Answer(order.viewed),
            )
            return desk.recover(current, back, by)

        return await self._cases.act(incident, acting, decide)

    async def write_off(self, incident: str, acting: Acting, order: orders.Reason) -> Incident:
        """The company gives up on the phone."""
        return await self._cases.act(incident, acting, lambda current, _: desk.write_off(current, order.reason))

    async def prevention(self, incident: str, acting: Acting, order: orders.Prevention) -> Incident:
        """A measure against the next time."""
        action = PreventionActionRecorded(
            action=order.action or str(uuids.uuid7()),
            measure=order.measure,
            kind=order.kind,
            owner=order.owner or self._employee(acting, order.owner_id),
            due=order.due,
            state=order.state,
        )
        return await self._cases.act(incident, acting, lambda current, _: desk.record_prevention(current, action))

    async def close(self, incident: str, acting: Acting, order: orders.Close) -> Incident:
        """The case is ended."""
        return await self._cases.act(incident, acting, lambda current, by: desk.close(current, order.outcome, by))

    async def reopen(self, incident: str, acting: Acting, order: orders.Reason) -> Incident:
        """The case goes on."""
        return await self._cases.reopen(incident, acting, order.reason)

    async def cancel(self, incident: str, acting: Acting, order: orders.Reason) -> Incident:
        """A false alarm."""
        return await self._cases.act(incident, acting, lambda current, by: desk.cancel(current, order.reason, by))

    def _employee(self, acting: Acting, employee_id: str | None) -> str | None:
        return self._people.ref(acting.person.organisation, employee_id) if employee_id is not None else None

    async def _keep(self, unit: Unit, current: Incident, data_class: DataClass, name: str, value: str) -> str:
        """Words about a case belong to who held the phone, else to who reported it, and not to the desk that writes
        them: with the case's people they are held and erased."""
        return await self._vault.put(
            unit.connection,
            organisation=current.organisation,
            person=current.facts.holder or await store.first_teller(unit.connection, current.id),
            data_class=data_class,
            name=name,
            value=value,
        )


def _given(order: orders.Order, **defaults: object) -> dict[str, Any]:
    """What the order says, with defaults where it says nothing."""
    return defaults | order.model_dump(exclude_none=True)


def must_exist(nonce: str, proposals: list[dict[str, Any]]) -> dict[str, Any]:
    """One of the proposals of a case. Raises `RefusedError` when there is none with this nonce."""
    found = next((proposal for proposal in proposals if proposal["nonce"] == nonce), None)
    if found is None:
        raise RefusedError("proposal_unknown", nonce=nonce)
    return found
