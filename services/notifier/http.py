"""Requests in: the API of alerts, duties and filings; notices and disclosures have files of their own."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from services.notifier import access, http_disclosures, http_notices, orders, store, view
from services.notifier.access import AlertQuery, Uuid
from services.notifier.desk import Desk
from services.notifier.domain import filing
from services.notifier.view import View
from shared.web import Acting, acting
from shared.web.number import Number


def routes(desk: Desk) -> APIRouter:
    """`/v1/…`."""
    router = APIRouter(prefix="/v1")
    _add_alerts(router, desk)
    _add_duties(router, desk)
    http_notices.add(router, desk)
    http_disclosures.add(router, desk)
    return router


def _add_alerts(router: APIRouter, desk: Desk) -> None:
    reader = Annotated[Acting, Depends(acting(desk.identity, access.READ))]
    taker = Annotated[Acting, Depends(acting(desk.identity, access.ACKNOWLEDGE))]

    @router.get("/alerts")
    async def alerts(
        who: reader,
        incident: Annotated[str | None, Query(max_length=80)] = None,
        state: Annotated[Literal["open", "ended", "all"], Query()] = "all",
        limit: Annotated[Number, Query(ge=1, le=200)] = 200,
        after: AlertQuery = None,
    ) -> View:
        ended = {"open": False, "ended": True, "all": None}[state]
        found = await store.alerts(
            desk.units.pool, who.organisation, ended=ended, limit=limit, after=after, subject=incident
        )
        return {"alerts": [view.of_alert(alert) for alert in found]}

    @router.post("/alerts/{alert}/acknowledge")
    async def acknowledge(alert: Uuid, who: taker) -> View:
        return view.of_alert(await desk.take_alert(alert, who))


def _add_duties(router: APIRouter, desk: Desk) -> None:
    reader = Annotated[Acting, Depends(acting(desk.identity, access.READ))]
    filer = Annotated[Acting, Depends(acting(desk.identity, access.FILE))]
    waiver = Annotated[Acting, Depends(acting(desk.identity, access.WAIVE))]

    @router.get("/duties")
    async def board(who: reader) -> View:
        found = await store.open_duties(desk.units.pool, who.organisation)
        return {"duties": [view.of_duty(duty, desk.rulebook) for duty in found]}

    @router.get("/incidents/{incident}/duties")
    async def duties(incident: Uuid, who: reader) -> View:
        await desk.incident(desk.units.pool, incident, who.organisation)
        found = await store.duties(desk.units.pool, incident)
        return {"duties": [view.of_duty(duty, desk.rulebook) for duty in found]}

    @router.get("/incidents/{incident}/filing")
    async def pack(incident: Uuid, who: reader) -> filing.Pack:
        return await desk.filing_pack(incident, who.organisation)

    @router.post("/duties/{duty}/file")
    async def file(duty: Uuid, order: orders.File, who: filer) -> View:
        return view.of_duty(await desk.file_duty(duty, order, who), desk.rulebook)

    @router.post("/duties/{duty}/meet")
    async def meet(duty: Uuid, order: orders.Meet, who: filer) -> View:
        return view.of_duty(await desk.meet_duty(duty, order, who), desk.rulebook)

    @router.post("/duties/{duty}/reopen")
    async def reopen(duty: Uuid, who: filer) -> View:
        return view.of_duty(await desk.reopen_duty(duty, who), desk.rulebook)

    @router.post("/duties/{duty}/waive")
    async def waive(duty: Uuid, order: orders.Reason, who: waiver) -> View:
        return view.of_duty(await desk.waive_duty(duty, order.reason, who), desk.rulebook)
