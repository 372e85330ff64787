"""The notifier's tables: cases, duties, alerts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.notifier.domain.case import Case
from services.notifier.domain.filing import Stated
from shared.events.notifier import DutyOpened
from shared.messaging import Scope, Unit


@dataclass(frozen=True)
class Incident:
    """One incident as this service knows it."""

    scope: Scope
    case: Case

    @property
    def id(self) -> str:
        return self.scope.subject


class EndedOn(BaseModel):
    """What was known when a duty was ended, or proposed to be waived."""

    model_config = ConfigDict(frozen=True)

    grounds: list[str]
    """Why it was surely owed; none while it was provisional, or did not hold any more."""
    people: int | None
    stated: Stated | None = None
    """What a report said then; None for duties that were ended before this was kept."""


@dataclass(frozen=True)
class Duty:
    """One duty and how far it is."""

    opened: DutyOpened
    scope: Scope
    state: str
    overdue: bool
    ended_at: datetime | None
    receipt: str | None
    receipt_hash: str | None
    how: str | None
    waiver_by: str | None
    waiver_reason: str | None
    waived_by: list[str] | None
    ended_on: EndedOn | None

    @property
    def id(self) -> str:
        return self.opened.duty


@dataclass(frozen=True)
class Alert:
    """One alert and whether somebody took it."""

    id: str
    scope: Scope
    kind: str
    attempt: int
    opened_at: datetime
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    ended: bool


_INCIDENT = "SELECT incident, organisation, drill, facts FROM incident"


def _incident(row: Any) -> Incident:
    return Incident(Scope(row["incident"], row["organisation"], row["drill"]), Case.model_validate(row["facts"]))


async def incident(connection: Any, subject: str, organisation: str | None = None) -> Incident | None:
    """The incident; None when it is unknown or another organisation's."""
    row = await connection.fetchrow(
        f"{_INCIDENT} WHERE incident = $1 AND ($2::text IS NULL OR organisation = $2)", subject, organisation
    )
    return _incident(row) if row else None


async def save(unit: Unit, known: Incident) -> None:
    """Keep what is known of an incident. Its organisation and whether it is a drill never change."""
    await unit.connection.execute(
        """INSERT INTO incident (incident, organisation, drill, facts) VALUES ($1, $2, $3, $4)
           ON CONFLICT (incident) DO UPDATE SET facts = excluded.facts""",
        known.id,
        known.scope.organisation,
        known.scope.drill,
        known.case.model_dump(mode="json"),
    )


_PLAIN = (
    "state", "overdue", "ended_at", "receipt", "receipt_hash", "how", "waiver_by", "waiver_reason", "waived_by",
)  # fmt: skip
# Each column by its name: on a schema of another release the database says so, and the service waits for the migration.
_DUTY = f"""
SELECT d.incident, d.organisation, d.opened, d.ended_on, {", ".join(f"d.{name}" for name in _PLAIN)}, i.drill
FROM duty d JOIN incident i USING (incident)
"""  # noqa: S608 - our own names


def _duty(row: Any) -> Duty:
    return Duty(
        opened=DutyOpened.read(row["opened"]),
        scope=Scope(row["incident"], row["organisation"], row["drill"]),
        ended_on=EndedOn.model_validate(row["ended_on"]) if row["ended_on"] else None,
        **{name: row[name] for name in _PLAIN},
    )


async def duties(connection: Any, subject: str) -> list[Duty]:
    """All duties of an incident, the most urgent first."""
    rows = await connection.fetch(
        f"{_DUTY} WHERE d.incident = $1 ORDER BY d.state <> 'open', d.opened->>'due' NULLS LAST, d.duty", subject
    )
    return [_duty(row) for row in rows]


async def open_duties(connection: Any, organisation: str) -> list[Duty]:
    """The open duties of an organisation, the most urgent first."""
    rows = await connection.fetch(
        f"{_DUTY} WHERE d.organisation = $1 AND d.state = 'open' ORDER BY d.opened->>'due' NULLS LAST LIMIT 500",
        organisation,
    )
    return [_duty(row) for row in rows]


async def duty(connection: Any, duty_id: str, organisation: str | None = None) -> Duty | None:
    """The duty; None when it is unknown or another organisation's."""
    row = await connection.fetchrow(
        f"{_DUTY} WHERE d.duty = $1 AND ($2::text IS NULL OR d.organisation = $2)", duty_id, organisation
    )
    return _duty(row) if row else None


async def state_duty(unit: Unit, scope: Scope, opened: DutyOpened) -> None:
    """Keep a duty as it is stated now."""
    await unit.connection.execute(
        """INSERT INTO duty (duty, incident, organisation, opened) VALUES ($1, $2, $3, $4)
           ON CONFLICT (duty) DO UPDATE SET opened = excluded.opened""",
        opened.duty,
        scope.subject,
        scope.organisation,
        opened.model_dump(mode="json"),
    )


async def end_duty(
    unit: Unit,
    duty_id: str,
    state: str,
    *,
    at: datetime,
    on: EndedOn | None,
    receipt: str | None = None,
    receipt_hash: str | None = None,
    how: str | None = None,
    waived_by: list[str] | None = None,
) -> None:
    """Filed, met or waived."""
    await unit.connection.execute(
        """UPDATE duty SET state = $2, ended_at = $3, receipt = $4, receipt_hash = $5, how = $6, waived_by = $7,
               ended_on = $8 WHERE duty = $1""",
        duty_id,
        state,
        at,
        receipt,
        receipt_hash,
        how,
        waived_by,
        on.model_dump(mode="json") if on else None,
    )


async def open_again(unit: Unit, duty_id: str) -> None:
    """Forget how it had ended; the timeline knows."""
    await unit.connection.execute(
        """UPDATE duty SET state = 'open', overdue = false, ended_at = NULL, receipt = NULL, receipt_hash = NULL,
               how = NULL, waiver_by = NULL, waiver_reason = NULL, waived_by = NULL, ended_on = NULL
           WHERE duty = $1""",
        duty_id,
    )


async def propose_waiver(unit: Unit, duty_id: str, person: str, reason: str, *, on: EndedOn | None) -> None:
    await unit.connection.execute(
        "UPDATE duty SET waiver_by = $2, waiver_reason = $3, ended_on = $4 WHERE duty = $1",
        duty_id,
        person,
        reason,
        on.model_dump(mode="json") if on else None,
    )


async def drop_waiver(unit: Unit, duty_id: str) -> None:
    """Forget a proposal to which nobody has agreed."""
    await unit.connection.execute(
        "UPDATE duty SET waiver_by = NULL, waiver_reason = NULL, ended_on = NULL WHERE duty = $1", duty_id
    )


async def mark_overdue(unit: Unit, duty_id: str) -> None:
    await unit.connection.execute("UPDATE duty SET overdue = true WHERE duty = $1", duty_id)


_ALERT = """
SELECT alert, subject, organisation, drill, kind, attempt, opened_at, acknowledged_by, acknowledged_at, ended FROM alert
"""


def _alert(row: Any) -> Alert:
    return Alert(
        id=row["alert"],
        scope=Scope(row["subject"], row["organisation"], row["drill"]),
        kind=row["kind"],
        attempt=row["attempt"],
        opened_at=row["opened_at"],
        acknowledged_by=row["acknowledged_by"],
        acknowledged_at=row["acknowledged_at"],
        ended=row["ended"],
    )


async def alert(connection: Any, alert_id: str, organisation: str | None = None) -> Alert | None:
    """The alert; None when it is unknown or another organisation's."""
    row = await connection.fetchrow(
        f"{_ALERT} WHERE alert = $1 AND ($2::text IS NULL OR organisation = $2)", alert_id, organisation
    )
    return _alert(row) if row else None


async def alerts(
    connection: Any, organisation: str, *, ended: bool | None, limit: int, after: str | None, subject: str | None = None
) -> list[Alert]:
    """Alerts of an organisation or of one incident, newest first; with `after`, those that follow this one. `ended`:
    only those that call for nobody any more, or only the others."""
    rows = await connection.fetch(
        f"""{_ALERT} WHERE organisation = $1 AND ($2::text IS NULL OR subject = $2)
            AND ($3::boolean IS NULL OR ended = $3)
            AND ($5::text IS NULL OR (opened_at, alert) <
                 (SELECT opened_at, alert FROM alert WHERE alert = $5 AND organisation = $1))
            ORDER BY opened_at DESC, alert DESC LIMIT $4""",  # noqa: S608 - our own names
        organisation,
        subject,
        ended,
        limit,
        after,
    )
    return [_alert(row) for row in rows]


async def open_alert(unit: Unit, alert_id: str, scope: Scope, kind: str) -> None:
    await unit.connection.execute(
        "INSERT INTO alert (alert, subject, organisation, drill, kind, opened_at) VALUES ($1, $2, $3, $4, $5, $6)",
        alert_id,
        scope.subject,
        scope.organisation,
        scope.drill,
        kind,
        unit.now,
    )


async def end_alerts(unit: Unit, subject: str) -> list[str]:
    """End every alert of a case that is over; returns their ids."""
    rows = await unit.connection.fetch(
        "UPDATE alert SET ended = true WHERE subject = $1 AND NOT ended RETURNING alert", subject
    )
    return [row["alert"] for row in rows]


async def alert_sent(unit: Unit, alert_id: str, attempt: int, *, last: bool) -> None:
    await unit.connection.execute(
        "UPDATE alert SET attempt = $2, ended = ended OR $3 WHERE alert = $1", alert_id, attempt, last
    )


async def acknowledge(unit: Unit, alert_id: str, person: str) -> None:
    await unit.connection.execute(
        "UPDATE alert SET acknowledged_by = $2, acknowledged_at = $3, ended = true WHERE alert = $1",
        alert_id,
        person,
        unit.now,
    )


async def forget_contact(unit: Unit, person: str, organisation: str) -> None:
    """Drop the pseudonym of an erased person's address."""
    await unit.connection.execute(
        "UPDATE principal SET contact = NULL WHERE person = $1 AND organisation = $2", person, organisation
    )
