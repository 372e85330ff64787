"""The public apology: draft, two approvals of exactly one text, a desk that answers, then editions for all to read."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import uuid_utils.compat as uuids

from services.notifier import ledger, store
from services.notifier.domain import document as text
from services.notifier.domain import lint
from services.notifier.domain.document import Details, Document, Told
from services.notifier.domain.lint import Finding
from services.notifier.duties import Duties
from services.notifier.notices import everybody_told, told_by_publication
from services.notifier.store import Incident
from shared.events.notifier import (
    DisclosureApproved,
    DisclosureDrafted,
    DisclosureIssued,
    DisclosureRetracted,
    DisclosureRevised,
)
from shared.messaging import Scope, Unit

APPROVERS = ("privacy_officer", "executive")


@dataclass(frozen=True)
class Approval:
    """One person's approval, in one role, of one text."""

    role: str
    person: str
    sha256: str
    at: datetime


@dataclass(frozen=True)
class Edition:
    """One edition of a disclosure."""

    version: int
    document: Document
    details: Details
    told: Told
    sha256: str
    reason: str | None
    desk_checked: tuple[str, datetime] | None
    issued_at: datetime | None
    approvals: tuple[Approval, ...]

    @property
    def approved(self) -> bool:
        return {approval.role for approval in self.approvals} >= set(APPROVERS)


@dataclass(frozen=True)
class Disclosure:
    """One disclosure with its editions, oldest first."""

    id: str
    scope: Scope
    retracted_at: datetime | None
    retract_reason: str | None
    editions: tuple[Edition, ...]

    @property
    def latest(self) -> Edition:
        return self.editions[-1]

    @property
    def public(self) -> Edition | None:
        """The newest edition that was issued."""
        return next((edition for edition in reversed(self.editions) if edition.issued_at), None)

    @property
    def state(self) -> str:
        if self.retracted_at:
            return "retracted"
        latest = self.latest
        return "issued" if latest.issued_at else "approved" if latest.approved else "draft"


class Disclosures:
    """Disclosures of all organisations. Each method works in the caller's unit, under the incident's lock."""

    def __init__(self, duties: Duties, *, public_url: str) -> None:
        self._duties = duties
        self._public_url = public_url.rstrip("/")

    def url(self, disclosure: str) -> str:
        return f"{self._public_url}/disclosures/{disclosure}"

    async def draft(self, unit: Unit, known: Incident, details: Details, *, actor: str) -> Disclosure:
        """A first draft from the current assessment. Raises NotAssessedError."""
        disclosure = str(uuids.uuid7())
        written = await self._write(unit, known, details, 1)
        await unit.connection.execute(
            "INSERT INTO disclosure (disclosure, incident, organisation, drill) VALUES ($1, $2, $3, $4)",
            disclosure,
            known.id,
            known.scope.organisation,
            known.scope.drill,
        )
        return await self._keep(unit, known.scope, disclosure, written, details, None, actor)

    async def revise(
        self, unit: Unit, known: Incident, current: Disclosure, details: Details, *, reason: str, actor: str
    ) -> Disclosure:
        """The next edition as a draft, or the latest draft written anew; what is public stays so until it is issued."""
        number = current.latest.version + (1 if current.latest.issued_at else 0)
        written = await self._write(unit, known, details, number)
        return await self._keep(unit, known.scope, current.id, written, details, reason, actor, number)

    async def _write(self, unit: Unit, known: Incident, details: Details, number: int) -> tuple[Document, Told]:
        told = await self._told(unit, known)
        return text.write(known.case, details, told, number=number, as_of=unit.now), told

    async def _keep(  # noqa: PLR0917 - one row's worth of facts
        self,
        unit: Unit,
        scope: Scope,
        disclosure: str,
        written: tuple[Document, Told],
        details: Details,
        reason: str | None,
        actor: str,
        number: int = 1,
    ) -> Disclosure:
        document, told = written
        # A draft that is written anew has to be approved anew.
        await unit.connection.execute("DELETE FROM approval WHERE disclosure = $1 AND version = $2", disclosure, number)
        await unit.connection.execute(
            """INSERT INTO edition (disclosure, version, document, details, told, sha256, reason)
               VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT (disclosure, version) DO UPDATE SET document = excluded.document,
                   details = excluded.details, told = excluded.told, sha256 = excluded.sha256,
                   reason = excluded.reason""",
            disclosure,
            number,
            document.model_dump(mode="json"),
            details.model_dump(mode="json"),
            told.model_dump(mode="json"),
            document.sha256,
            reason,
        )
        await unit.emit(
            DisclosureDrafted(
                disclosure=disclosure,
                version=number,
                assessment_version=document.assessment_version,
                text=document.sha256,
                languages=list(document.texts),
            ),
            scope,
            actor=actor,
        )
        kept = await load(unit.connection, disclosure)
        assert kept is not None  # noqa: S101 - just written
        return kept

    async def _told(self, unit: Unit, known: Incident) -> Told:
        by_state, _ = await ledger.counts(unit.connection, known.id)
        filed = [
            duty.ended_at
            for duty in await store.duties(unit.connection, known.id)
            if duty.state == "filed" and duty.opened.recipient == "ppc"
        ]
        return Told(
            people_told=by_state.get("accepted", 0),
            everybody=everybody_told(known, by_state),
            filed_at=min(filter(None, filed), default=None),
        )

    def findings(self, known: Incident, edition: Edition) -> list[Finding]:
        """What blocks issue of this edition now."""
        return lint.findings(
            edition.document, known.case, edition.details, edition.told, desk_checked=edition.desk_checked
        )

    async def approve(self, unit: Unit, current: Disclosure, *, role: str, person: str, actor: str) -> None:
        """One approval. The second one, by another person in the other role, makes the event."""
        latest = current.latest
        await unit.connection.execute(
            "INSERT INTO approval (disclosure, version, role, person, sha256, at) VALUES ($1, $2, $3, $4, $5, $6)",
            current.id,
            latest.version,
            role,
            person,
            latest.sha256,
            unit.now,
        )
        others = [approval.person for approval in latest.approvals]
        if {role, *(approval.role for approval in latest.approvals)} >= set(APPROVERS):
            await unit.emit(
                DisclosureApproved(
                    disclosure=current.id,
                    version=latest.version,
                    assessment_version=latest.document.assessment_version,
                    text=latest.sha256,
                    approved_by=[*others, person],
                ),
                current.scope,
                actor=actor,
            )

    async def desk_answers(self, unit: Unit, current: Disclosure) -> None:
        """Somebody tried the contact desk, and it answered."""
        latest = current.latest
        await unit.connection.execute(
            "UPDATE edition SET desk_sha256 = $3, desk_checked_at = $4 WHERE disclosure = $1 AND version = $2",
            current.id,
            latest.version,
            latest.details.issuer.desk.sha256,
            unit.now,
        )

    async def issue(self, unit: Unit, known: Incident, current: Disclosure, *, actor: str) -> None:
        """Make the latest edition public. In a drill the same happens, and nobody outside can read it."""
        latest = current.latest
        await unit.connection.execute(
            "UPDATE edition SET issued_at = $3 WHERE disclosure = $1 AND version = $2",
            current.id,
            latest.version,
            unit.now,
        )
        facts = {
            "disclosure": current.id,
            "version": latest.version,
            "assessment_version": latest.document.assessment_version,
            "text": latest.sha256,
            "edition": latest.document.edition,
            "issued_at": unit.now,
        }
        if latest.version > 1:
            revised = DisclosureRevised.model_validate(facts | {"reason": latest.reason or "facts_changed"})
            cause = await unit.emit(revised, current.scope, actor=actor)
        else:
            issued = DisclosureIssued.model_validate(
                facts
                | {
                    "channels": ["drill" if current.scope.drill else "web"],
                    "url": None if current.scope.drill else self.url(current.id),
                    "people": known.case.assessment.people if known.case.assessment else None,
                    "contact_desk_checked_at": latest.desk_checked[1] if latest.desk_checked else None,
                }
            )
            cause = await unit.emit(issued, current.scope, actor=actor)
        await told_by_publication(unit, self._duties, known, at=unit.now, cause=cause)

    async def retract(self, unit: Unit, known: Incident, current: Disclosure, *, reason: str, actor: str) -> None:
        """Take the public text back, visibly. What it stood in for is owed again, unless another text is public."""
        await unit.connection.execute(
            "UPDATE disclosure SET retracted_at = $2, retract_reason = $3 WHERE disclosure = $1",
            current.id,
            unit.now,
            reason,
        )
        public = current.public
        retracted = DisclosureRetracted(
            disclosure=current.id,
            version=public.version if public else current.latest.version,
            reason=reason,
            retracted_at=unit.now,
        )
        cause = await unit.emit(retracted, current.scope, actor=actor)
        if await ledger.published_at(unit.connection, known.id) is None:
            await self._duties.publication_ended(unit, known, cause=cause)


async def load(connection: Any, disclosure: str, organisation: str | None = None) -> Disclosure | None:
    """The disclosure with its editions; None when it is unknown or another organisation's."""
    row = await connection.fetchrow(
        """SELECT disclosure, incident, organisation, drill, retracted_at, retract_reason FROM disclosure
           WHERE disclosure = $1 AND ($2::text IS NULL OR organisation = $2)""",
        disclosure,
        organisation,
    )
    if row is None:
        return None
    editions = await connection.fetch(
        """SELECT version, document, details, told, sha256, reason, desk_sha256, desk_checked_at, issued_at FROM edition
           WHERE disclosure = $1 ORDER BY version""",
        disclosure,
    )
    approvals = await connection.fetch(
        "SELECT version, role, person, sha256, at FROM approval WHERE disclosure = $1 ORDER BY at", disclosure
    )
    return Disclosure(
        id=row["disclosure"],
        scope=Scope(row["incident"], row["organisation"], row["drill"]),
        retracted_at=row["retracted_at"],
        retract_reason=row["retract_reason"],
        editions=tuple(_edition(edition, approvals) for edition in editions),
    )


def _edition(row: Any, approvals: list[Any]) -> Edition:
    checked = (row["desk_sha256"], row["desk_checked_at"]) if row["desk_checked_at"] else None
    return Edition(
        version=row["version"],
        document=Document.model_validate(row["document"]),
        details=Details.model_validate(row["details"]),
        told=Told.model_validate(row["told"]),
        sha256=row["sha256"],
        reason=row["reason"],
        desk_checked=checked,
        issued_at=row["issued_at"],
        approvals=tuple(
            Approval(item["role"], item["person"], item["sha256"], item["at"])
            for item in approvals
            if item["version"] == row["version"]
        ),
    )


async def of_incident(connection: Any, incident: str) -> list[Disclosure]:
    """All disclosures of an incident, oldest first."""
    rows = await connection.fetch("SELECT disclosure FROM disclosure WHERE incident = $1 ORDER BY disclosure", incident)
    loaded = [await load(connection, row["disclosure"]) for row in rows]
    return [disclosure for disclosure in loaded if disclosure is not None]


async def last_issuer(connection: Any, organisation: str, incident: str) -> dict[str, Any]:
    """Who spoke last for this organisation, in this incident if anybody did; empty when nobody did yet."""
    details = await connection.fetchval(
        """SELECT e.details FROM edition e JOIN disclosure d USING (disclosure) WHERE d.organisation = $1
           ORDER BY d.incident = $2 DESC, d.disclosure DESC, e.version DESC LIMIT 1""",
        organisation,
        incident,
    )
    return Details.model_validate(details).issuer.model_dump(mode="json") if details else {}


async def published(connection: Any, organisation: str) -> list[Disclosure]:
    """What an organisation has made public, newest first."""
    rows = await connection.fetch(
        """SELECT disclosure FROM disclosure d WHERE organisation = $1 AND NOT drill
           AND EXISTS (SELECT FROM edition e WHERE e.disclosure = d.disclosure AND e.issued_at IS NOT NULL)
           ORDER BY disclosure DESC LIMIT 100""",
        organisation,
    )
    loaded = [await load(connection, row["disclosure"]) for row in rows]
    return [disclosure for disclosure in loaded if disclosure is not None]
