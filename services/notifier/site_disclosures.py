"""The pages on which a disclosure is drafted, approved by two people, and issued."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from services.notifier import access, orders, view
from services.notifier.access import Uuid
from services.notifier.desk import Desk
from services.notifier.disclosures import last_issuer, load, of_incident
from services.notifier.domain.document import Details
from services.notifier.domain.wording import LANGUAGES
from services.notifier.publishing import Publishing
from services.notifier.refusals import problem
from shared.web import Acting, Pages, Problem, acting, forms, in_role

_NOT_KEPT = {"Cache-Control": "no-store"}
type _Fields = Mapping[str, Any]
type _Step = Callable[[str, _Fields, Acting], Awaitable[object]]


class DisclosurePages:
    """Renders the drafts of an incident, and takes the forms on them."""

    def __init__(self, desk: Desk, pages: Pages) -> None:
        self._desk = desk
        self._pages = pages
        self._publishing = Publishing(desk)

    async def all(self, request: Request, incident: str, who: Acting, status_code: int = 200, **more: Any) -> Response:
        """The disclosures of an incident, and the form for a new one."""
        pool = self._desk.units.pool
        known = await self._desk.incident(pool, incident, who.organisation)
        found = await of_incident(pool, incident)
        context: dict[str, Any] = {
            "incident": incident,
            "drill": known.scope.drill,
            "assessment": known.case.assessment,
            "disclosures": [view.of_disclosure(item, known, self._desk.disclosures) for item in found],
            "typed": forms.flat({"issuer": await last_issuer(pool, who.organisation, incident)}),
            "steps": access.allowed(who.person),
            "error": None,
        } | more
        at = f"/incidents/{incident}/disclosures"
        return self._pages.render(request, "drafts.html", status_code=status_code, headers=_NOT_KEPT, at=at, **context)

    async def one(
        self,
        request: Request,
        incident: str,
        disclosure: str,
        who: Acting,
        status_code: int = 200,
        **more: Any,
    ) -> Response:
        """One disclosure: its text, what blocks it, who approved it, and the next step."""
        pool = self._desk.units.pool
        known = await self._desk.incident(pool, incident, who.organisation)
        found = await load(pool, disclosure, who.organisation)
        if found is None or found.scope.subject != incident:
            raise problem("disclosure_unknown")
        context: dict[str, Any] = {
            "incident": incident,
            "drill": known.scope.drill,
            "shown": view.of_disclosure(found, known, self._desk.disclosures),
            "typed": _typed(found.latest.details),
            "mine": who.person.ref in {approval.person for approval in found.latest.approvals},
            "steps": access.allowed(who.person),
            "error": None,
        } | more
        at = f"/incidents/{incident}/disclosures/{disclosure}"
        return self._pages.render(request, "draft.html", status_code=status_code, headers=_NOT_KEPT, at=at, **context)

    async def draft(self, request: Request, incident: str, who: Acting) -> Response:
        """Make the first draft; on to its page."""
        form = await forms.given(request)
        try:
            made = await self._publishing.draft(incident, _details(forms.nested(form)), who)
        except (ValidationError, Problem) as refused:
            error, status = forms.said(request, refused)
            return await self.all(request, incident, who, status, typed=forms.typed(form), error=error)
        return RedirectResponse(f"/incidents/{incident}/disclosures/{made['disclosure']}", 303)

    async def act(self, request: Request, incident: str, disclosure: str, name: str, who: Acting) -> Response:
        """Carry out one form of a disclosure's page; back to it."""
        step = self._steps().get(name)
        if step is None:
            raise problem("disclosure_unknown")
        form = await forms.given(request)
        try:
            await step(disclosure, forms.nested(form), in_role(who.person, access.STEPS[name]))
        except (ValidationError, Problem) as refused:
            error, status = forms.said(request, refused)
            typed = {"typed": forms.typed(form)} if name == "revise" else {}
            return await self.one(request, incident, disclosure, who, status, error=error, **typed)
        return RedirectResponse(f"/incidents/{incident}/disclosures/{disclosure}", 303)

    def _steps(self) -> Mapping[str, _Step]:
        publishing = self._publishing
        return {
            "revise": lambda disclosure, fields, who: publishing.revise(
                disclosure,
                orders.Revise.model_validate({"reason": fields.get("reason"), "details": _details(fields)}),
                who,
            ),
            "approve": lambda disclosure, fields, who: publishing.approve(
                disclosure, orders.Approve.model_validate({"text": fields.get("text")}), who
            ),
            "check": lambda disclosure, _, who: publishing.check(disclosure, who),
            "issue": lambda disclosure, _, who: publishing.issue(disclosure, who),
            "retract": lambda disclosure, fields, who: publishing.retract(
                disclosure, orders.Reason.model_validate({"reason": fields.get("reason")}), who
            ),
        }


def _details(fields: _Fields) -> Details:
    """What people add to the facts. Raises `ValidationError`, and `Problem` when a list has a sentence in one language
    only."""
    sent = orders.DetailsForm.model_validate(fields)
    prevention, advice = sent.prevention.pairs(), sent.advice.pairs()
    if prevention is None or advice is None:
        raise problem("languages_differ")
    edits = {
        tongue: {block: text.splitlines() for block, text in blocks.items()} for tongue, blocks in sent.edits.items()
    }
    return Details.model_validate({"issuer": sent.issuer, "prevention": prevention, "advice": advice, "edits": edits})


def _typed(details: Details) -> dict[str, str | list[str]]:
    """The details as the fields of the form."""
    lines = {
        name: {tongue: "\n".join(item.of(tongue) for item in items) for tongue in LANGUAGES}
        for name, items in (("prevention", details.prevention), ("advice", details.advice))
    }
    edits = {
        tongue: {block: "\n".join(text) for block, text in blocks.items()} for tongue, blocks in details.edits.items()
    }
    return forms.flat({"issuer": details.issuer.model_dump(mode="json"), "edits": edits, **lines})


def add(router: APIRouter, desk: Desk, pages: Pages) -> None:
    """`/incidents/{incident}/disclosures…`."""
    page = DisclosurePages(desk, pages)
    reader = Annotated[Acting, Depends(acting(desk.identity, access.READ))]
    drafter = Annotated[Acting, Depends(acting(desk.identity, access.DRAFT))]

    @router.get("/incidents/{incident}/disclosures")
    async def disclosures(request: Request, incident: Uuid, who: reader) -> Response:
        return await page.all(request, incident, who)

    @router.post("/incidents/{incident}/disclosures")
    async def draft(request: Request, incident: Uuid, who: drafter) -> Response:
        return await page.draft(request, incident, who)

    @router.get("/incidents/{incident}/disclosures/{disclosure}")
    async def one(request: Request, incident: Uuid, disclosure: Uuid, who: reader) -> Response:
        return await page.one(request, incident, disclosure, who)

    @router.post("/incidents/{incident}/disclosures/{disclosure}/{step}")
    async def act(request: Request, incident: Uuid, disclosure: Uuid, step: str, who: reader) -> Response:
        return await page.act(request, incident, disclosure, step, who)
