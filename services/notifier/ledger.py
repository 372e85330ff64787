"""The notice ledger's tables: people concerned, batches, one row per person, every attempt."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.notifier.channels.message import Outcome, Result
from services.notifier.domain.notice import Notice
from shared.messaging import Scope, Unit


@dataclass(frozen=True)
class Batch:
    """One batch of notices."""

    id: str
    scope: Scope
    template: str
    assessment_version: int
    notice: Notice
    people: int
    ordered_by: str
    started_at: datetime
    settled_at: datetime | None


@dataclass(frozen=True)
class Listed:
    """One person concerned, by reference; the values lie in the vault."""

    person: str
    contact: str
    name: str
    mail: str | None
    line_user_id: str | None


@dataclass(frozen=True)
class Row:
    """One person's notice, about to be sent."""

    person: str
    token: str
    channel: str
    channels: list[str]
    tries: int
    address: str | None


async def list_people(unit: Unit, scope: Scope, people: Sequence[Listed]) -> None:
    await unit.connection.executemany(
        """INSERT INTO principal (person, incident, organisation, contact, name, mail, line_user_id)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        [
            (item.person, scope.subject, scope.organisation, item.contact, item.name, item.mail, item.line_user_id)
            for item in people
        ],
    )


async def contacts(connection: Any, incident: str) -> set[str]:
    """The pseudonyms that are on the list already."""
    rows = await connection.fetch("SELECT contact FROM principal WHERE incident = $1", incident)
    return {row["contact"] for row in rows}


async def incidents(connection: Any, organisation: str) -> list[str]:
    """Those of the organisation that have a list."""
    rows = await connection.fetch("SELECT DISTINCT incident FROM principal WHERE organisation = $1", organisation)
    return [row["incident"] for row in rows]


async def people_with(connection: Any, organisation: str, contacts: Sequence[str]) -> list[tuple[str, str]]:
    """Reference and incident of those whose pseudonym is one of these."""
    rows = await connection.fetch(
        "SELECT person, incident FROM principal WHERE organisation = $1 AND contact = ANY ($2) ORDER BY incident",
        organisation,
        contacts,
    )
    return [(row["person"], row["incident"]) for row in rows]


async def untold(connection: Any, incident: str) -> Mapping[str, list[str]]:
    """People of the list whom no batch holds yet, with the ways they can be reached."""
    rows = await connection.fetch(
        """SELECT person, mail IS NOT NULL AS mail, line_user_id IS NOT NULL AS line FROM principal p
           WHERE incident = $1 AND NOT EXISTS (SELECT FROM notice n WHERE n.person = p.person) ORDER BY person""",
        incident,
    )
    return {row["person"]: [name for name in ("mail", "line") if row[name]] for row in rows}


async def listed(connection: Any, incident: str) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM principal WHERE incident = $1", incident)
    return count


async def start(unit: Unit, batch: Batch, rows: Sequence[tuple[str, str, list[str]]]) -> None:
    """Keep a batch and its ledger: (person, token, channels)."""
    await unit.connection.execute(
        """INSERT INTO batch (batch, incident, organisation, template, assessment_version, subject, mail, line,
                              people, ordered_by, started_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
        batch.id,
        batch.scope.subject,
        batch.scope.organisation,
        batch.template,
        batch.assessment_version,
        batch.notice.subject,
        batch.notice.mail,
        batch.notice.line,
        batch.people,
        batch.ordered_by,
        batch.started_at,
    )
    await unit.connection.executemany(
        """INSERT INTO notice (batch, person, token, channels, channel, not_before)
           VALUES ($1, $2, $3, $4, $5, $6)""",
        [(batch.id, person, token, channels, channels[0], batch.started_at) for person, token, channels in rows],
    )


_BATCH = """
SELECT b.batch, b.incident, b.organisation, i.drill, b.template, b.assessment_version, b.subject, b.mail, b.line,
       b.people, b.ordered_by, b.started_at, b.settled_at
FROM batch b JOIN incident i USING (incident)
"""


def _batch(row: Any) -> Batch:
    return Batch(
        id=row["batch"],
        scope=Scope(row["incident"], row["organisation"], row["drill"]),
        template=row["template"],
        assessment_version=row["assessment_version"],
        notice=Notice(row["subject"], row["mail"], row["line"]),
        people=row["people"],
        ordered_by=row["ordered_by"],
        started_at=row["started_at"],
        settled_at=row["settled_at"],
    )


async def batch(connection: Any, batch_id: str) -> Batch | None:
    row = await connection.fetchrow(f"{_BATCH} WHERE b.batch = $1", batch_id)
    return _batch(row) if row else None


async def batches(connection: Any, incident: str) -> list[Batch]:
    """The batches of an incident, oldest first."""
    rows = await connection.fetch(f"{_BATCH} WHERE b.incident = $1 ORDER BY b.started_at", incident)
    return [_batch(row) for row in rows]


async def by_token(connection: Any, token: str) -> Batch | None:
    """The batch behind a person's own link."""
    row = await connection.fetchrow(f"{_BATCH} JOIN notice n USING (batch) WHERE n.token = $1", token)
    return _batch(row) if row else None


async def leftovers(unit: Unit, batch_id: str) -> Mapping[str, str]:
    """Person → channel of notices that were being sent when the process ended."""
    rows = await unit.connection.fetch(
        "SELECT person, channel FROM notice WHERE batch = $1 AND state = 'sending'", batch_id
    )
    return {row["person"]: row["channel"] for row in rows}


async def claim(unit: Unit, batch_id: str, limit: int) -> list[Row]:
    """The intent: mark the next notices as being sent. Each comes with the digest of its address."""
    rows = await unit.connection.fetch(
        """WITH claimed AS (
               UPDATE notice SET state = 'sending', tries = tries + 1 WHERE (batch, person) IN (
                   SELECT batch, person FROM notice
                   WHERE batch = $1 AND state = 'planned' AND not_before <= $2 ORDER BY person LIMIT $3)
               RETURNING person, token, channel, channels, tries)
           SELECT claimed.*, CASE channel WHEN 'mail' THEN mail WHEN 'line' THEN line_user_id END AS address
           FROM claimed JOIN principal USING (person)""",
        batch_id,
        unit.now,
        limit,
    )
    return [Row(**row) for row in rows]


async def give_back(unit: Unit, batch_id: str, people: Sequence[str]) -> None:
    """Of what was claimed, take back what was not begun: it does not count as a try."""
    await unit.connection.execute(
        "UPDATE notice SET state = 'planned', tries = tries - 1 WHERE batch = $1 AND person = ANY($2)",
        batch_id,
        list(people),
    )


async def next_due(connection: Any, batch_id: str) -> datetime | None:
    """When the next notice of the batch may be sent; None when none is open."""
    due: datetime | None = await connection.fetchval(
        "SELECT min(not_before) FROM notice WHERE batch = $1 AND state IN ('planned', 'sending')", batch_id
    )
    return due


async def record(unit: Unit, batch_id: str, tried: Sequence[tuple[str, str, Result]]) -> None:
    """Keep every attempt: (person, channel, result)."""
    await unit.connection.executemany(
        """INSERT INTO notice_attempt (batch, person, channel, at, outcome, provider_id, reason)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        [
            (batch_id, person, channel, unit.now, result.outcome.value, result.provider_id, result.reason)
            for person, channel, result in tried
        ],
    )


async def settle(unit: Unit, batch_id: str, outcomes: Sequence[tuple[str, Result]]) -> None:
    """Final outcomes of single notices."""
    await unit.connection.executemany(
        """UPDATE notice SET state = $3, provider_id = $4, reason = $5, told_at = $6
           WHERE batch = $1 AND person = $2""",
        [
            (
                batch_id,
                person,
                result.outcome.value,
                result.provider_id,
                result.reason,
                unit.now if result.outcome is Outcome.ACCEPTED else None,
            )
            for person, result in outcomes
        ],
    )


async def plan_again(
    unit: Unit, batch_id: str, again: Sequence[tuple[str, str, datetime]], *, fresh: bool = False
) -> None:
    """Take notices back to planned: (person, channel, not before). `fresh`: tries are counted anew."""
    await unit.connection.executemany(
        """UPDATE notice SET state = 'planned', channel = $3, not_before = $4,
                  tries = CASE WHEN $5::boolean THEN 0 ELSE tries END
           WHERE batch = $1 AND person = $2""",
        [(batch_id, person, channel, moment, fresh) for person, channel, moment in again],
    )


async def finish(unit: Unit, batch_id: str) -> bool:
    """End the batch. False when it has ended already: another firing of its timer was quicker."""
    done: str = await unit.connection.execute(
        "UPDATE batch SET settled_at = $2 WHERE batch = $1 AND settled_at IS NULL", batch_id, unit.now
    )
    return done == "UPDATE 1"


async def counts(connection: Any, incident: str, batch_id: str | None = None) -> tuple[dict[str, int], dict[str, int]]:
    """People by state and by channel, over one batch or the whole incident."""
    rows = await connection.fetch(
        """SELECT n.state, n.channel, count(*) AS people FROM notice n JOIN batch b USING (batch)
           WHERE b.incident = $1 AND ($2::text IS NULL OR n.batch = $2) GROUP BY n.state, n.channel""",
        incident,
        batch_id,
    )
    by_state: dict[str, int] = {}
    by_channel: dict[str, int] = {}
    for row in rows:
        by_state[row["state"]] = by_state.get(row["state"], 0) + row["people"]
        by_channel[row["channel"]] = by_channel.get(row["channel"], 0) + row["people"]
    return by_state, by_channel


async def published_at(connection: Any, incident: str) -> datetime | None:
    """Since when a text about the incident is public; None when none is."""
    at: datetime | None = await connection.fetchval(
        """SELECT min(e.issued_at) FROM edition e JOIN disclosure d USING (disclosure)
           WHERE d.incident = $1 AND d.retracted_at IS NULL""",
        incident,
    )
    return at


async def ledger_hash(connection: Any, batch_id: str, *, outcomes: bool) -> str:
    """SHA-256 over the ledger: one JSON array per person, by reference, each on a line.

    `outcomes`: with what became of each notice; otherwise only whom, how and by which text.
    """
    rows = await connection.fetch(
        """SELECT n.person, n.channel, b.template, b.assessment_version, n.state, n.provider_id, n.reason
           FROM notice n JOIN batch b USING (batch) WHERE n.batch = $1 ORDER BY n.person""",
        batch_id,
    )
    width = 7 if outcomes else 4
    lines = (json.dumps(list(row.values())[:width], separators=(",", ":")) for row in rows)
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


async def people_rows(connection: Any, batch_id: str, limit: int, after: str, state: str | None = None) -> list[Any]:
    """A page of the ledger, by person reference, or of those in one state; no address is in it."""
    rows: list[Any] = await connection.fetch(
        """SELECT person, channel, state, tries, provider_id, reason, told_at FROM notice
           WHERE batch = $1 AND person > $2 AND ($4::text IS NULL OR state = $4) ORDER BY person LIMIT $3""",
        batch_id,
        after,
        limit,
        state,
    )
    return rows
