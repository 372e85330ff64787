"""What the API and the pages stand on: loads what a request is about, for its own organisation only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.notifier import ledger, store
from services.notifier.alerts import Alerts
from services.notifier.disclosures import Disclosure, Disclosures, load, of_incident
from services.notifier.domain import filing
from services.notifier.domain.fulfilment import WAYS, takes_receipt
from services.notifier.duties import Duties
from services.notifier.notices import Notices
from services.notifier.orders import File, Meet
from services.notifier.refusals import problem
from services.notifier.rulebook import Rulebook
from services.notifier.store import Alert, Duty, Incident
from shared.messaging import Unit, Units
from shared.web import Acting, Identity

_CLOCK_SKEW = timedelta(minutes=5)
_LEEWAY = timedelta(days=1)
"""When the phone was missed is often remembered wrongly by hours."""


@dataclass(frozen=True)
class Desk:
    """The parts of the notifier that people act on. What another organisation owns does not exist here."""

    identity: Identity
    units: Units
    rulebook: Rulebook
    alerts: Alerts
    duties: Duties
    notices: Notices
    disclosures: Disclosures

    async def incident(self, connection: Any, incident: str, organisation: str) -> Incident:
        """The incident, or 404."""
        known = await store.incident(connection, incident, organisation)
        if known is None:
            raise problem("incident_unknown")
        return known

    @asynccontextmanager
    async def duty(self, duty_id: str, organisation: str) -> AsyncIterator[tuple[Unit, Duty]]:
        """A unit that holds the duty's incident, and the duty; or 404."""
        found = await store.duty(self.units.pool, duty_id, organisation)
        if found is None:
            raise problem("duty_unknown")
        async with self.units.begin() as unit:
            await unit.lock(found.scope.subject)
            yield unit, await store.duty(unit.connection, duty_id, organisation) or found

    @asynccontextmanager
    async def disclosure(self, disclosure: str, organisation: str) -> AsyncIterator[tuple[Unit, Incident, Disclosure]]:
        """A unit that holds the disclosure's incident, the incident and the disclosure; or 404."""
        found = await load(self.units.pool, disclosure, organisation)
        if found is None:
            raise problem("disclosure_unknown")
        async with self.units.begin() as unit:
            await unit.lock(found.scope.subject)
            known = await self.incident(unit.connection, found.scope.subject, organisation)
            yield unit, known, await load(unit.connection, disclosure, organisation) or found

    async def filing_pack(self, incident: str, organisation: str) -> filing.Pack:
        """The nine items as they stand now; or 404."""
        async with self.units.begin() as unit:
            known = await self.incident(unit.connection, incident, organisation)
            by_state, _ = await ledger.counts(unit.connection, known.id)
            public = [(item, item.public) for item in await of_incident(unit.connection, known.id)]
            issued = next(((item, edition) for item, edition in public if edition and not item.retracted_at), None)
            ledgers = filing.Ledgers(
                people=sum(by_state.values()),
                by_state=by_state,
                published_at=issued[1].issued_at if issued else None,
                published_url=self.disclosures.url(issued[0].id) if issued and not known.scope.drill else None,
            )
            return filing.pack(known.case, known.id, ledgers, as_of=unit.now)

    async def take_alert(self, alert_id: str, who: Acting) -> Alert:
        """Acknowledge an alert; or 404."""
        found = await store.alert(self.units.pool, alert_id, who.organisation)
        if found is None:
            raise problem("alert_unknown")
        async with self.units.begin() as unit:
            await unit.lock(found.scope.subject)
            current = await store.alert(unit.connection, alert_id) or found
            return await self.alerts.acknowledge(unit, current, person=who.person.ref, actor=who.actor)

    async def file_duty(self, duty: str, order: File, who: Acting) -> Duty:
        """Store a filing's receipt; or 404, 409."""
        async with self.duty(duty, who.organisation) as (unit, found):
            if not takes_receipt(found.opened.recipient):
                raise problem("duty_takes_no_receipt")
            known = await self.incident(unit.connection, found.scope.subject, who.organisation)
            assessment = known.case.assessment
            refused = await self.duties.file(
                unit,
                found,
                filed_at=since(known, past(order.filed_at, unit)),
                receipt=order.receipt,
                receipt_hash=order.receipt_hash,
                assessment_version=assessment.version if assessment else None,
                actor=who.actor,
            )
            if refused:
                raise problem(refused)
            return await store.duty(unit.connection, duty) or found

    async def meet_duty(self, duty: str, order: Meet, who: Acting) -> Duty:
        """Record that a duty was fulfilled without a filing; or 404, 409."""
        async with self.duty(duty, who.organisation) as (unit, found):
            ways = WAYS.get(found.opened.recipient, ())
            if order.how not in ways:
                raise problem("duty_not_met_like_this", ways=list(ways))
            known = await self.incident(unit.connection, found.scope.subject, who.organisation)
            met_at = since(known, past(order.met_at, unit))
            refused = await self.duties.meet(unit, found, how=order.how, met_at=met_at, actor=who.actor)
            if refused:
                raise problem(refused)
            return await store.duty(unit.connection, duty) or found

    async def reopen_duty(self, duty: str, who: Acting) -> Duty:
        """Take back that a duty has ended, when that was recorded by mistake; or 404, 409."""
        async with self.duty(duty, who.organisation) as (unit, found):
            known = await self.incident(unit.connection, found.scope.subject, who.organisation)
            refused = await self.duties.reopen(unit, known, found, actor=who.actor)
            if refused:
                raise problem(refused)
            return await store.duty(unit.connection, duty) or found

    async def waive_duty(self, duty: str, reason: str, who: Acting) -> Duty:
        """Propose that the duty does not hold, or agree with who proposed it; or 404, 409."""
        async with self.duty(duty, who.organisation) as (unit, found):
            refused = await self.duties.waive(unit, found, reason=reason, person=who.person.ref, actor=who.actor)
            if refused:
                raise problem(refused)
            return await store.duty(unit.connection, duty) or found


def past(moment: datetime | None, unit: Unit) -> datetime:
    """The moment that a person named, by a clock of their own, or now; 422 when it lies in the future."""
    if moment is None:
        return unit.now
    if moment > unit.now + _CLOCK_SKEW:
        raise problem("moment_in_future")
    return min(moment, unit.now)


def since(known: Incident, moment: datetime) -> datetime:
    """The moment of something that was done about this loss; 422 when it lies before it, as with a mistyped year."""
    noticed_at = known.case.noticed_at
    if noticed_at is not None and moment < noticed_at - _LEEWAY:
        raise problem("moment_before_loss")
    return moment
