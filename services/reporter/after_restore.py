"""After a restore onto a log that has gone on: what the reporter had said later than the backup comes back from it.

The restore leaves in `said_after_backup` what is missing. Own events are read for that alone: where nothing is missing
no handler waits for them.
"""

from collections.abc import Mapping

import asyncpg

from services.reporter import store
from services.reporter.domain.incident import Incident
from services.reporter.domain.own_events import Saying, again, opened
from services.reporter.erasure import destroy
from services.reporter.intake import ANONYMOUS
from services.reporter.store import Missing, Told
from shared.events import Envelope, Event, event_types
from shared.events.payload import Payload
from shared.events.reporter import DeviceLost, Door, LossReportAmended, PersonalDataErased, ReportedAs, ReportVerified
from shared.messaging import Handler, Unit
from shared.messaging.outage import outlast
from shared.vault import People, Vault

_OWN = [entry.model for entry in event_types() if entry.writer == "reporter"]


class AfterRestore:
    """Brings cases back, and carries out erasures again. `missing`: by subject."""

    def __init__(self, missing: Mapping[str, Missing], vault: Vault, people: People) -> None:
        self._missing = missing
        self._vault = vault
        self._people = people

    @classmethod
    async def load(cls, pool: asyncpg.Pool, vault: Vault, people: People) -> "AfterRestore":
        """What the restore left to be done, if there was one. Waits for the database."""
        missing = await outlast(lambda: store.missing(pool))
        return cls(missing, vault, people)

    @property
    def handlers(self) -> Mapping[type[Payload], Handler]:
        """For the own events, while some are missing."""
        return dict.fromkeys(_OWN, self.take) if self._missing else {}

    async def waits_for(self, unit: Unit, subject: str) -> bool:
        """Whether more of this subject will come from the log: what was answered then is not answered anew."""
        return subject in self._missing and await store.is_missing(unit.connection, subject)

    async def take(self, unit: Unit, payload: Payload, event: Event) -> None:
        """One event of the reporter. Raises `LookupError` when its case is not there; such a record is parked."""
        envelope = event.envelope
        missing = self._missing.get(envelope.subject)
        if missing is None or not missing.known < envelope.sequence <= missing.said:
            return
        if isinstance(payload, PersonalDataErased):
            await self._erase(unit, payload, envelope)
        else:
            await self._bring_back(unit, payload, envelope)
        if envelope.sequence == missing.said:
            await store.found_again(unit, envelope.subject)

    async def _erase(self, unit: Unit, payload: PersonalDataErased, envelope: Envelope) -> None:
        """The backup had this person's key and values still."""
        if not payload.on_hold:
            await destroy(unit, self._vault, payload, organisation=envelope.organisation, actor=envelope.actor)

    async def _bring_back(self, unit: Unit, payload: Payload, envelope: Envelope) -> None:
        person = envelope.actor.partition("/")[0]
        saying = Saying(
            envelope.subject,
            envelope.organisation,
            envelope.drill,
            person if person.startswith("person-") else None,
            envelope.time,
        )
        before = await store.current(unit, envelope.subject, envelope.organisation)
        if isinstance(payload, DeviceLost):
            after = _marked(opened(payload, saying))
            await store.add(unit, after)
        elif before is None:
            raise LookupError(f"no case {envelope.subject}")
        else:
            after = _marked(again(before, payload, saying))
            store.save(unit, after)
        await self._report(unit, payload, after, envelope)
        store.heard(unit, after.id, envelope, payload)

    async def _report(self, unit: Unit, payload: Payload, incident: Incident, envelope: Envelope) -> None:
        """What is left of a report: no receipt code opens it any more, and its words are lost."""
        if isinstance(payload, DeviceLost):
            told = _told(payload, incident, self._people)
            await store.add_report_again(unit, told, envelope.id)
        elif isinstance(payload, LossReportAmended) and payload.merged:
            told = _joined(payload, incident, envelope, self._people)
            await store.add_report_again(unit, told, envelope.id)
        elif isinstance(payload, ReportVerified) and payload.method != "signed_in_report":
            await store.trust_first(unit, incident.id)


def _marked(incident: Incident) -> Incident:
    return incident.model_copy(update={"brought_back": True})


def _told(payload: DeviceLost, incident: Incident, people: People) -> Told:
    return Told(
        incident=incident.id,
        number=1,
        organisation=incident.organisation,
        door=payload.door.value,
        reported_as=payload.reported_as.value,
        reporter=payload.reporter,
        vault_person=payload.reporter or people.new_ref(),
        reporter_name=None,
        trusted=payload.door is Door.SIGNED_IN,
        facts=incident.facts,
        reported_at=payload.reported_at,
    )


def _joined(payload: LossReportAmended, incident: Incident, envelope: Envelope, people: People) -> Told:
    """A further report. The event says what it changed, and by its actor through which door it came."""
    anonymous = envelope.actor == ANONYMOUS
    reporter = None if anonymous else envelope.actor.partition("/")[0]
    return Told(
        incident=incident.id,
        number=incident.reports,
        organisation=incident.organisation,
        door=(Door.EMERGENCY if anonymous else Door.SIGNED_IN).value,
        reported_as=ReportedAs.OTHER.value,
        reporter=reporter,
        vault_person=reporter or people.new_ref(),
        reporter_name=None,
        trusted=not anonymous,
        facts=incident.facts,
        reported_at=envelope.time,
    )
