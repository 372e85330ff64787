"""Opens, warns of and ends duties: each in the caller's unit, with its events and timers."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from services.notifier import ledger, store
from services.notifier.alerts import Alerts
from services.notifier.domain.case import Case
from services.notifier.domain.deadline import last_call
from services.notifier.domain.facts import Facts, facts_of
from services.notifier.domain.filing import Stated, stated
from services.notifier.domain.rules import decide, exempted
from services.notifier.rulebook import Rulebook
from services.notifier.store import Duty, EndedOn, Incident
from shared.events.notifier import DutyDueSoon, DutyFiled, DutyMet, DutyOpened, DutyOverdue, DutyWaived
from shared.messaging import Timer, Unit, Units

ACTOR = "service/notifier"
ALL_TOLD = "all_principals_told"
TOLD_AND_PUBLISHED = "told_and_published"
PUBLISHED = "published"
ENDED_IN_ERROR = "ended_in_error"
_BY_PUBLICATION = (PUBLISHED, TOLD_AND_PUBLISHED, "published_in_place")
POLICE_TOLD = "police_report_filed"
_EXEMPT = "strong_protection"
_TIMERS = ("duty_soft", "duty_last_call", "duty_due")
_FINAL, _SUPPLEMENT = "final", "supplement"


class Refusal(StrEnum):
    """Why a duty cannot be ended like this."""

    ENDED = "duty_ended"
    OPEN = "duty_open"
    SAME_PERSON = "same_person"
    OTHER_REASON = "other_reason"


class Duties:
    """The duty engine at work."""

    def __init__(self, units: Units, rulebook: Rulebook, alerts: Alerts) -> None:
        self._units = units
        self._rulebook = rulebook
        self._alerts = alerts

    async def run(
        self, unit: Unit, known: Incident, *, known_at: datetime, overdue_assessment: bool = False, cause: str | None
    ) -> None:
        """Run the rules over what is known now. Opens what is owed; ends only what two people found exempt.

        `overdue_assessment`: nobody assessed in time, so the rules run with everything unknown.
        """
        kept = {duty.id: duty for duty in await store.duties(unit.connection, known.id)}
        ended = {duty_id: duty for duty_id, duty in kept.items() if duty.state != "open"}
        only_report = known.case.assessment is None and not overdue_assessment
        standing = {duty_id: duty.opened for duty_id, duty in kept.items() if duty_id not in ended}
        facts = _facts(known.case, kept.values())
        for opened in self._owed(known, facts, known_at, only_report=only_report, standing=standing):
            before = ended.get(opened.duty)
            if before is not None:
                if not await self._is_owed_again(unit, known, before, opened):
                    continue
                await store.open_again(unit, before.id)
            await self._open(unit, known, opened, cause)
            if before is not None or opened.phase == _SUPPLEMENT:
                await self._alerts.open(unit, known.scope, "duty_again")
            police = known.case.police
            if opened.recipient == "police" and police:
                # It was quicker than the rules: told before the report was verified, or before the place was known.
                await self.meet_recipient(unit, known, "police", how=POLICE_TOLD, at=police[0].filed_at, cause=cause)
        await self._end_exempt(unit, known, facts, cause)
        await self._drop_outdated_waivers(unit, kept.values())

    async def _drop_outdated_waivers(self, unit: Unit, duties: Iterable[Duty]) -> None:
        """Who proposed to waive a duty did not see a ground that has come up since: both people decide on the same."""
        for duty in duties:
            if duty.state == "open" and duty.waiver_by is not None and duty.ended_on is not None:
                now = await self._ended_on(unit, duty)
                if now is not None and set(now.grounds) - set(duty.ended_on.grounds):
                    await store.drop_waiver(unit, duty.id)

    async def _end_exempt(self, unit: Unit, known: Incident, facts: Facts, cause: str | None) -> None:
        """Both signatures under the exemption are the two people that it takes to waive a duty."""
        exempt = exempted(self._rulebook.of(known.scope.organisation), known.id, facts)
        for duty in await store.duties(unit.connection, known.id) if exempt else ():
            if duty.state == "open" and duty.id in exempt:
                await self._waive(unit, duty, reason=exempt[duty.id], both=_signatures(known.case), cause=cause)

    def _owed(
        self,
        known: Incident,
        facts: Facts,
        known_at: datetime,
        *,
        only_report: bool,
        standing: Mapping[str, DutyOpened],
    ) -> list[DutyOpened]:
        return decide(
            self._rulebook.of(known.scope.organisation),
            known.id,
            facts,
            known_at=known_at,
            reported_at=known.case.reported_at,
            assessment=known.case.assessment,
            only_report=only_report,
            standing=standing,
        )

    async def _is_owed_again(self, unit: Unit, known: Incident, ended: Duty, found: DutyOpened) -> bool:
        """Whether facts have come up since that the end of a duty did not rest on: it is owed for sure on a ground that
        was not sure when it was waived, or more people are concerned than were told. A supplement is found on nothing
        else than what has changed since the last one, and what is exempt is not found."""
        if found.phase == _SUPPLEMENT or ended.how == _EXEMPT:
            return True
        on = ended.ended_on
        if ended.state == "waived":
            new = bool(set(found.reasons) - set(on.grounds)) if on else ended.opened.provisional
            return new and not found.provisional
        people = known.case.assessment.people if known.case.assessment else None
        if ended.state != "met" or ended.opened.recipient != "principal" or people is None:
            return False
        if ended.how in (ALL_TOLD, TOLD_AND_PUBLISHED):
            by_state, _ = await ledger.counts(unit.connection, known.id)
            return people > sum(by_state.values())
        return on is not None and people > (on.people or 0)

    async def _ended_on(self, unit: Unit, duty: Duty) -> EndedOn | None:
        """What is known about a duty now."""
        known = await store.incident(unit.connection, duty.scope.subject)
        if known is None:
            return None
        facts = _facts(known.case, await store.duties(unit.connection, known.id))
        owed = self._owed(known, facts, duty.opened.known_at, only_report=False, standing={})
        grounds = [
            reason for found in owed if found.duty == duty.id and not found.provisional for reason in found.reasons
        ]
        return EndedOn(grounds=grounds, people=facts.people, stated=stated(known.case))

    async def _open(
        self, unit: Unit, known: Incident, opened: DutyOpened, cause: str | None, *, actor: str = ACTOR
    ) -> None:
        await store.state_duty(unit, known.scope, opened)
        await unit.emit(opened, known.scope, actor=actor, cause=cause)
        if opened.soft_due:
            await unit.arm(known.id, f"duty_soft:{opened.duty}", opened.soft_due)
        if opened.due:
            await unit.arm(known.id, f"duty_due:{opened.duty}", opened.due)
            calendar = self._rulebook.calendar(opened.jurisdiction)
            call = last_call(opened.known_at, opened.due, calendar) if calendar else None
            if call:
                await unit.arm(known.id, f"duty_last_call:{opened.duty}", call)

    async def on_timer(self, timer: Timer) -> None:
        """The soft alarm, the last call before a closed day, or the deadline itself."""
        duty_id = timer.name.partition(":")[2]
        async with self._units.begin() as unit:
            await unit.lock(timer.subject)
            duty = await store.duty(unit.connection, duty_id)
            if duty is not None and duty.state == "open":
                await self._warn(unit, timer, duty)
            await unit.finish(timer)

    async def _warn(self, unit: Unit, timer: Timer, duty: Duty) -> None:
        opened = duty.opened
        facts = {"duty": opened.duty, "rule": opened.rule, "phase": opened.phase}
        if timer.kind == "duty_due" and opened.due:
            await store.mark_overdue(unit, duty.id)
            await unit.emit(DutyOverdue.model_validate(facts | {"due": opened.due}), duty.scope, actor=ACTOR)
            await self._alerts.open(unit, duty.scope, "duty_overdue")
        elif timer.kind == "duty_last_call":
            await self._alerts.open(unit, duty.scope, "duty_last_call")
        else:
            due = opened.due or opened.soft_due
            await unit.emit(DutyDueSoon.model_validate(facts | {"due": due}), duty.scope, actor=ACTOR)
            await self._alerts.open(unit, duty.scope, "duty_due_soon")

    async def file(
        self,
        unit: Unit,
        duty: Duty,
        *,
        filed_at: datetime,
        receipt: str,
        receipt_hash: str | None,
        assessment_version: int | None,
        actor: str,
    ) -> Refusal | None:
        """A person filed; the receipt is the proof."""
        if duty.state != "open":
            return Refusal.ENDED
        # A day ends with its last second, and not at the beginning of that.
        late = duty.opened.due is not None and filed_at.replace(microsecond=0) > duty.opened.due
        on = await self._ended_on(unit, duty)
        await store.end_duty(unit, duty.id, "filed", at=filed_at, on=on, receipt=receipt, receipt_hash=receipt_hash)
        await unit.emit(
            DutyFiled(
                duty=duty.id,
                rule=duty.opened.rule,
                phase=duty.opened.phase,
                filed_at=filed_at,
                receipt=receipt,
                receipt_hash=receipt_hash,
                assessment_version=assessment_version,
                late=late,
            ),
            duty.scope,
            actor=actor,
        )
        await self._quiet(unit, duty)
        return None

    async def meet(
        self, unit: Unit, duty: Duty, *, how: str, met_at: datetime, actor: str = ACTOR, cause: str | None = None
    ) -> Refusal | None:
        """Fulfilled without a filing."""
        if duty.state != "open":
            return Refusal.ENDED
        await store.end_duty(unit, duty.id, "met", at=met_at, on=await self._ended_on(unit, duty), how=how)
        met = DutyMet(duty=duty.id, rule=duty.opened.rule, phase=duty.opened.phase, how=how, met_at=met_at)
        await unit.emit(met, duty.scope, actor=actor, cause=cause)
        await self._quiet(unit, duty)
        return None

    async def waive(self, unit: Unit, duty: Duty, *, reason: str, person: str, actor: str) -> Refusal | None:
        """The first person proposes, a second one with the same reason ends the duty."""
        if duty.state != "open":
            return Refusal.ENDED
        if duty.waiver_by is None:
            await store.propose_waiver(unit, duty.id, person, reason, on=await self._ended_on(unit, duty))
            return None
        if duty.waiver_by == person:
            return Refusal.SAME_PERSON
        if duty.waiver_reason != reason:
            return Refusal.OTHER_REASON
        await self._waive(unit, duty, reason=reason, both=[duty.waiver_by, person], actor=actor)
        return None

    async def _waive(
        self, unit: Unit, duty: Duty, *, reason: str, both: list[str], actor: str = ACTOR, cause: str | None = None
    ) -> None:
        on = await self._ended_on(unit, duty)
        await store.end_duty(unit, duty.id, "waived", at=unit.now, on=on, how=reason, waived_by=both)
        opened = duty.opened
        waived = DutyWaived(duty=duty.id, rule=opened.rule, phase=opened.phase, reason=reason, waived_by=both)
        await unit.emit(waived, duty.scope, actor=actor, cause=cause)
        await self._quiet(unit, duty)

    async def meet_recipient(
        self, unit: Unit, known: Incident, recipient: str, *, how: str, at: datetime, cause: str | None = None
    ) -> None:
        """Fulfil every open duty towards one recipient."""
        for duty in await store.duties(unit.connection, known.id):
            if duty.state == "open" and duty.opened.recipient == recipient:
                await self.meet(unit, duty, how=how, met_at=at, cause=cause)

    async def publication_ended(self, unit: Unit, known: Incident, *, cause: str) -> None:
        """Nothing is public any more: what was met by publication is owed again, by the dates that it had."""
        kept = await store.duties(unit.connection, known.id)
        facts = _facts(known.case, kept)
        for duty in kept:
            if duty.state != "met" or duty.how not in _BY_PUBLICATION:
                continue
            before = duty.opened
            owed = self._owed(known, facts, before.known_at, only_report=False, standing={})
            dates = {"known_at": before.known_at, "soft_due": before.soft_due, "due": before.due}
            for opened in (found.model_copy(update=dates) for found in owed if found.duty == duty.id):
                await store.open_again(unit, duty.id)
                await self._open(unit, known, opened, cause)
                await self._alerts.open(unit, known.scope, "duty_again")

    async def reopen(self, unit: Unit, known: Incident, duty: Duty, *, actor: str) -> Refusal | None:
        """What was recorded by mistake did not end the duty: it is open as it was. That takes one person, for it
        suppresses nothing."""
        if duty.state == "open":
            return Refusal.OPEN
        reasons = [*(reason for reason in duty.opened.reasons if reason != ENDED_IN_ERROR), ENDED_IN_ERROR]
        await store.open_again(unit, duty.id)
        await self._open(unit, known, duty.opened.model_copy(update={"reasons": reasons}), None, actor=actor)
        return None

    async def _quiet(self, unit: Unit, duty: Duty) -> None:
        for kind in _TIMERS:
            await unit.disarm(duty.scope.subject, f"{kind}:{duty.id}")


def _signatures(case: Case) -> list[str]:
    protection = case.assessment.protection if case.assessment else None
    return [person for person in (protection.signed_off_by, protection.seconded_by) if person] if protection else []


def _facts(case: Case, duties: Iterable[Duty]) -> Facts:
    now = stated(case)
    changed = {rule: said.changes(now) for rule, said in _said(duties).items()}
    return facts_of(case).model_copy(update={"changed_since_filed": changed})


def _said(duties: Iterable[Duty]) -> dict[str, Stated]:
    """By rule, what its filed final report says, or what was known when a later supplement was ended."""
    said: dict[str, tuple[datetime, Stated]] = {}
    for duty in duties:
        told = {_FINAL: duty.state == "filed", _SUPPLEMENT: duty.state != "open"}.get(duty.opened.phase, False)
        stated_then = duty.ended_on.stated if duty.ended_on else None
        if told and duty.ended_at and stated_then:
            before = said.get(duty.opened.rule)
            if before is None or duty.ended_at >= before[0]:
                said[duty.opened.rule] = (duty.ended_at, stated_then)
    return {rule: stated_then for rule, (_, stated_then) in said.items()}
