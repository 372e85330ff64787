"""Tells the people concerned: lists them, starts a batch, sends it as a durable timer, settles it."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from typing import Any
from uuid import UUID, uuid5

import uuid_utils.compat as uuids

from services.notifier import ledger, store
from services.notifier.channels.message import Message, Outcome, Result
from services.notifier.channels.outlets import Outlets
from services.notifier.domain import notice as text
from services.notifier.domain.document import Issuer
from services.notifier.domain.principals import PrincipalFile
from services.notifier.duties import ALL_TOLD, PUBLISHED, TOLD_AND_PUBLISHED, Duties
from services.notifier.ledger import Batch, Listed, Row
from services.notifier.store import Incident
from shared.events.notifier import NoticesSent, NoticesSettled
from shared.messaging import Timer, Unit, Units
from shared.vault import MAX_PEOPLE, DataClass, People, Vault

_ACTOR = "service/notifier"
_NAMESPACE = UUID("0f0a3c77-44c1-5d31-9b7a-6b1d2f8f0e55")
_CHUNK = 24
"""People whose messages are begun before any outcome of theirs is kept: of so many at most nobody knows, when the
process is killed, whether a mail went out."""
_AT_ONCE = 8
_WORK_SECONDS = 20.0
"""After this long nothing more is begun, and the timer is handed back once what was begun has ended: inside its lease,
also when a provider takes its whole time."""
_MAX_TRIES = 5
_PAUSE = timedelta(seconds=10)
_WAIT_FOR_PROVIDER = timedelta(hours=20)
"""A provider that is away is waited for: no person failed; and one that can be asked is asked what became of a message.
Within the day for which LINE knows a retry key: after that a repeat would be a second message."""
_WHILE_AWAY = timedelta(minutes=1)


@dataclass(frozen=True)
class Listing:
    """What an upload came to."""

    added: int
    already_listed: int
    listed: int


class Notices:
    """Notices of all organisations."""

    def __init__(
        self, units: Units, vault: Vault, people: People, outlets: Outlets, duties: Duties, *, public_url: str
    ) -> None:
        self._units = units
        self._vault = vault
        self._people = people
        self._outlets = outlets
        self._duties = duties
        self._public_url = public_url.rstrip("/")

    async def list_people(self, unit: Unit, known: Incident, file: PrincipalFile) -> Listing:
        """Add people to the incident's list; who is on it already is left as they are."""
        organisation = known.scope.organisation
        there = await ledger.contacts(unit.connection, known.id)
        new = {}
        for person in file.people:
            contact = self._people.ref(organisation, f"{known.id}/{person.address}")
            if contact not in there:
                new[self._people.new_ref()] = (contact, person)
        stored: dict[str, dict[str, str]] = {}
        for some in batched(new.items(), MAX_PEOPLE):
            stored |= await self._vault.put_people(
                unit.connection,
                organisation=organisation,
                data_class=DataClass.PRINCIPAL,
                people={ref: person.values() for ref, (_, person) in some},
            )
        await ledger.list_people(
            unit,
            known.scope,
            [
                Listed(ref, contact, stored[ref]["name"], stored[ref].get("mail"), stored[ref].get("line_user_id"))
                for ref, (contact, _) in new.items()
            ],
        )
        total = await ledger.listed(unit.connection, known.id)
        return Listing(added=len(new), already_listed=len(file.people) - len(new), listed=total)

    async def find(self, connection: Any, organisation: str, address: str) -> list[tuple[str, str]]:
        """Reference and incident of everybody on the organisation's lists who has this address."""
        incidents = await ledger.incidents(connection, organisation)
        contacts = [self._people.ref(organisation, f"{incident}/{address}") for incident in incidents]
        return await ledger.people_with(connection, organisation, contacts)

    async def reach(self, unit: Unit, known: Incident) -> dict[str, list[str]]:
        """Whom the next batch would tell, and by which channels, the preferred one first."""
        has = ["mail", "line"] if known.scope.drill else self._outlets.names(known.scope.organisation)
        untold = await ledger.untold(unit.connection, known.id)
        usable = {person: [name for name in channels if name in has] for person, channels in untold.items()}
        return {person: channels for person, channels in usable.items() if channels}

    async def start(
        self, unit: Unit, known: Incident, issuer: Issuer, reach: dict[str, list[str]], *, ordered_by: str
    ) -> Batch:
        """Keep the batch and have it sent once the unit commits. Raises NotAssessedError."""
        written = text.write(known.case, issuer, as_of=unit.now)
        assert known.case.assessment is not None  # noqa: S101 - `write` has looked
        batch = Batch(
            id=str(uuids.uuid7()),
            scope=known.scope,
            template=text.TEMPLATE,
            assessment_version=known.case.assessment.version,
            notice=written,
            people=len(reach),
            ordered_by=ordered_by,
            started_at=unit.now,
            settled_at=None,
        )
        rows = [(person, secrets.token_urlsafe(24), channels) for person, channels in reach.items()]
        await ledger.start(unit, batch, rows)
        await unit.arm(known.id, f"notices:{batch.id}", unit.now)
        return batch

    async def on_timer(self, timer: Timer) -> None:
        """Send what is due of one batch: intent, call, result. Returns the timer before its lease ends."""
        batch = await ledger.batch(self._units.pool, timer.name.partition(":")[2])
        if batch is None or batch.settled_at is not None:
            async with self._units.begin() as unit:
                await unit.finish(timer)
            return
        await self._settle_leftovers(batch)
        stop_at = time.monotonic() + _WORK_SECONDS
        while time.monotonic() < stop_at:
            rows, addresses = await self._claim(batch)
            if not rows:
                break
            await self._conclude(batch, rows, await self._call(batch, rows, addresses, stop_at))
        await self._hand_back(timer, batch)

    async def _settle_leftovers(self, batch: Batch) -> None:
        """The process ended between call and result. Where a repeat is harmless it is repeated; a mail is not."""
        async with self._units.begin() as unit:
            left = await ledger.leftovers(unit, batch.id)
            again, uncertain = [], []
            for person, name in left.items():
                channel = self._outlets.channel(name, batch.scope.organisation, drill=batch.scope.drill)
                if channel is not None and channel.repeats_safely and _keys_are_known(batch, unit.now):
                    again.append((person, name, unit.now))
                else:
                    uncertain.append((person, Result(Outcome.UNCERTAIN, reason="interrupted_while_sending")))
            await ledger.plan_again(unit, batch.id, again)
            await ledger.record(unit, batch.id, [(person, left[person], result) for person, result in uncertain])
            await ledger.settle(unit, batch.id, uncertain)

    async def _claim(self, batch: Batch) -> tuple[list[Row], dict[str, str]]:
        async with self._units.begin() as unit:
            rows = await ledger.claim(unit, batch.id, _CHUNK)
            addresses = await self._vault.open_many(
                unit.connection,
                [row.address for row in rows if row.address],
                organisation=batch.scope.organisation,
                actor=batch.ordered_by,
                reason=f"notice_batch_{batch.id}",
            )
        return rows, addresses

    async def _call(
        self, batch: Batch, rows: Sequence[Row], addresses: dict[str, str], stop_at: float
    ) -> list[Result | None]:
        """What became of each; None: not begun, because it was too late for it."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(row: Row) -> Result | None:
            address = addresses.get(row.address or "")
            if address is None:
                return Result(Outcome.FAILED, reason="address_erased")
            linked = batch.notice.linked(f"{self._public_url}/n/{row.token}")
            body = linked.line if row.channel == "line" else linked.mail
            key = str(uuid5(_NAMESPACE, f"{batch.id}/{row.person}/{row.channel}"))
            message = Message(key=key, to=address, subject=linked.subject, text=body)
            async with room:
                if time.monotonic() >= stop_at:
                    return None
                scope = batch.scope
                return await self._outlets.send(row.channel, scope.organisation, message, drill=scope.drill)

        return await asyncio.gather(*(one(row) for row in rows))

    async def _conclude(self, batch: Batch, rows: Sequence[Row], results: Sequence[Result | None]) -> None:
        """Keep the results. A try that may do better is repeated, then the person's next channel is tried."""
        tried = [(row, result) for row, result in zip(rows, results, strict=True) if result is not None]
        async with self._units.begin() as unit:
            not_begun = [row.person for row, result in zip(rows, results, strict=True) if result is None]
            await ledger.give_back(unit, batch.id, not_begun)
            await ledger.record(unit, batch.id, [(row.person, row.channel, result) for row, result in tried])
            again: list[tuple[str, str, datetime]] = []
            fallback: list[tuple[str, str, datetime]] = []
            settled: list[tuple[str, Result]] = []
            for row, result in tried:
                following = row.channels[row.channels.index(row.channel) + 1 :]
                if pause := _pause(batch, row, result, unit.now, last=not following):
                    again.append((row.person, row.channel, unit.now + pause))
                elif result.outcome in (Outcome.BOUNCED, Outcome.FAILED) and following:
                    fallback.append((row.person, following[0], unit.now))
                else:
                    settled.append((row.person, result))
            await ledger.plan_again(unit, batch.id, again)
            await ledger.plan_again(unit, batch.id, fallback, fresh=True)
            await ledger.settle(unit, batch.id, settled)

    async def _hand_back(self, timer: Timer, batch: Batch) -> None:
        async with self._units.begin() as unit:
            await unit.lock(timer.subject)
            due = await ledger.next_due(unit.connection, batch.id)
            if due is not None:
                await unit.arm(timer.subject, timer.name, due)
                return
            if await ledger.finish(unit, batch.id):
                await self._settled(unit, batch)
            await unit.finish(timer)

    async def _settled(self, unit: Unit, batch: Batch) -> None:
        """Every person of the batch has an outcome: say so, and see what it means for the duties."""
        by_state, by_channel = await ledger.counts(unit.connection, batch.scope.subject, batch.id)
        sent = NoticesSent(
            batch=batch.id,
            template=batch.template,
            assessment_version=batch.assessment_version,
            people=batch.people,
            by_channel=by_channel,
            ledger=await ledger.ledger_hash(unit.connection, batch.id, outcomes=False),
            started_at=batch.started_at,
        )
        event = await unit.emit(sent, batch.scope, actor=batch.ordered_by)
        settled = NoticesSettled(
            batch=batch.id,
            people=batch.people,
            by_state=by_state,
            ledger=await ledger.ledger_hash(unit.connection, batch.id, outcomes=True),
            settled_at=unit.now,
        )
        cause = await unit.emit(settled, batch.scope, actor=_ACTOR, cause=event)
        await self._told(unit, batch, cause)

    async def _told(self, unit: Unit, batch: Batch, cause: str) -> None:
        known = await store.incident(unit.connection, batch.scope.subject)
        if known is None:
            return
        by_state, _ = await ledger.counts(unit.connection, known.id)
        unreached = by_state.get("bounced", 0) + by_state.get("failed", 0)
        told = Incident(known.scope, known.case.model_copy(update={"unreached": unreached}))
        await store.save(unit, told)
        if everybody_told(told, by_state):
            await self._duties.meet_recipient(unit, told, "principal", how=ALL_TOLD, at=unit.now, cause=cause)
        elif unreached:
            await self._duties.run(unit, told, known_at=unit.now, cause=cause)
            if at := await ledger.published_at(unit.connection, known.id):
                await told_by_publication(unit, self._duties, told, at=at, cause=cause)


def _pause(batch: Batch, row: Row, result: Result, now: datetime, *, last: bool) -> timedelta | None:
    """How long until the same channel is tried again; None: it is not. `last`: the person has no other one."""
    if not result.again:
        return None
    if result.outcome is Outcome.UNCERTAIN and not _keys_are_known(batch, now):
        return None
    if row.tries < _MAX_TRIES:
        return _PAUSE * row.tries
    # However often it was tried: to ask again harms nobody, and nobody has to be called who was told.
    unsettled = result.outcome is Outcome.UNCERTAIN or (result.away and last)
    return _WHILE_AWAY if unsettled and _keys_are_known(batch, now) else None


def _keys_are_known(batch: Batch, now: datetime) -> bool:
    return now < batch.started_at + _WAIT_FOR_PROVIDER


async def told_by_publication(unit: Unit, duties: Duties, known: Incident, *, at: datetime, cause: str) -> None:
    """Publication stands in for notice where people could not be reached (Article 26(2), proviso), whichever of the two
    came first."""
    await duties.meet_recipient(unit, known, "public", how=PUBLISHED, at=at, cause=cause)
    by_state, _ = await ledger.counts(unit.connection, known.id)
    covered = {"accepted": sum(by_state.values())}
    if by_state.get("accepted") and everybody_told(known, covered):
        await duties.meet_recipient(unit, known, "principal", how=TOLD_AND_PUBLISHED, at=at, cause=cause)


def everybody_told(known: Incident, by_state: dict[str, int]) -> bool:
    """Whether the ledgers' totals are the headcount of the assessment and a provider took every notice."""
    assessment = known.case.assessment
    if assessment is None or assessment.people is None or not assessment.people_certain:
        return False
    return by_state.get("accepted", 0) == sum(by_state.values()) >= assessment.people
