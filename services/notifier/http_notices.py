"""Requests in: the list of people concerned, batches of notices, the ledger."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from services.notifier import access, ledger, orders, view
from services.notifier.access import Acting, Uuid, acting
from services.notifier.desk import Desk
from services.notifier.domain import lint
from services.notifier.domain import notice as text
from services.notifier.domain.principals import PrincipalFile, PrincipalFileError, parse
from services.notifier.problems import problem
from services.notifier.store import Incident
from services.notifier.view import View

_EXAMPLE_LINK = "https://…"


def add(router: APIRouter, desk: Desk) -> None:
    """`/incidents/{incident}/principals` and `/incidents/{incident}/notices`."""
    reader = Annotated[Acting, Depends(acting(desk.identity, access.READ))]
    teller = Annotated[Acting, Depends(acting(desk.identity, access.TELL))]

    @router.post("/incidents/{incident}/principals")
    async def principals(incident: Uuid, request: Request, who: teller, *, dry_run: bool = False) -> View:
        return await _list(desk, incident, await request.body(), who.organisation, dry_run=dry_run)

    @router.post("/incidents/{incident}/notices")
    async def notices(incident: Uuid, order: orders.Notices, who: teller, response: Response) -> View:
        started = await _start(desk, incident, order, who)
        response.status_code = 200 if order.preview else 202
        return started

    @router.get("/incidents/{incident}/notices")
    async def sent(incident: Uuid, who: reader) -> View:
        pool = desk.units.pool
        await desk.incident(pool, incident, who.organisation)
        batches = await ledger.batches(pool, incident)
        shown = [view.of_batch(batch, *await ledger.counts(pool, incident, batch.id)) for batch in batches]
        return {"listed": await ledger.listed(pool, incident), "batches": shown}

    @router.get("/incidents/{incident}/notices/{batch}/ledger")
    async def rows(
        incident: Uuid,
        batch: Uuid,
        who: reader,
        after: Annotated[str, Query(max_length=60)] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> View:
        await desk.incident(desk.units.pool, incident, who.organisation)
        found = await ledger.batch(desk.units.pool, batch)
        if found is None or found.scope.subject != incident:
            raise problem("batch_unknown")
        page = await ledger.people_rows(desk.units.pool, batch, limit, after)
        return {"batch": batch, "people": [dict(row) for row in page]}


async def _list(desk: Desk, incident: str, body: bytes, organisation: str, *, dry_run: bool) -> View:
    """Check the file and, unless it is a dry run, add its people to the incident's list."""
    file = _read(body)
    errors = [asdict(error) for error in file.errors[:100]]
    checked: View = {"people": len(file.people), "duplicates": file.duplicates, "errors": errors}
    if dry_run:
        await desk.incident(desk.units.pool, incident, organisation)
        return {"dry_run": True} | checked
    if errors:
        raise problem("rows_unusable", errors=errors)
    async with desk.units.begin() as unit:
        await unit.lock(incident)
        known = await desk.incident(unit.connection, incident, organisation)
        return {"dry_run": False} | checked | asdict(await desk.notices.list_people(unit, known, file))


def _read(body: bytes) -> PrincipalFile:
    try:
        return parse(body)
    except PrincipalFileError as error:
        raise problem("file_unreadable", why=str(error)) from error


async def _start(desk: Desk, incident: str, order: orders.Notices, who: Acting) -> View:
    """The batch that was started, or a preview of it."""
    if order.template != text.TEMPLATE:
        raise problem("template_unknown", known=[text.TEMPLATE])
    async with desk.units.begin() as unit:
        await unit.lock(incident)
        known = await desk.incident(unit.connection, incident, who.organisation)
        _assessed(known, order.assessment_version)
        reach = await desk.notices.reach(unit, known)
        findings = [finding.model_dump() for finding in lint.protection_differs(known.case)]
        if order.preview:
            return _preview(known, order, reach, unit.now) | {"findings": findings}
        if findings:
            raise problem("findings", findings=findings)
        if not reach:
            raise problem("nobody_to_tell")
        batch = await desk.notices.start(unit, known, order.issuer, reach, ordered_by=who.actor)
    return view.of_batch(batch, {"planned": batch.people}, _first_channels(reach))


def _assessed(known: Incident, version: int) -> None:
    if known.case.assessment is None:
        raise problem("not_assessed")
    if known.case.assessment.version != version:
        raise problem("assessment_superseded", current=known.case.assessment.version)


def _first_channels(reach: dict[str, list[str]]) -> dict[str, int]:
    firsts = [channels[0] for channels in reach.values()]
    return {name: firsts.count(name) for name in sorted(set(firsts))}


def _preview(known: Incident, order: orders.Notices, reach: dict[str, list[str]], now: datetime) -> View:
    written = text.write(known.case, order.issuer, as_of=now).linked(_EXAMPLE_LINK)
    return {
        "preview": True,
        "people": len(reach),
        "by_channel": _first_channels(reach),
        "headcount": known.case.assessment.people if known.case.assessment else None,
        "mail": {"subject": written.subject, "text": written.mail},
        "line": {"text": written.line},
    }
