"""What people do with a disclosure, with everything that the rules refuse; the API and the pages do it alike."""

from collections.abc import Awaitable, Callable

from services.notifier import access, orders, view
from services.notifier.desk import Desk
from services.notifier.disclosures import Disclosure, load
from services.notifier.domain.document import Details, NotAssessedError
from services.notifier.refusals import problem
from services.notifier.store import Incident
from services.notifier.view import View
from shared.messaging import Unit
from shared.web import Acting

type _Step = Callable[[Unit, Incident, Disclosure], Awaitable[object]]


class Publishing:
    """Each method is one step of one person; it answers with how the disclosure is then, or raises `Problem`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def draft(self, incident: str, details: Details, who: Acting) -> View:
        """A first draft from the current assessment."""
        desk = self._desk
        async with desk.units.begin() as unit:
            await unit.lock(incident)
            known = await desk.incident(unit.connection, incident, who.organisation)
            try:
                made = await desk.disclosures.draft(unit, known, details, actor=who.actor)
            except NotAssessedError as error:
                raise problem("not_assessed") from error
            return view.of_disclosure(made, known, desk.disclosures)

    async def revise(self, disclosure: str, order: orders.Revise, who: Acting) -> View:
        """The next edition, or the draft written anew."""
        return await self._act(
            disclosure,
            who,
            lambda unit, known, found: self._desk.disclosures.revise(
                unit, known, found, order.details, reason=order.reason, actor=who.actor
            ),
        )

    async def approve(self, disclosure: str, order: orders.Approve, who: Acting) -> View:
        """One approval of exactly this text."""

        async def step(unit: Unit, known: Incident, found: Disclosure) -> None:
            role = self._approving(known, found, order.text, who)
            actor = f"{who.person.ref}/{role}"
            await self._desk.disclosures.approve(unit, found, role=role, person=who.person.ref, actor=actor)

        return await self._act(disclosure, who, step)

    async def check(self, disclosure: str, who: Acting) -> View:
        """Somebody tried the contact desk, and it answered."""
        return await self._act(disclosure, who, lambda unit, _, found: self._desk.disclosures.desk_answers(unit, found))

    async def issue(self, disclosure: str, who: Acting) -> View:
        """Make it public."""

        async def step(unit: Unit, known: Incident, found: Disclosure) -> None:
            self._issuable(known, found)
            await self._desk.disclosures.issue(unit, known, found, actor=who.actor)

        return await self._act(disclosure, who, step)

    async def retract(self, disclosure: str, order: orders.Reason, who: Acting) -> View:
        """Take the public text back."""

        async def step(unit: Unit, known: Incident, found: Disclosure) -> None:
            if found.public is None:
                raise problem("not_issued")
            await self._desk.disclosures.retract(unit, known, found, reason=order.reason, actor=who.actor)

        return await self._act(disclosure, who, step)

    async def _act(self, disclosure: str, who: Acting, step: _Step) -> View:
        """One step on a disclosure that was not retracted."""
        async with self._desk.disclosure(disclosure, who.organisation) as (unit, known, found):
            if found.retracted_at:
                raise problem("retracted")
            await step(unit, known, found)
            now = await load(unit.connection, disclosure) or found
            return view.of_disclosure(now, known, self._desk.disclosures)

    def _approving(self, known: Incident, found: Disclosure, text: str, who: Acting) -> str:
        """The role in which this person approves this text; or 409."""
        latest = found.latest
        if latest.issued_at:
            raise problem("already_issued")
        if latest.sha256 != text:
            raise problem("text_differs", current=latest.sha256)
        findings = self._desk.disclosures.findings(known, latest)
        blocking = [finding for finding in findings if finding.code != "contact_desk_not_checked"]
        if blocking:
            raise problem("findings", findings=[finding.model_dump() for finding in blocking])
        if who.person.ref in {approval.person for approval in latest.approvals}:
            raise problem("same_person")
        taken = {approval.role for approval in latest.approvals}
        free = [role.value for role in access.APPROVE if role in who.person.roles and role.value not in taken]
        if not free:
            raise problem("already_approved")
        return free[0]

    def _issuable(self, known: Incident, found: Disclosure) -> None:
        latest = found.latest
        if latest.issued_at:
            raise problem("already_issued")
        findings = self._desk.disclosures.findings(known, latest)
        if findings:
            raise problem("findings", findings=[finding.model_dump() for finding in findings])
        if not latest.approved:
            raise problem("not_approved")
