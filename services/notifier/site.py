"""Pages: alerts and duties for people who are signed in, disclosures and notices for everybody."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import RedirectResponse, Response

from services.notifier import access, ledger, orders, site_disclosures, site_notices, store, view
from services.notifier.access import AlertQuery, Uuid
from services.notifier.desk import Desk
from services.notifier.disclosures import Disclosure, Edition, load, published
from services.notifier.refusals import problem
from shared.web import Acting, Pages, Person, RateLimit, acting, forms, language
from shared.web.number import Number
from shared.web.problem import invalid, refused_fields

_PUBLIC_CACHE = {"Cache-Control": "no-store"}
_ALERTS_ON_A_PAGE = 100
_ORGANISATION = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_LINK_LIMIT = RateLimit(burst=60, per_minute=120)
"""Personal links are long random words; guessing them is slowed down all the same."""


def routes(desk: Desk, pages: Pages) -> APIRouter:
    """Everything outside `/v1`."""
    router = APIRouter(include_in_schema=False)
    _add_alerts(router, desk, pages)
    _add_duties(router, desk, pages)
    site_notices.add(router, desk, pages)
    site_disclosures.add(router, desk, pages)
    _add_public(router, desk, pages)
    return router


def _add_alerts(router: APIRouter, desk: Desk, pages: Pages) -> None:
    reader = Annotated[Acting, Depends(acting(desk.identity, access.READ))]
    taker = Annotated[Acting, Depends(acting(desk.identity, access.ACKNOWLEDGE))]

    @router.get("/alerts")
    async def alerts(request: Request, who: reader, state: str = "open", after: AlertQuery = None) -> Response:
        ended = {"open": False, "ended": True}.get(state)
        found = await store.alerts(desk.units.pool, who.organisation, ended=ended, limit=_ALERTS_ON_A_PAGE, after=after)
        shown = [view.of_alert(alert) for alert in found]
        following = found[-1].id if len(found) == _ALERTS_ON_A_PAGE else None
        return pages.render(request, "alerts.html", alerts=shown, state=state, after=after, following=following)

    @router.get("/alerts/{alert}")
    async def alert(request: Request, alert: Uuid, who: reader) -> Response:
        found = await store.alert(desk.units.pool, alert, who.organisation)
        if found is None:
            raise problem("alert_unknown")
        may = not who.person.roles.isdisjoint(access.ACKNOWLEDGE)
        return pages.render(request, "alert.html", alert=view.of_alert(found), may_acknowledge=may)

    @router.post("/alerts/{alert}")
    async def acknowledge(alert: Uuid, who: taker) -> Response:
        await desk.take_alert(alert, who)
        return RedirectResponse(f"/alerts/{alert}", 303)


def _add_duties(router: APIRouter, desk: Desk, pages: Pages) -> None:  # noqa: C901 - one per page
    reader = Annotated[Acting, Depends(acting(desk.identity, access.READ))]
    filer = Annotated[Acting, Depends(acting(desk.identity, access.FILE))]
    waiver = Annotated[Acting, Depends(acting(desk.identity, access.WAIVE))]

    @router.get("/")
    async def home() -> Response:
        return RedirectResponse("/duties", 303)

    @router.get("/duties")
    async def board(request: Request, who: reader) -> Response:
        found = await store.open_duties(desk.units.pool, who.organisation)
        shown = [view.of_duty(duty, desk.rulebook) for duty in found]
        return pages.render(request, "duties.html", duties=shown, incident=None, steps=set(), me=who.person.ref)

    @router.get("/incidents/{incident}/duties")
    async def duties(request: Request, incident: Uuid, who: reader) -> Response:
        await desk.incident(desk.units.pool, incident, who.organisation)
        found = await store.duties(desk.units.pool, incident)
        shown = [view.of_duty(duty, desk.rulebook) for duty in found]
        steps = access.allowed(who.person)
        return pages.render(request, "duties.html", duties=shown, incident=incident, steps=steps, me=who.person.ref)

    async def read[M: BaseModel](request: Request, order: type[M]) -> M:
        try:
            return forms.read(await forms.given(request), order, pages.zone)
        except ValidationError as error:
            raise invalid(refused_fields(error)) from error

    @router.post("/duties/{duty}/file")
    async def file(request: Request, duty: Uuid, who: filer) -> Response:
        filed = await desk.file_duty(duty, await read(request, orders.File), who)
        return RedirectResponse(f"/incidents/{filed.scope.subject}/duties", 303)

    @router.post("/duties/{duty}/meet")
    async def meet(request: Request, duty: Uuid, who: filer) -> Response:
        met = await desk.meet_duty(duty, await read(request, orders.Meet), who)
        return RedirectResponse(f"/incidents/{met.scope.subject}/duties", 303)

    @router.post("/duties/{duty}/reopen")
    async def reopen(duty: Uuid, who: filer) -> Response:
        reopened = await desk.reopen_duty(duty, who)
        return RedirectResponse(f"/incidents/{reopened.scope.subject}/duties", 303)

    @router.post("/duties/{duty}/waive")
    async def waive(duty: Uuid, order: Annotated[orders.WaiveForm, Form()], who: waiver) -> Response:
        waived = await desk.waive_duty(duty, order.reason, who)
        return RedirectResponse(f"/incidents/{waived.scope.subject}/duties", 303)

    @router.get("/incidents/{incident}/filing")
    async def filing(request: Request, incident: Uuid, who: reader) -> Response:
        pack = await desk.filing_pack(incident, who.organisation)
        return pages.render(request, "filing.html", incident=incident, pack=pack, nine=pack.items)


def _add_public(router: APIRouter, desk: Desk, pages: Pages) -> None:
    visitor = Annotated[Person | None, Depends(desk.identity.optional())]

    @router.get("/disclosures")
    async def index(request: Request, organisation: str = "") -> Response:
        if not _ORGANISATION.fullmatch(organisation):
            raise problem("organisation_missing")
        found = await published(desk.units.pool, organisation)
        shown = [(item, item.public) for item in found if not item.retracted_at]
        return pages.render(request, "disclosures.html", disclosures=shown, headers=_PUBLIC_CACHE)

    @router.get("/disclosures/{disclosure}")
    async def disclosure(
        request: Request,
        disclosure: Uuid,
        reader: visitor,
        edition: Annotated[Number | None, Query(ge=1, le=1000)] = None,
    ) -> Response:
        found = await load(desk.units.pool, disclosure)
        shown = _readable(found, edition, reader)
        if found is None or shown is None:
            raise problem("disclosure_unknown")
        return pages.render(
            request,
            "disclosure.html",
            disclosure=found,
            edition=shown,
            editions=[item for item in found.editions if item.issued_at],
            blocks=[] if found.retracted_at else shown.document.texts[language(request)],
            headers=_PUBLIC_CACHE,
        )

    @router.get("/n/{token}", dependencies=[Depends(_LINK_LIMIT)])
    async def notice(request: Request, token: str) -> Response:
        batch = await ledger.by_token(desk.units.pool, token[:100])
        if batch is None:
            raise problem("notice_unknown")
        return pages.render(request, "notice.html", notice=batch.notice, headers=_PUBLIC_CACHE)


def _readable(found: Disclosure | None, wanted: int | None, reader: Person | None) -> Edition | None:
    """The edition that this reader may see. A drill is for the organisation's own people only."""
    if found is None:
        return None
    if found.scope.drill and (reader is None or reader.organisation != found.scope.organisation):
        return None
    if wanted is None:
        return found.public
    return next((item for item in found.editions if item.version == wanted and item.issued_at), None)
