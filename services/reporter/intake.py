"""Reports in, through both doors, and what their receipts allow afterwards."""

import hashlib
from dataclasses import dataclass

import uuid_utils.compat as uuids

from services.reporter import store
from services.reporter.devices import Device, find_device
from services.reporter.domain import receipt
from services.reporter.domain import report as rules
from services.reporter.domain.incident import By, Incident, RefusedError
from services.reporter.domain.report import Answers, Report
from services.reporter.lookup import Lookup
from shared.events.reporter import Door, LossFacts
from shared.messaging import Unit, Units
from shared.vault import DataClass, People, Vault
from shared.web import Person

ANONYMOUS = "anonymous/reporter"

_KEPT_AS = {
    "phone": ("phone_hint", DataClass.CONTACT),
    "holder_name": ("holder_name", DataClass.CONTACT),
    "callback": ("callback", DataClass.CONTACT),
    "place_detail": ("place_detail", DataClass.POSITION),
    "circumstances": ("circumstances", DataClass.NARRATIVE),
    "reporter_name": ("reporter_name", DataClass.CONTACT),
}
"""Answer → fact and class of data in the vault."""


@dataclass(frozen=True)
class Speaker:
    """Who reports, through which door, and under which role their words stand."""

    door: Door
    organisation: str
    actor: str
    person: Person | None = None

    @property
    def ref(self) -> str | None:
        return self.person.ref if self.person is not None else None


@dataclass(frozen=True)
class Accepted:
    """The answer to a report."""

    incident: str
    code: str
    merged: bool


class Intake:
    """Accepts reports. What was accepted is committed before the reporter hears of it."""

    def __init__(self, units: Units, vault: Vault, people: People, lookup: Lookup, receipt_key: bytes) -> None:
        self._units = units
        self._vault = vault
        self._people = people
        self._lookup = lookup
        self._receipt_key = receipt_key

    async def accept(self, report: Report, speaker: Speaker, key: str | None) -> Accepted:
        """Open an incident, or join the open one about the same phone. The same key and request give the same answer.

        Raises `RefusedError` when an answer of the three is missing, or the key was used with another request.
        """
        signed_in = speaker.door is Door.SIGNED_IN
        rules.must_be_complete(report, signed_in=signed_in)
        who = speaker.ref or "anonymous"
        code = (
            receipt.code_for(self._receipt_key, f"{speaker.door}/{speaker.organisation}", who, key)
            if key is not None
            else receipt.new_code()
        )
        async with self._units.begin() as unit:
            report.must_be_past(unit.now)
            incident_id = str(uuids.uuid7())
            claimed = None
            if key is not None:
                request = hashlib.sha256(report.model_dump_json().encode()).hexdigest()
                claimed = store.Key(speaker.organisation, who, key, request)
                earlier = await _claim(unit, claimed, incident_id)
                if earlier is not None:
                    return Accepted(earlier, code, merged=False)
            told_in = await self._take(unit, report, speaker, incident_id, receipt.code_hash(code))
            if claimed is not None and told_in != incident_id:
                await store.point_key(unit, claimed, told_in)
        return Accepted(told_in, code, merged=told_in != incident_id)

    async def _take(self, unit: Unit, report: Report, speaker: Speaker, incident_id: str, receipt_hash: str) -> str:
        device = await self._device(unit, report, speaker)
        if device is not None:
            # Two reports of the same phone at the same moment must not open two incidents.
            await unit.lock(f"device-{device.device}")
            if report.callback is not None and await self._lookup.names(unit.connection, device, report.callback):
                raise RefusedError("callback_is_the_lost_phone", field="callback")
        # The case is locked before the vault is written to, in the order in which the desk's acts do both.
        open_one = await self._open_one(unit, device, drill=report.drill)
        vault_person = speaker.ref or self._people.new_ref()
        facts, reporter_name = await self._facts(unit, report, speaker, device, vault_person)
        by = By(speaker.ref, unit.now)
        signed_in = speaker.door is Door.SIGNED_IN
        if open_one is not None:
            decision = rules.join(open_one, facts, signed_in=signed_in, by=by)
        else:
            decision = rules.accept(incident_id, speaker.organisation, report, facts, by, door=speaker.door)
        await store.record(unit, decision, actor=speaker.actor)
        told = store.Told(
            incident=decision.incident.id,
            number=decision.incident.reports,
            organisation=speaker.organisation,
            door=speaker.door.value,
            reported_as=report.reported_as,
            reporter=speaker.ref,
            vault_person=vault_person,
            reporter_name=reporter_name,
            trusted=signed_in,
            facts=facts,
            reported_at=unit.now,
        )
        store.add_report(unit, told, receipt_hash)
        return decision.incident.id

    async def _device(self, unit: Unit, report: Report, speaker: Speaker) -> Device | None:
        if report.device is not None and speaker.person is not None:
            device = await find_device(unit.connection, report.device, speaker.organisation)
            if device is None:
                raise RefusedError("phone_not_found")
            return device
        holder = speaker.ref if report.reported_as == "holder" else None
        return await self._lookup.find(unit.connection, speaker.organisation, report.phone, holder=holder)

    async def _open_one(self, unit: Unit, device: Device | None, *, drill: bool) -> Incident | None:
        if device is None:
            return None
        found = await store.load_joinable(unit.connection, device.organisation, device.device, drill=drill)
        if found is None:
            return None
        await unit.lock(found.id)
        again = await store.load_joinable(unit.connection, device.organisation, device.device, drill=drill)
        return again if again is not None and again.id == found.id else None

    async def _facts(
        self, unit: Unit, report: Report, speaker: Speaker, device: Device | None, vault_person: str
    ) -> tuple[LossFacts, str | None]:
        """What was told, and the commitment to the name of the one who tells, when it is known."""
        speaks_as_holder = speaker.person is not None and report.reported_as == "holder"
        holder = speaker.ref if speaks_as_holder else (device.facts.holder if device is not None else None)
        words = report.words()
        if speaks_as_holder and speaker.person is not None and speaker.person.name:
            words.setdefault("holder_name", speaker.person.name)
        if speaker.person is not None and speaker.person.name:
            words["reporter_name"] = speaker.person.name
        digests = await self.keep(unit, words, speaker.organisation, vault_person, holder)
        reporter_name = digests.pop("reporter_name", None)
        facts = LossFacts(
            device=device.device if device is not None else None,
            holder=holder,
            **digests,
            **report.coded(),
        )
        return facts, reporter_name

    async def keep(
        self, unit: Unit, words: dict[str, str], organisation: str, vault_person: str, holder: str | None
    ) -> dict[str, str]:
        """Lay free text into the vault; returns fact → commitment. The holder's name belongs to the holder, and to who
        tells it while nobody knows who that is: under a reference that nobody is told, it could never be erased."""
        people: dict[DataClass, dict[str, dict[str, str]]] = {}
        for answer, text in words.items():
            fact, data_class = _KEPT_AS[answer]
            person = vault_person
            if answer == "holder_name":
                person = holder or vault_person
            people.setdefault(data_class, {}).setdefault(person, {})[fact] = text
        digests: dict[str, str] = {}
        for data_class, values in people.items():
            stored = await self._vault.put_people(
                unit.connection, organisation=organisation, data_class=data_class, people=values
            )
            for of_person in stored.values():
                digests |= of_person
        return digests

    async def amend(self, code: str, answers: Answers) -> Incident:
        """More, or other, answers from the one who has the receipt.

        Raises `RefusedError` for an unknown code, an ended case, or an emergency report that joined a verified case and
        was not verified itself.
        """
        async with self._units.begin() as unit:
            told, incident = await self._open_receipt(unit, code)
            answers.must_be_past(unit.now)
            first = told.number == 1
            overwrite = told.trusted or (first and not incident.verified)
            if incident.verified and not told.trusted:
                raise RefusedError("report_not_verified")
            digests = await self.keep(
                unit, answers.words(), told.organisation, told.vault_person, incident.facts.holder
            )
            update = digests | answers.coded()
            if not first:
                # Whom to call back about this case stays the first reporter's word.
                update.pop("callback", None)
            decision = rules.amend(incident, update, By(told.reporter, unit.now), overwrite=overwrite)
            await store.record(unit, decision, actor=ANONYMOUS)
        return decision.incident

    async def found(self, code: str) -> Incident:
        """The reporter says that the phone is back. It is a claim; nothing is undone before the desk confirms it."""
        async with self._units.begin() as unit:
            told, incident = await self._open_receipt(unit, code)
            if incident.found_claimed_at is not None and incident.ended is None:
                return incident
            decision = rules.claim_found(incident, By(told.reporter, unit.now), trusted=told.trusted)
            await store.record(unit, decision, actor=ANONYMOUS)
        return decision.incident

    async def _open_receipt(self, unit: Unit, code: str) -> tuple[store.Told, Incident]:
        told = await self.receipt(unit, code)
        await unit.lock(told.incident)
        incident = await store.load(unit.connection, told.incident, told.organisation)
        if incident is None:
            raise RefusedError("receipt_unknown")
        return told, incident

    async def receipt(self, unit: Unit, code: str) -> store.Told:
        """The report that a code belongs to. Raises `RefusedError` for a code that is none."""
        written = receipt.read(code)
        told = (
            await store.report_by_receipt(unit.connection, receipt.code_hash(written)) if written is not None else None
        )
        if told is None:
            raise RefusedError("receipt_unknown")
        return told


async def _claim(unit: Unit, key: store.Key, incident_id: str) -> str | None:
    try:
        return await store.claim_key(unit, key, incident_id)
    except LookupError:
        raise RefusedError("idempotency_key_reused") from None
