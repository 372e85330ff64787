"""One act of a person on one case: lock, load, decide, save, tell."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from services.reporter import store
from services.reporter.devices import Device, find_device
from services.reporter.domain import desk, wipe
from services.reporter.domain import report as rules
from services.reporter.domain.incident import By, Decision, Incident, RefusedError
from services.reporter.domain.report import Answers
from services.reporter.intake import Intake
from services.reporter.lookup import Lookup
from shared.events.payload import Ownership
from shared.events.reporter import Cause
from shared.events.wipe import StatementSignature, WipeStatement
from shared.messaging import Unit, Units
from shared.web import Acting

type Decide = Callable[[Incident, By], Decision]
type DecideWithin = Callable[[Unit, Incident, By], Awaitable[Decision]]


@dataclass(frozen=True)
class Triage:
    """What the triage puts on record; what is None stays as reported."""

    cause: Cause
    severity: str
    device: str | None = None
    phone: str | None = None
    holder: str | None = None


class Cases:
    """The desk's acts. Every method raises `RefusedError` when the rules of the case say no."""

    def __init__(self, units: Units, intake: Intake, lookup: Lookup, approvals_needed: Callable[[str], int]) -> None:
        self._units = units
        self._intake = intake
        self._lookup = lookup
        self._approvals_needed = approvals_needed

    async def act(self, incident: str, acting: Acting, decide: Decide) -> Incident:
        """Take one decision on a case of the person's organisation."""

        async def at_once(_: Unit, current: Incident, by: By) -> Decision:
            return decide(current, by)

        return await self.act_within(incident, acting, at_once)

    async def act_within(self, incident: str, acting: Acting, decide: DecideWithin) -> Incident:
        """Take one decision that needs the unit, for words that go to the vault."""
        async with self._units.begin() as unit:
            current = await self._load(unit, incident, acting)
            decision = await decide(unit, current, By(acting.person.ref, unit.now))
            await store.record(unit, decision, actor=acting.actor)
        return decision.incident

    async def _load(self, unit: Unit, incident: str, acting: Acting) -> Incident:
        await unit.lock(incident)
        found = await store.load(unit.connection, incident, acting.person.organisation)
        if found is None:
            raise RefusedError("incident_unknown")
        return found

    async def verify(
        self, incident: str, acting: Acting, method: str, *, number: int | None, reason: str | None
    ) -> Incident:
        """The desk made sure of one report: of the first that waits, or of the one with this number."""
        async with self._units.begin() as unit:
            current = await self._load(unit, incident, acting)
            told = await self._report_to_trust(unit, incident, number)
            decision = _trust(current, told, method, By(acting.person.ref, unit.now), reason=reason)
            await store.trust_report(unit, incident, told.number)
            await store.record(unit, decision, actor=acting.actor)
        return decision.incident

    async def _report_to_trust(self, unit: Unit, incident: str, number: int | None) -> store.Told:
        told = await store.reports(unit.connection, incident)
        if number is not None:
            found = next((report for report in told if report.number == number), None)
            if found is None:
                raise RefusedError("report_unknown")
            return found
        waiting = next((report for report in told if not report.trusted), None)
        if waiting is None:
            raise RefusedError("already_verified")
        return waiting

    async def triage(self, incident: str, acting: Acting, triage: Triage) -> Incident:
        """Put holder, device and cause on record."""
        organisation = acting.person.organisation
        async with self._units.begin() as unit:
            device = await self._named_device(unit, organisation, triage)
            if device is not None:
                # Before the case itself, in the order in which reports take them.
                await unit.lock(f"device-{device.device}")
            current = await self._load(unit, incident, acting)
            changes: dict[str, Any] = {}
            if device is not None and device.device != current.facts.device:
                await self._must_be_free(unit, device, current)
                changes = {"device": device.device, "holder": current.facts.holder or device.facts.holder}
            if triage.holder is not None:
                changes["holder"] = triage.holder
            decision = desk.triage(
                current, triage.cause, triage.severity, By(acting.person.ref, unit.now), changes=changes
            )
            await store.record(unit, decision, actor=acting.actor)
        return decision.incident

    async def _named_device(self, unit: Unit, organisation: str, triage: Triage) -> Device | None:
        if triage.device is None and triage.phone is None:
            return None
        if triage.device is not None:
            device = await find_device(unit.connection, triage.device, organisation)
        else:
            device = await self._lookup.find(unit.connection, organisation, triage.phone, holder=None)
        if device is None:
            raise RefusedError("phone_not_found")
        return device

    async def _must_be_free(self, unit: Unit, device: Device, incident: Incident) -> None:
        other = await store.load_joinable(unit.connection, device.organisation, device.device, drill=incident.drill)
        if other is not None and other.id != incident.id:
            raise RefusedError("device_in_other_incident", incident=other.id)

    async def amend(self, incident: str, acting: Acting, answers: Answers, known_at: Any) -> Incident:
        """The desk learned more; clocks that depend on it start at `known_at`."""
        async with self._units.begin() as unit:
            current = await self._load(unit, incident, acting)
            answers.must_be_past(unit.now)
            first = (await store.reports(unit.connection, incident))[0]
            words = await self._intake.keep(
                unit, answers.words(), current.organisation, first.vault_person, current.facts.holder
            )
            decision = rules.amend(current, words | answers.coded(), By(acting.person.ref, unit.now), known_at=known_at)
            await store.record(unit, decision, actor=acting.actor)
        return decision.incident

    async def statement(self, incident: str, acting: Acting, nonce: str) -> WipeStatement:
        """What to sign now, to wipe the phone of this case."""
        async with self._units.begin() as unit:
            current = await self._load(unit, incident, acting)
            return wipe.statement(current, await self.ownership(unit, current), nonce, unit.now)

    async def ownership(self, unit: Unit, incident: Incident) -> Ownership | None:
        """Whose phone it is, as far as the inventory says."""
        device = await find_device(unit.connection, incident.facts.device, incident.organisation)
        return device.facts.ownership if device is not None else None

    async def approve_wipe(self, incident: str, acting: Acting, nonce: str, signature: StatementSignature) -> Incident:
        """Another person signs; with the last signature that the organisation asks for, the wipe is ordered."""
        needed = self._approvals_needed(acting.person.organisation)
        return await self.act(
            incident, acting, lambda current, by: wipe.approve(current, nonce, signature, by, needed=needed)
        )

    async def reopen(self, incident: str, acting: Acting, reason: str) -> Incident:
        """New facts: the case goes on, unless another one is about the phone by now."""
        async with self._units.begin() as unit:
            seen = await store.load(unit.connection, incident, acting.organisation)
            if seen is not None and seen.facts.device is not None:
                # Before the case itself, in the order in which reports take them: one may be opening a case just now.
                await unit.lock(f"device-{seen.facts.device}")
            current = await self._load(unit, incident, acting)
            device = await find_device(unit.connection, current.facts.device, current.organisation)
            if device is not None and current.recovered is None:
                await self._must_be_free(unit, device, current)
            decision = rules.reopened(current, reason)
            await store.record(unit, decision, actor=acting.actor)
        return decision.incident


def _trust(incident: Incident, told: store.Told, method: str, by: By, *, reason: str | None) -> Decision:
    """The first such word verifies the case; a later one lets a further report count."""
    if told.trusted:
        raise RefusedError("already_verified")
    if incident.verified:
        return rules.trust(incident, told.facts, by)
    if method == "break_glass":
        return desk.break_glass(incident, reason or "not_said", by)
    return rules.verify(incident, method, by)
