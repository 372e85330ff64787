"""Requests in: the apology, from draft to issue and back."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends

from services.notifier import access, orders, view
from services.notifier.access import Acting, Uuid, acting
from services.notifier.desk import Desk
from services.notifier.disclosures import Disclosure, load, of_incident
from services.notifier.domain.document import Details, NotAssessedError
from services.notifier.problems import problem
from services.notifier.store import Incident
from services.notifier.view import View
from shared.messaging import Unit

type Step = Callable[[Unit, Incident, Disclosure], Awaitable[object]]


def add(router: APIRouter, desk: Desk) -> None:
    """`/incidents/{incident}/disclosures` and `/disclosures/{disclosure}…`."""
    reader = Annotated[Acting, Depends(acting(desk.identity, access.READ))]
    drafter = Annotated[Acting, Depends(acting(desk.identity, access.DRAFT))]

    @router.post("/incidents/{incident}/disclosures", status_code=201)
    async def draft(incident: Uuid, details: Details, who: drafter) -> View:
        async with desk.units.begin() as unit:
            await unit.lock(incident)
            known = await desk.incident(unit.connection, incident, who.organisation)
            try:
                made = await desk.disclosures.draft(unit, known, details, actor=who.actor)
            except NotAssessedError as error:
                raise problem("not_assessed") from error
            return view.of_disclosure(made, known, desk.disclosures)

    @router.get("/incidents/{incident}/disclosures")
    async def disclosures(incident: Uuid, who: reader) -> View:
        known = await desk.incident(desk.units.pool, incident, who.organisation)
        found = await of_incident(desk.units.pool, incident)
        return {"disclosures": [view.of_disclosure(item, known, desk.disclosures) for item in found]}

    @router.get("/disclosures/{disclosure}")
    async def one(disclosure: Uuid, who: reader) -> View:
        async with desk.disclosure(disclosure, who.organisation) as (_, known, found):
            return view.of_disclosure(found, known, desk.disclosures)

    @router.post("/disclosures/{disclosure}/revise")
    async def revise(disclosure: Uuid, order: orders.Revise, who: drafter) -> View:
        return await _act(
            desk,
            disclosure,
            who,
            lambda unit, known, found: desk.disclosures.revise(
                unit, known, found, order.details, reason=order.reason, actor=who.actor
            ),
        )

    _add_decisions(router, desk)


def _add_decisions(router: APIRouter, desk: Desk) -> None:
    approver = Annotated[Acting, Depends(acting(desk.identity, access.APPROVE))]
    checker = Annotated[Acting, Depends(acting(desk.identity, access.CHECK_DESK))]
    issuer = Annotated[Acting, Depends(acting(desk.identity, access.ISSUE))]

    @router.post("/disclosures/{disclosure}/approve")
    async def approve(disclosure: Uuid, order: orders.Approve, who: approver) -> View:
        async def step(unit: Unit, known: Incident, found: Disclosure) -> None:
            role = _approving(desk, known, found, order.text, who)
            actor = f"{who.person.ref}/{role}"
            await desk.disclosures.approve(unit, found, role=role, person=who.person.ref, actor=actor)

        return await _act(desk, disclosure, who, step)

    @router.post("/disclosures/{disclosure}/contact-desk-check")
    async def check(disclosure: Uuid, who: checker) -> View:
        return await _act(desk, disclosure, who, lambda unit, _, found: desk.disclosures.desk_answers(unit, found))

    @router.post("/disclosures/{disclosure}/issue")
    async def issue(disclosure: Uuid, who: issuer) -> View:
        async def step(unit: Unit, known: Incident, found: Disclosure) -> None:
            _issuable(desk, known, found)
            await desk.disclosures.issue(unit, known, found, actor=who.actor)

        return await _act(desk, disclosure, who, step)

    @router.post("/disclosures/{disclosure}/retract")
    async def retract(disclosure: Uuid, order: orders.Reason, who: issuer) -> View:
        async def step(unit: Unit, _: Incident, found: Disclosure) -> None:
            if found.public is None:
                raise problem("not_issued")
            await desk.disclosures.retract(unit, found, reason=order.reason, actor=who.actor)

        return await _act(desk, disclosure, who, step)


async def _act(desk: Desk, disclosure: str, who: Acting, step: Step) -> View:
    """One step on a disclosure that was not retracted, answered with how it is then."""
    async with desk.disclosure(disclosure, who.organisation) as (unit, known, found):
        if found.retracted_at:
            raise problem("retracted")
        await step(unit, known, found)
        now = await load(unit.connection, disclosure) or found
        return view.of_disclosure(now, known, desk.disclosures)


def _approving(desk: Desk, known: Incident, found: Disclosure, text: str, who: Acting) -> str:
    """The role in which this person approves this text; or 409."""
    latest = found.latest
    if latest.issued_at:
        raise problem("already_issued")
    if latest.sha256 != text:
        raise problem("text_differs", current=latest.sha256)
    findings = [item for item in desk.disclosures.findings(known, latest) if item.code != "contact_desk_not_checked"]
    if findings:
        raise problem("findings", findings=[finding.model_dump() for finding in findings])
    if who.person.ref in {approval.person for approval in latest.approvals}:
        raise problem("same_person")
    taken = {approval.role for approval in latest.approvals}
    free = [role.value for role in access.APPROVE if role in who.person.roles and role.value not in taken]
    if not free:
        raise problem("already_approved")
    return free[0]


def _issuable(desk: Desk, known: Incident, found: Disclosure) -> None:
    latest = found.latest
    if latest.issued_at:
        raise problem("already_issued")
    findings = desk.disclosures.findings(known, latest)
    if findings:
        raise problem("findings", findings=[finding.model_dump() for finding in findings])
    if not latest.approved:
        raise problem("not_approved")
