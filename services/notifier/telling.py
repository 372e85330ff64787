"""What people do to have others told, with everything that the rules refuse; the API and the pages do it alike."""

from dataclasses import asdict
from datetime import datetime

from services.notifier import ledger, orders, view
from services.notifier.desk import Desk
from services.notifier.domain import lint
from services.notifier.domain import notice as text
from services.notifier.domain.principals import PrincipalFile, PrincipalFileError, address_of, parse
from services.notifier.refusals import problem
from services.notifier.store import Incident
from services.notifier.view import View
from shared.web import Acting

_EXAMPLE_LINK = "https://…"


class Telling:
    """Each method is one step of one person; it raises `Problem`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_people(self, incident: str, body: bytes, who: Acting, *, dry_run: bool = False) -> View:
        """Check the file and, unless it is a dry run, add its people to the incident's list."""
        file = _read(body)
        errors = [asdict(error) for error in file.errors[:100]]
        checked: View = {"people": len(file.people), "duplicates": file.duplicates, "errors": errors}
        desk = self._desk
        if dry_run:
            await desk.incident(desk.units.pool, incident, who.organisation)
            return {"dry_run": True} | checked
        if errors:
            raise problem("rows_unusable", errors=errors)
        async with desk.units.begin() as unit:
            await unit.lock(incident)
            known = await desk.incident(unit.connection, incident, who.organisation)
            return {"dry_run": False} | checked | asdict(await desk.notices.list_people(unit, known, file))

    async def search(self, order: orders.Search, who: Acting) -> View:
        """Under which references the organisation's lists have somebody, and in which incidents."""
        address = address_of(order.mail, order.line_user_id)
        found = await self._desk.notices.find(self._desk.units.pool, who.organisation, address)
        return {"people": [{"person": person, "incident": incident} for person, incident in found]}

    async def start(self, incident: str, order: orders.Notices, who: Acting) -> View:
        """The batch that was started, or a preview of it."""
        if order.template != text.TEMPLATE:
            raise problem("template_unknown", known=[text.TEMPLATE])
        desk = self._desk
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

    async def sent(self, incident: str, who: Acting) -> View:
        """The list and the batches, with what became of each."""
        pool = self._desk.units.pool
        await self._desk.incident(pool, incident, who.organisation)
        batches = await ledger.batches(pool, incident)
        shown = [view.of_batch(batch, *await ledger.counts(pool, incident, batch.id)) for batch in batches]
        return {"listed": await ledger.listed(pool, incident), "batches": shown}

    async def people(  # noqa: PLR0917 - a page of a list
        self, incident: str, batch: str, who: Acting, limit: int, after: str, state: str | None = None
    ) -> View:
        """A page of one batch's ledger."""
        pool = self._desk.units.pool
        await self._desk.incident(pool, incident, who.organisation)
        found = await ledger.batch(pool, batch)
        if found is None or found.scope.subject != incident:
            raise problem("batch_unknown")
        page = await ledger.people_rows(pool, batch, limit, after, state)
        return {"batch": batch, "people": [dict(row) for row in page]}


def _read(body: bytes) -> PrincipalFile:
    try:
        return parse(body)
    except PrincipalFileError as error:
        raise problem(str(error)) from error


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
