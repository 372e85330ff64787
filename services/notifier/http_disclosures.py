"""Requests in: the apology, from draft to issue and back."""

from typing import Annotated

from fastapi import APIRouter, Depends

from services.notifier import access, orders, view
from services.notifier.access import Uuid
from services.notifier.desk import Desk
from services.notifier.disclosures import of_incident
from services.notifier.domain.document import Details
from services.notifier.publishing import Publishing
from services.notifier.view import View
from shared.web import Acting, acting


def add(router: APIRouter, desk: Desk) -> None:
    """`/incidents/{incident}/disclosures` and `/disclosures/{disclosure}…`."""
    publishing = Publishing(desk)
    reader = Annotated[Acting, Depends(acting(desk.identity, access.READ))]
    drafter = Annotated[Acting, Depends(acting(desk.identity, access.DRAFT))]

    @router.post("/incidents/{incident}/disclosures", status_code=201)
    async def draft(incident: Uuid, details: Details, who: drafter) -> View:
        return await publishing.draft(incident, details, who)

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
        return await publishing.revise(disclosure, order, who)

    _add_decisions(router, desk, publishing)


def _add_decisions(router: APIRouter, desk: Desk, publishing: Publishing) -> None:
    approver = Annotated[Acting, Depends(acting(desk.identity, access.APPROVE))]
    checker = Annotated[Acting, Depends(acting(desk.identity, access.CHECK_DESK))]
    issuer = Annotated[Acting, Depends(acting(desk.identity, access.ISSUE))]

    @router.post("/disclosures/{disclosure}/approve")
    async def approve(disclosure: Uuid, order: orders.Approve, who: approver) -> View:
        return await publishing.approve(disclosure, order, who)

    @router.post("/disclosures/{disclosure}/contact-desk-check")
    async def check(disclosure: Uuid, who: checker) -> View:
        return await publishing.check(disclosure, who)

    @router.post("/disclosures/{disclosure}/issue")
    async def issue(disclosure: Uuid, who: issuer) -> View:
        return await publishing.issue(disclosure, who)

    @router.post("/disclosures/{disclosure}/retract")
    async def retract(disclosure: Uuid, order: orders.Reason, who: issuer) -> View:
        return await publishing.retract(disclosure, order, who)
