"""The reporter's tables: cases, reports, and what happened."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import asyncpg.pool
import orjson

from services.reporter.domain.incident import Decision, Incident
from shared.events import Envelope
from shared.events.payload import Payload
from shared.events.reporter import LossFacts
from shared.messaging import Scope, Unit

type Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

MAX_ENTRIES_SHOWN = 1000

_APPROVALS_PENDING = """
SELECT count(*) FROM incident, jsonb_each(state->'proposals') AS proposal
WHERE NOT ended AND NOT drill AND proposal.value->>'state' = 'proposed'
  AND (proposal.value->'statement'->>'accept_by')::timestamptz >= now()
  AND proposal.value->'statement'->'decision_version' = state->'decision_version'
"""


@dataclass(frozen=True)
class Told:
    """One report as it was told."""

    incident: str
    number: int
    organisation: str
    door: str
    reported_as: str
    reporter: str | None
    vault_person: str
    reporter_name: str | None
    trusted: bool
    facts: LossFacts
    reported_at: datetime


@dataclass(frozen=True)
class Entry:
    """One event of a case."""

    event_id: str
    type: str
    actor: str
    at: datetime
    data: dict[str, Any]


async def load(connection: Connection, incident: str, organisation: str) -> Incident | None:
    """A case of this organisation."""
    state = await connection.fetchval(
        "SELECT state FROM incident WHERE incident = $1 AND organisation = $2", incident, organisation
    )
    return Incident.model_validate(state) if state is not None else None


async def current(unit: Unit, incident: str, organisation: str) -> Incident | None:
    """A locked case as this unit has left it."""
    held: Incident | None = unit.held.get(incident)
    if held is None:
        return await load(unit.connection, incident, organisation)
    return held if held.organisation == organisation else None


async def load_joinable(connection: Connection, organisation: str, device: str, *, drill: bool) -> Incident | None:
    """The open case about this phone, if there is one."""
    state = await connection.fetchval(
        "SELECT state FROM incident WHERE organisation = $1 AND device = $2 AND drill = $3 AND joinable "
        "ORDER BY reported_at DESC LIMIT 1",
        organisation,
        device,
        drill,
    )
    return Incident.model_validate(state) if state is not None else None


async def others_open(connection: Connection, incident: Incident) -> list[str]:
    """Other open cases about the same phone: one that was read again after a restore meets what was reported since."""
    rows = await connection.fetch(
        "SELECT incident FROM incident WHERE organisation = $1 AND device = $2 AND drill = $3 AND joinable "
        "AND incident <> $4 ORDER BY reported_at",
        incident.organisation,
        incident.facts.device,
        incident.drill,
        incident.id,
    )
    return [row["incident"] for row in rows]


async def queue(
    connection: Connection, organisation: str, *, ended: bool | None, limit: int, after: str | None
) -> list[Incident]:
    """Cases, newest first; with `after`, those that follow this one."""
    rows = await connection.fetch(
        "SELECT state FROM incident WHERE organisation = $1 AND ($2::boolean IS NULL OR ended = $2) "
        "AND ($4::text IS NULL OR (reported_at, incident) < "
        "(SELECT reported_at, incident FROM incident WHERE incident = $4 AND organisation = $1)) "
        "ORDER BY reported_at DESC, incident DESC LIMIT $3",
        organisation,
        ended,
        limit,
        after,
    )
    return [Incident.model_validate(row["state"]) for row in rows]


async def count_approvals_pending(pool: asyncpg.Pool) -> int:
    """Proposals of a real wipe that another person can still sign (`domain.wipe.standing`)."""
    count: int = await pool.fetchval(_APPROVALS_PENDING)
    return count


async def record(unit: Unit, decision: Decision, *, actor: str, cause: str | None = None) -> None:
    """Save the case as decided, and tell the events to the log."""
    incident = decision.incident
    save(unit, incident)
    scope = Scope(incident.id, incident.organisation, incident.drill)
    for payload in decision.events:
        event_id = await unit.emit(payload, scope, actor=actor, cause=cause)
        _add_entry(unit, incident.id, Entry(event_id, payload.event_type, actor, unit.now, _data(payload)))


_SAVE = """
INSERT INTO incident (incident, organisation, drill, status, device, joinable, ended, reported_at, changed_at, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (incident) DO UPDATE
SET status = $4, device = $5, joinable = $6, ended = $7, changed_at = $9, state = $10
"""


def save(unit: Unit, incident: Incident) -> None:
    """Have the case written over what was there, once for all that the unit does to it."""
    unit.held[incident.id] = incident
    unit.later(_SAVE, incident.id, *_row(unit, incident))


async def add(unit: Unit, incident: Incident) -> None:
    """Write a new case now, so that what refers to it may follow in the same unit."""
    unit.held[incident.id] = incident
    await unit.connection.execute(_SAVE, *_row(unit, incident))


def _row(unit: Unit, incident: Incident) -> tuple[Any, ...]:
    return (
        incident.id,
        incident.organisation,
        incident.drill,
        incident.status.value,
        incident.facts.device,
        incident.ended is None and incident.recovered is None,
        incident.ended is not None,
        incident.reported_at,
        unit.now,
        orjson.Fragment(incident.model_dump_json()),
    )


def heard(unit: Unit, incident: str, envelope: Envelope, payload: Payload) -> None:
    """Keep an event that was heard with the case."""
    entry = Entry(envelope.id, envelope.type, envelope.actor, envelope.time, _data(payload))
    _add_entry(unit, incident, entry)


_ADD_ENTRY = """
INSERT INTO entry (incident, event_id, type, actor, at, data) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (event_id) DO NOTHING
"""


def _add_entry(unit: Unit, incident: str, entry: Entry) -> None:
    unit.later(_ADD_ENTRY, entry.event_id, incident, entry.event_id, entry.type, entry.actor, entry.at, entry.data)


def _data(payload: Payload) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(payload.write())
    return data


async def entries(connection: Connection, incident: str) -> list[Entry]:
    """What happened in a case, oldest first."""
    rows = await connection.fetch(
        "SELECT event_id, type, actor, at, data FROM "
        "(SELECT * FROM entry WHERE incident = $1 ORDER BY number DESC LIMIT $2) AS last ORDER BY number",
        incident,
        MAX_ENTRIES_SHOWN,
    )
    return [Entry(**dict(row)) for row in rows]


_ADD_REPORT = """
INSERT INTO report (incident, number, organisation, door, reported_as, reporter, vault_person, reporter_name, trusted,
                    facts, reported_at, receipt_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""


def add_report(unit: Unit, told: Told, receipt_hash: str) -> None:
    """Keep a report as told, under the hash of its receipt code."""
    unit.later(_ADD_REPORT, receipt_hash, *_report_row(told, receipt_hash))


async def add_report_again(unit: Unit, told: Told, event_id: str) -> None:
    """Keep what an event says of a report whose receipt code nobody knows any more."""
    await unit.connection.execute(_ADD_REPORT, *_report_row(told, f"lost with {event_id}"))


def _report_row(told: Told, receipt_hash: str) -> tuple[Any, ...]:
    return (
        told.incident,
        told.number,
        told.organisation,
        told.door,
        told.reported_as,
        told.reporter,
        told.vault_person,
        told.reporter_name,
        told.trusted,
        _data(told.facts),
        told.reported_at,
        receipt_hash,
    )


_REPORT = (
    "SELECT incident, number, organisation, door, reported_as, reporter, vault_person, reporter_name, trusted, facts, "
    "reported_at FROM report "
)


async def report_by_receipt(connection: Connection, receipt_hash: str) -> Told | None:
    """The report that a receipt code belongs to."""
    row = await connection.fetchrow(f"{_REPORT} WHERE receipt_hash = $1", receipt_hash)
    return _told(row) if row is not None else None


async def reports(connection: Connection, incident: str) -> list[Told]:
    """All reports of a case, as told, in order."""
    return [_told(row) for row in await connection.fetch(f"{_REPORT} WHERE incident = $1 ORDER BY number", incident)]


def _told(row: asyncpg.Record) -> Told:
    return Told(**{**dict(row), "facts": LossFacts.read(row["facts"])})


async def first_teller(connection: Connection, incident: str) -> str:
    """Whose words the first report of a case is in the vault."""
    person: str = await connection.fetchval(
        "SELECT vault_person FROM report WHERE incident = $1 ORDER BY number LIMIT 1", incident
    )
    return person


async def trust_report(unit: Unit, incident: str, number: int) -> None:
    """The desk made sure of this report: its receipt shows and changes more from now on."""
    await unit.connection.execute(
        "UPDATE report SET trusted = true WHERE incident = $1 AND number = $2", incident, number
    )


async def trust_first(unit: Unit, incident: str) -> None:
    """The first report that waited was made sure of."""
    await unit.connection.execute(
        "UPDATE report SET trusted = true WHERE incident = $1 AND number = "
        "(SELECT min(number) FROM report WHERE incident = $1 AND NOT trusted)",
        incident,
    )


@dataclass(frozen=True)
class Missing:
    """Sequences above `known` up to `said`, which a restored reporter has to read again from the log."""

    known: int
    said: int


async def missing(pool: asyncpg.Pool) -> dict[str, Missing]:
    """By subject, what a restore left to be read again."""
    rows = await pool.fetch("SELECT subject, known, said FROM said_after_backup")
    return {row["subject"]: Missing(row["known"], row["said"]) for row in rows}


async def is_missing(connection: Connection, subject: str) -> bool:
    """Whether some of what was said about it is still to be read again."""
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM said_after_backup WHERE subject = $1)", subject)
    return found


async def found_again(unit: Unit, subject: str) -> None:
    """All that had been said about it was read again."""
    await unit.connection.execute("DELETE FROM said_after_backup WHERE subject = $1", subject)


async def in_open_case(connection: Connection, organisation: str, person: str) -> bool:
    """Whether a case that goes on was reported by this person, or is about a phone that they held."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM incident JOIN report USING (incident) "
        "WHERE incident.organisation = $1 AND NOT incident.ended "
        "AND (report.reporter = $2 OR report.vault_person = $2 OR incident.state->'facts'->>'holder' = $2))",
        organisation,
        person,
    )
    return found


@dataclass(frozen=True)
class Key:
    """An idempotency key of one caller, and the request that it was sent with."""

    organisation: str
    who: str
    key: str
    request: str


async def claim_key(unit: Unit, key: Key, incident: str) -> str | None:
    """None when the key is new and now stands for `incident`, or the incident of the same request earlier.

    Raises `LookupError` when the key stands for another request.
    """
    fresh = await unit.connection.fetchval(
        "INSERT INTO accepted_key (organisation, who, key, request, incident, accepted_at) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING incident",
        key.organisation,
        key.who,
        key.key,
        key.request,
        incident,
        unit.now,
    )
    if fresh is not None:
        return None
    earlier: str | None = await unit.connection.fetchval(
        "SELECT incident FROM accepted_key WHERE organisation = $1 AND who = $2 AND key = $3 AND request = $4",
        key.organisation,
        key.who,
        key.key,
        key.request,
    )
    if earlier is None:
        raise LookupError(key.key)
    return earlier


async def point_key(unit: Unit, key: Key, incident: str) -> None:
    """The key stands for the case that the report joined."""
    await unit.connection.execute(
        "UPDATE accepted_key SET incident = $4 WHERE organisation = $1 AND who = $2 AND key = $3",
        key.organisation,
        key.who,
        key.key,
        incident,
    )
