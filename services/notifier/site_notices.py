"""The page of notices: the list of people, the texts before they leave, the batches and what became of each."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import RedirectResponse, Response

from services.notifier import access, orders
from services.notifier.access import Uuid
from services.notifier.desk import Desk
from services.notifier.disclosures import last_issuer
from services.notifier.domain.notice import TEMPLATE
from services.notifier.refusals import problem
from services.notifier.telling import Telling
from shared.web import Acting, Pages, Problem, acting, forms

_PEOPLE_ON_A_PAGE = 200
_NOT_KEPT = {"Cache-Control": "no-store"}


class NoticesPage:
    """Renders the page, and it again with what is wrong when a form was refused."""

    def __init__(self, desk: Desk, pages: Pages) -> None:
        self._desk = desk
        self._pages = pages
        self._telling = Telling(desk)

    async def show(self, request: Request, incident: str, who: Acting, status_code: int = 200, **more: Any) -> Response:
        pool = self._desk.units.pool
        known = await self._desk.incident(pool, incident, who.organisation)
        context: dict[str, Any] = {
            "incident": incident,
            "drill": known.scope.drill,
            "assessment": known.case.assessment,
            "sent": await self._telling.sent(incident, who),
            "typed": forms.flat({"issuer": await last_issuer(pool, who.organisation, incident)}),
            "steps": access.allowed(who.person),
            "preview": None,
            "error": None,
        } | more
        at = f"/incidents/{incident}/notices"
        return self._pages.render(request, "notices.html", status_code=status_code, headers=_NOT_KEPT, at=at, **context)

    async def add_people(self, request: Request, incident: str, who: Acting) -> Response:
        """Take the uploaded file; back to the page, with the rows that cannot be used."""
        form = await forms.given(request, with_file=True)
        file = form.get("file")
        body = await file.read() if isinstance(file, UploadFile) else b""
        await form.close()
        try:
            await self._telling.list_people(incident, body, who)
        except Problem as refused:
            error, status = forms.said(request, refused)
            return await self.show(request, incident, who, status, error=error)
        return _back(incident)

    async def start(self, request: Request, incident: str, who: Acting) -> Response:
        """Show the texts first; send them when the form says so."""
        form = await forms.given(request)
        typed = forms.typed(form)
        try:
            sent = orders.NoticesForm.model_validate(forms.nested(form))
            preview = sent.step == "preview"
            told = {"template": TEMPLATE, "assessment_version": sent.assessment_version, "issuer": sent.issuer}
            started = await self._telling.start(
                incident, orders.Notices.model_validate(told | {"preview": preview}), who
            )
        except (ValidationError, Problem) as refused:
            error, status = forms.said(request, refused)
            return await self.show(request, incident, who, status, typed=typed, error=error)
        if preview:
            return await self.show(request, incident, who, typed=typed, preview=started)
        return _back(incident)

    async def people(  # noqa: PLR0917 - a page of a list
        self, request: Request, incident: str, batch: str, who: Acting, after: str, state: str | None
    ) -> Response:
        """One batch, person by person, by reference."""
        sent = await self._telling.sent(incident, who)
        found = next((item for item in sent["batches"] if item["batch"] == batch), None)
        if found is None:
            raise problem("batch_unknown")
        page = await self._telling.people(incident, batch, who, _PEOPLE_ON_A_PAGE, after, state)
        people = page["people"]
        following = people[-1]["person"] if len(people) == _PEOPLE_ON_A_PAGE else None
        return self._pages.render(
            request,
            "ledger.html",
            headers=_NOT_KEPT,
            incident=incident,
            batch=found,
            people=people,
            state=state,
            following=following,
        )


def _back(incident: str) -> Response:
    return RedirectResponse(f"/incidents/{incident}/notices", 303)


def add(router: APIRouter, desk: Desk, pages: Pages) -> None:
    """`/incidents/{incident}/notices…`."""
    page = NoticesPage(desk, pages)
    reader = Annotated[Acting, Depends(acting(desk.identity, access.READ))]
    teller = Annotated[Acting, Depends(acting(desk.identity, access.TELL))]

    @router.get("/incidents/{incident}/notices")
    async def notices(request: Request, incident: Uuid, who: reader) -> Response:
        return await page.show(request, incident, who)

    @router.post("/incidents/{incident}/notices")
    async def start(request: Request, incident: Uuid, who: teller) -> Response:
        return await page.start(request, incident, who)

    @router.post("/incidents/{incident}/notices/people")
    async def people(request: Request, incident: Uuid, who: teller) -> Response:
        return await page.add_people(request, incident, who)

    @router.get("/incidents/{incident}/notices/{batch}")
    async def batch(  # noqa: PLR0917 - the parts of the address
        request: Request,
        incident: Uuid,
        batch: Uuid,
        who: reader,
        after: Annotated[str, Query(max_length=60)] = "",
        state: Annotated[str | None, Query(pattern=r"^[a-z]{1,20}$")] = None,
    ) -> Response:
        return await page.people(request, incident, batch, who, after, state)
