"""The desk's API: one request for each act on a case, answered with the case as it is then."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query

from services.reporter import orders
from services.reporter.acts import Acts, must_exist
from services.reporter.cases import Cases
from services.reporter.disclosing import Disclosing
from services.reporter.domain.assessment import Findings
from services.reporter.domain.incident import Incident
from services.reporter.door import may, roles_for
from services.reporter.erasure import Erasure
from services.reporter.view import Views
from shared.web import Acting, Identity, Person, acting
from shared.web.number import Number

_INCIDENT = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
type IncidentPath = Annotated[str, Path(pattern=_INCIDENT)]
type IncidentQuery = Annotated[
    str | None, Query(pattern=_INCIDENT, description="The last incident of the page before, for the next one.")
]
type NoncePath = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
type Answered = dict[str, Any]


@dataclass(frozen=True)
class Desk:
    """What the API and the pages of the desk stand on."""

    identity: Identity
    cases: Cases
    acts: Acts
    views: Views

    async def case(self, incident: str, acting: Acting) -> Answered:
        """The case, with personal values for those who may see them."""
        return await self.views.case(incident, acting, with_contact=may(acting.person, "see_contact"))


def who_may(identity: Identity, act: str) -> Callable[..., Awaitable[Acting]]:
    """A dependency: the signed-in person, in the first of their roles that allows this act. Answers 401 or 403."""
    return acting(identity, roles_for(act))


def people(identity: Identity, erasure: Erasure, disclosing: Disclosing) -> APIRouter:
    """`/v1/me`: how the system names the one who asks, for the approvers' file. `/v1/people…`: erasure.
    `/v1/disclosures`: single fields for evidence."""
    router = APIRouter(prefix="/v1", tags=["people"])

    @router.get("/me")
    async def me(person: Annotated[Person, Depends(identity.require())]) -> Answered:
        return {"person": person.ref, "organisation": person.organisation, "roles": sorted(person.roles)}

    @router.post("/people/search")
    async def search(
        order: orders.Search, who: Annotated[Acting, Depends(who_may(identity, "erase"))]
    ) -> dict[str, str]:
        return {"person": erasure.reference(who, order.employee_id)}

    @router.post("/people/{person}/erasure")
    async def erase(
        person: Annotated[str, Path(pattern=r"^person-[0-9a-f]{32}$")],
        order: orders.Erase,
        who: Annotated[Acting, Depends(who_may(identity, "erase"))],
    ) -> Answered:
        return await erasure.erase(person, who, order.ground)

    @router.post("/disclosures")
    async def disclose(
        order: orders.Disclose, who: Annotated[Acting, Depends(who_may(identity, "disclose"))]
    ) -> dict[str, str | None]:
        return await disclosing.open(order.digests, who, order.reason)

    return router


def routes(desk: Desk) -> APIRouter:
    """`/v1/incidents…`."""
    router = APIRouter(prefix="/v1/incidents", tags=["desk"])
    see = Annotated[Acting, Depends(who_may(desk.identity, "see"))]

    @router.get("")
    async def queue(
        who: see,
        state: Annotated[Literal["open", "ended", "all"], Query()] = "open",
        limit: Annotated[Number, Query(ge=1, le=200)] = 50,
        after: IncidentQuery = None,
    ) -> Answered:
        ended = {"open": False, "ended": True, "all": None}[state]
        return {"incidents": await desk.views.queue(who, ended=ended, limit=limit, after=after)}

    @router.get("/{incident}")
    async def case(incident: IncidentPath, who: see) -> Answered:
        return await desk.case(incident, who)

    _add_acts(router, desk)
    _add_wipe(router, desk)
    return router


type Act = Callable[[str, Acting, Any], Awaitable[Incident]]


def _add_acts(router: APIRouter, desk: Desk) -> None:
    """Acts that take one order and answer with the case."""
    acts = desk.acts

    def add(path: str, allowed: str, order: type, act: Act) -> None:
        allowed_person = Annotated[Acting, Depends(who_may(desk.identity, allowed))]

        async def endpoint(incident: IncidentPath, order: Any, who: Any) -> Answered:
            await act(incident, who, order)
            return await desk.case(incident, who)

        endpoint.__annotations__ |= {"order": order, "who": allowed_person}
        endpoint.__name__ = path.strip("/").replace("/", "_").replace("-", "_")
        router.post(f"/{{incident}}{path}", response_model=None)(endpoint)

    add("/verify", "verify", orders.Verify, acts.verify)
    add("/triage", "triage", orders.TriageOrder, acts.triage)
    add("/amend", "triage", orders.DeskAmend, acts.amend)
    add("/steps", "order_step", orders.StepOrder, acts.step)
    add("/line/suspend", "order_line", orders.SuspendLine, acts.suspend_line)
    add("/line/resume", "order_line", orders.Reason, acts.resume_line)
    add("/police", "record_police", orders.Police, acts.police)
    add("/facility", "record_facility", orders.Facility, acts.facility)
    add("/assessment", "assess", Findings, acts.assess)
    add("/assessment/exemption", "second_exemption", orders.SecondExemption, acts.second_exemption)
    add("/recovered", "recover", orders.Recovered, acts.recovered)
    add("/written-off", "write_off", orders.Reason, acts.write_off)
    add("/prevention", "record_prevention", orders.Prevention, acts.prevention)
    add("/close", "close", orders.Close, acts.close)
    add("/reopen", "reopen", orders.Reason, acts.reopen)
    add("/cancel", "cancel", orders.Reason, acts.cancel)


def _add_wipe(router: APIRouter, desk: Desk) -> None:
    """Statement, proposal, approvals: what `lostphone approve` speaks to."""
    proposer = Annotated[Acting, Depends(who_may(desk.identity, "propose_wipe"))]
    approver = Annotated[Acting, Depends(who_may(desk.identity, "approve_wipe"))]
    withdrawer = Annotated[Acting, Depends(who_may(desk.identity, "withdraw_wipe"))]
    see = Annotated[Acting, Depends(who_may(desk.identity, "see"))]
    base = "/{incident}/wipe"

    async def one(incident: str, who: Acting, nonce: str) -> Answered:
        case = await desk.views.case(incident, who, with_contact=False)
        return must_exist(nonce, case["proposals"])

    @router.get(f"{base}/statement")
    async def statement(incident: IncidentPath, who: proposer) -> Answered:
        made = await desk.cases.statement(incident, who, secrets.token_hex(16))
        return {"statement": made.model_dump(mode="json")}

    @router.post(f"{base}/proposals", status_code=201)
    async def propose(incident: IncidentPath, order: orders.Proposal, who: proposer) -> Answered:
        await desk.acts.propose(incident, who, order)
        return await one(incident, who, order.statement.nonce)

    @router.get(f"{base}/proposals/{{nonce}}")
    async def proposal(incident: IncidentPath, nonce: NoncePath, who: see) -> Answered:
        return await one(incident, who, nonce)

    @router.post(f"{base}/proposals/{{nonce}}/approvals", status_code=201)
    async def approve(incident: IncidentPath, nonce: NoncePath, order: orders.Approve, who: approver) -> Answered:
        await desk.acts.approve(incident, who, nonce, order)
        return await one(incident, who, nonce)

    @router.post(f"{base}/proposals/{{nonce}}/decline")
    async def decline(incident: IncidentPath, nonce: NoncePath, order: orders.Reason, who: approver) -> Answered:
        await desk.acts.decline(incident, who, nonce, order)
        return await one(incident, who, nonce)

    @router.post(f"{base}/proposals/{{nonce}}/withdraw")
    async def withdraw(incident: IncidentPath, nonce: NoncePath, order: orders.Reason, who: withdrawer) -> Answered:
        await desk.acts.withdraw(incident, who, nonce, order)
        return await one(incident, who, nonce)
