"""The desk's pages: the queue, and one case with everything that can be done about it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import RedirectResponse, Response

from services.reporter import orders
from services.reporter.domain.assessment import Findings
from services.reporter.domain.desk import MAY
from services.reporter.domain.incident import Incident, RefusedError
from services.reporter.door import may, roles_for
from services.reporter.http import Desk, IncidentPath, IncidentQuery, NoncePath, who_may
from services.reporter.refusals import said
from services.reporter.screens import CHOICES
from shared.web import Acting, Pages, Problem, forms, in_role

_CASES_ON_A_PAGE = 100


@dataclass(frozen=True)
class _Form:
    """One form of the case page: who may send it, what it holds, what it does."""

    allowed: str
    order: type[BaseModel]
    act: Callable[[str, Acting, Any], Awaitable[Incident]]


class DeskScreens:
    """Renders cases and takes the desk's forms."""

    def __init__(self, desk: Desk, pages: Pages, zone: ZoneInfo) -> None:
        self._desk = desk
        self._pages = pages
        self._zone = zone
        acts = desk.acts
        self._forms = {
            "verify": _Form("verify", orders.Verify, acts.verify),
            "triage": _Form("triage", orders.TriageOrder, acts.triage),
            "amend": _Form("triage", orders.DeskAmend, acts.amend),
            "steps": _Form("order_step", orders.StepOrder, acts.step),
            "suspend-line": _Form("order_line", orders.SuspendLine, acts.suspend_line),
            "resume-line": _Form("order_line", orders.Reason, acts.resume_line),
            "police": _Form("record_police", orders.Police, acts.police),
            "facility": _Form("record_facility", orders.Facility, acts.facility),
            "assessment": _Form("assess", Findings, acts.assess),
            "exemption": _Form("second_exemption", orders.SecondExemption, acts.second_exemption),
            "recovered": _Form("recover", orders.Recovered, acts.recovered),
            "written-off": _Form("write_off", orders.Reason, acts.write_off),
            "prevention": _Form("record_prevention", orders.Prevention, acts.prevention),
            "close": _Form("close", orders.Close, acts.close),
            "reopen": _Form("reopen", orders.Reason, acts.reopen),
            "cancel": _Form("cancel", orders.Reason, acts.cancel),
        }

    async def queue(self, request: Request, who: Acting, state: str, after: str | None) -> Response:
        """The cases of the organisation, newest first."""
        ended = {"open": False, "ended": True}.get(state)
        rows = await self._desk.views.queue(who, ended=ended, limit=_CASES_ON_A_PAGE, after=after)
        following = rows[-1]["incident"] if len(rows) == _CASES_ON_A_PAGE else None
        return self._pages.render(request, "queue.html", rows=rows, state=state, after=after, following=following)

    async def case(self, request: Request, incident: str, who: Acting, **more: Any) -> Response:
        """One case."""
        case = await self._desk.case(incident, who)
        allowed = {act for act in MAY if may(who.person, act)}
        context: dict[str, Any] = {
            "case": case,
            "may": allowed,
            "me": who.person.ref,
            "choices": CHOICES,
            "moment": datetime.fromisoformat,
            "error": None,
            "sent": None,
            "typed": {},
        } | more
        return self._pages.render(
            request, "case.html", headers={"Cache-Control": "no-store"}, at=f"/incidents/{incident}", **context
        )

    async def act(self, request: Request, incident: str, name: str, who: Acting) -> Response:
        """Carry out one form; back to the case."""
        form = self._forms.get(name)
        if form is None:
            raise Problem(404, "not_found", ja="見つかりません。", en="There is nothing here.")
        fields = await forms.given(request)

        async def carry_out(person: Acting) -> None:
            await form.act(incident, person, forms.read(fields, form.order, self._zone))

        again = {"sent": name, "typed": forms.typed(fields)}
        return await self._carried_out(request, incident, who, form.allowed, carry_out, again)

    async def act_on_wipe(self, request: Request, incident: str, nonce: str, name: str, who: Acting) -> Response:
        """Decline or withdraw a proposal; signatures are given with `lostphone approve` on the person's own machine."""
        act, allowed = {
            "decline": (self._desk.acts.decline, "approve_wipe"),
            "withdraw": (self._desk.acts.withdraw, "withdraw_wipe"),
        }[name]
        fields = await forms.given(request)

        async def carry_out(person: Acting) -> None:
            await act(incident, person, nonce, forms.read(fields, orders.Reason, self._zone))

        return await self._carried_out(request, incident, who, allowed, carry_out, {})

    async def _carried_out(  # noqa: PLR0917 - one form, and what to show when it is refused
        self,
        request: Request,
        incident: str,
        who: Acting,
        allowed: str,
        carry_out: Callable[[Acting], Awaitable[None]],
        again: dict[str, Any],
    ) -> Response:
        try:
            await carry_out(in_role(who.person, roles_for(allowed)))
        except (ValidationError, RefusedError) as refused:
            error, status = said(request, refused)
            return await self.case(request, incident, who, error=error, status_code=status, **again)
        return RedirectResponse(f"/incidents/{incident}", 303)


def routes(screens: DeskScreens, desk: Desk) -> APIRouter:
    """`/incidents…`."""
    router = APIRouter(prefix="/incidents", include_in_schema=False)
    see = Annotated[Acting, Depends(who_may(desk.identity, "see"))]

    @router.get("")
    async def queue(request: Request, who: see, state: str = "open", after: IncidentQuery = None) -> Response:
        return await screens.queue(request, who, state, after)

    @router.get("/{incident}")
    async def case(request: Request, incident: IncidentPath, who: see) -> Response:
        return await screens.case(request, incident, who)

    @router.post("/{incident}/{name}")
    async def act(request: Request, incident: IncidentPath, name: str, who: see) -> Response:
        return await screens.act(request, incident, name, who)

    @router.post("/{incident}/wipe/{nonce}/decline")
    async def decline(request: Request, incident: IncidentPath, nonce: NoncePath, who: see) -> Response:
        return await screens.act_on_wipe(request, incident, nonce, "decline", who)

    @router.post("/{incident}/wipe/{nonce}/withdraw")
    async def withdraw(request: Request, incident: IncidentPath, nonce: NoncePath, who: see) -> Response:
        return await screens.act_on_wipe(request, incident, nonce, "withdraw", who)

    return router
