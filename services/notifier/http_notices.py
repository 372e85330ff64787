"""Requests in: the list of people concerned, batches of notices, the ledger."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.notifier import access, orders
from services.notifier.access import Uuid
from services.notifier.desk import Desk
from services.notifier.telling import Telling
from services.notifier.view import View
from shared.web import Acting, acting
from shared.web.number import Number


def add(router: APIRouter, desk: Desk) -> None:
    """`/incidents/{incident}/principals` and `/incidents/{incident}/notices`; `/principals/search` by address."""
    telling = Telling(desk)
    reader = Annotated[Acting, Depends(acting(desk.identity, access.READ))]
    teller = Annotated[Acting, Depends(acting(desk.identity, access.TELL))]

    @router.post("/incidents/{incident}/principals")
    async def principals(incident: Uuid, request: Request, who: teller, *, dry_run: bool = False) -> View:
        return await telling.list_people(incident, await request.body(), who, dry_run=dry_run)

    @router.post("/principals/search")
    async def search(order: orders.Search, who: teller) -> View:
        return await telling.search(order, who)

    @router.post("/incidents/{incident}/notices")
    async def notices(incident: Uuid, order: orders.Notices, who: teller, response: Response) -> View:
        started = await telling.start(incident, order, who)
        response.status_code = 200 if order.preview else 202
        return started

    @router.get("/incidents/{incident}/notices")
    async def sent(incident: Uuid, who: reader) -> View:
        return await telling.sent(incident, who)

    @router.get("/incidents/{incident}/notices/{batch}/ledger")
    async def rows(
        incident: Uuid,
        batch: Uuid,
        who: reader,
        after: Annotated[str, Query(max_length=60)] = "",
        limit: Annotated[Number, Query(ge=1, le=1000)] = 200,
    ) -> View:
        return await telling.people(incident, batch, who, limit, after)
