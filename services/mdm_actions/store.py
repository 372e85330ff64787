"""Incidents as heard, and the commands they led to: rows in and out. All functions run in the caller's unit."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.mdm_actions.domain.command import DEVICE_KINDS, OPEN, Kind, State
from services.mdm_actions.domain.line import IncidentState
from services.mdm_actions.domain.playbook import Playbook
from services.mdm_actions.domain.protection import Posture
from shared.events.mdm_actions import PlannedStep, SuspensionTrigger
from shared.events.wipe import WipeStatement
from shared.messaging import Scope, Unit


@dataclass(frozen=True)
class Case:
    """One incident as this service knows it."""

    incident: str
    organisation: str
    drill: bool
    state: IncidentState
    verified: bool
    decision_version: int
    device: str | None
    holder: str | None
    reported_at: datetime
    playbook: Playbook

    @property
    def scope(self) -> Scope:
        return Scope(self.incident, self.organisation, self.drill)

    @property
    def over(self) -> bool:
        """The phone is back, or was never lost: nothing more is done to it but to let it go."""
        return self.state in (IncidentState.RECOVERED, IncidentState.CANCELLED)


@dataclass(frozen=True)
class Command:
    """One order to one provider about one device, line or account."""

    command: str
    incident: str
    organisation: str
    drill: bool
    kind: Kind
    state: State
    provider: str
    target: str
    device: str | None
    line: str | None
    holder: str | None
    statement: WipeStatement | None
    trigger: SuspensionTrigger | None
    reason: str | None
    cause: str | None
    traceparent: str | None
    """The trace in which it was ordered; all that follows from it belongs there."""
    ordered_at: datetime
    expires_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None
    disarming_at: datetime | None

    @property
    def id(self) -> UUID:
        return UUID(self.command)

    @property
    def open(self) -> bool:
        return self.state in OPEN

    def timer(self, kind: str) -> str:
        """The name of one of its timers: send, watch, expire, disarm."""
        return f"{kind}:{self.command}"


_CASE_COLUMNS = (
    "incident", "organisation", "drill", "state", "verified", "decision_version", "device", "holder", "reported_at",
    "playbook",
)  # fmt: skip
_CASE = f"SELECT {', '.join(_CASE_COLUMNS)} FROM incident"  # noqa: S608 - our own names

_SAVE_CASE = """
UPDATE incident SET state = $2, verified = $3, decision_version = $4, device = $5, holder = $6 WHERE incident = $1
"""

COMMAND_COLUMNS = (
    "command", "incident", "organisation", "drill", "kind", "state", "provider", "target", "device", "line", "holder",
    "statement", "trigger", "reason", "cause", "traceparent", "ordered_at", "expires_at", "sent_at", "ended_at",
    "disarming_at",
)  # fmt: skip
_COMMAND = f"SELECT {', '.join(COMMAND_COLUMNS)} FROM command"  # noqa: S608 - our own names

_BOTH = f"""
SELECT s.last, {", ".join(f"i.{name}" for name in _CASE_COLUMNS)}, {", ".join(f"c.{name}" for name in COMMAND_COLUMNS)}
FROM subject_sequence s JOIN incident i ON i.incident = s.subject JOIN command c ON c.incident = i.incident
WHERE c.command = $1
"""  # noqa: S608 - our own names

_ADD_COMMANDS = f"""
INSERT INTO command ({", ".join(COMMAND_COLUMNS)})
SELECT {", ".join(COMMAND_COLUMNS)} FROM jsonb_populate_recordset(NULL::command, $1)
"""  # noqa: S608 - our own names

# Foreign keys are looked at when the whole statement is done: the incident may come with what belongs to it.
_SAVE_PLAN = f"""
WITH heard AS (
    INSERT INTO incident ({", ".join(_CASE_COLUMNS)}) VALUES ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
    ON CONFLICT (incident) DO NOTHING
), taken AS (
    INSERT INTO snapshot (incident, device, document, sha256, taken_at)
    SELECT $2, $8, $12::bytea, $13, $14::timestamptz WHERE $12 IS NOT NULL
), ordered AS ({_ADD_COMMANDS})
INSERT INTO plan (incident, planned_at, steps, event_id) VALUES ($2, $14, $15, $16)
"""  # noqa: S608 - our own names

_NOTE = "INSERT INTO attempt (command, at, what, state, reason, evidence, sha256) VALUES ($1, $2, $3, $4, $5, $6, $7)"
_SAVE_AND_NOTE = f"""
WITH saved AS (
    UPDATE command SET state = $8, sent_at = $9, ended_at = $10, disarming_at = $11, reason = $12 WHERE command = $1)
{_NOTE}
"""  # noqa: S608 - our own names

_KEEP_WEBHOOK = """
INSERT INTO webhook (sha256, received_at, udid, topic, command, known)
SELECT $1, $2, $3, $4, $5,
    EXISTS (SELECT FROM command WHERE command = $5 AND NOT drill AND kind = ANY ($6) AND target = $7)
ON CONFLICT DO NOTHING RETURNING known
"""

# Drills and real cases never see each other's orders, and one drill not another's.
SAME_WORLD = "organisation = $2 AND drill = $3 AND (NOT drill OR incident = $4)"


async def case(unit: Unit, incident: str) -> Case | None:
    """The incident, or None when no report of it was heard."""
    row = await unit.connection.fetchrow(f"{_CASE} WHERE incident = $1", incident)
    return _case(row) if row else None


async def locked(unit: Unit, command: str) -> tuple[Case, Command] | None:
    """A command and its incident, locked as `Unit.lock` does, in one statement: rows that wait for a lock are read as
    they are afterwards."""
    row = await unit.connection.fetchrow(f"{_BOTH} FOR NO KEY UPDATE OF s, i, c", command)
    if row is None:
        return None
    case, found = _both(row)
    unit.hold({case.incident: row["last"]})
    return case, found


async def standing(pool: asyncpg.Pool, command: str) -> tuple[Case, Command] | None:
    """A command and its incident as they stand; the next moment they may be others."""
    row = await pool.fetchrow(_BOTH, command)
    return _both(row) if row else None


async def commands(pool: asyncpg.Pool, names: list[str]) -> dict[str, Command]:
    """These commands as they stand; the next moment they may be others."""
    rows = await pool.fetch(f"{_COMMAND} WHERE command = ANY ($1)", names)
    return {row["command"]: read_command(row) for row in rows}


def _both(row: asyncpg.Record) -> tuple[Case, Command]:
    _, *values = row
    split = len(_CASE_COLUMNS)
    return (
        _case(dict(zip(_CASE_COLUMNS, values[:split], strict=True))),
        read_command(dict(zip(COMMAND_COLUMNS, values[split:], strict=True))),
    )


async def open_cases_of(unit: Unit, device: str) -> list[Case]:
    """Open incidents about a device, the oldest first."""
    rows = await unit.connection.fetch(
        f"{_CASE} WHERE device = $1 AND state = 'open' AND NOT drill ORDER BY reported_at",
        device,
    )
    return [_case(row) for row in rows]


def _case(row: Any) -> Case:
    return Case(
        **dict(row)
        | {"state": IncidentState(row["state"]), "playbook": Playbook.model_validate(row["playbook"], strict=False)}
    )


async def save_case(unit: Unit, case: Case) -> None:
    """Store the incident as it is now."""
    await unit.connection.execute(
        _SAVE_CASE,
        case.incident,
        case.state.value,
        case.verified,
        case.decision_version,
        case.device,
        case.holder,
    )


async def save_plan(
    unit: Unit, case: Case, steps: list[PlannedStep], event_id: str, *, snapshot: Posture | None, orders: list[Command]
) -> None:
    """Keep a plan as it was announced, the snapshot that was taken for it and its orders; the incident too where this
    is its first plan."""
    await unit.connection.execute(
        _SAVE_PLAN,
        [_row(order) for order in orders],
        case.incident,
        case.organisation,
        case.drill,
        case.state.value,
        case.verified,
        case.decision_version,
        case.device,
        case.holder,
        case.reported_at,
        case.playbook.model_dump(mode="json"),
        snapshot.document() if snapshot else None,
        snapshot.sha256 if snapshot else None,
        unit.now,
        [step.model_dump(mode="json") for step in steps],
        event_id,
    )


async def command(unit: Unit, name: str) -> Command | None:
    """The command of this id, or None."""
    row = await unit.connection.fetchrow(f"{_COMMAND} WHERE command = $1", name)
    return read_command(row) if row else None


async def commands_of(unit: Unit, incident: str, *kinds: Kind, device: str | None = None) -> list[Command]:
    """Commands of an incident in the order in which they were given; all kinds when none is named."""
    rows = await unit.connection.fetch(
        f"{_COMMAND} WHERE incident = $1 AND (cardinality($2::text[]) = 0 OR kind = ANY ($2)) "
        "AND ($3::text IS NULL OR device = $3) ORDER BY place",
        incident,
        [kind.value for kind in kinds],
        device,
    )
    return [read_command(row) for row in rows]


@dataclass(frozen=True)
class Tries:
    """How often a command was tried or heard of, and the newest of it."""

    count: int
    what: str
    at: datetime
    reason: str | None


async def tries_of(unit: Unit, incident: str) -> dict[str, Tries]:
    """By command: what was tried with it."""
    rows = await unit.connection.fetch(
        "SELECT DISTINCT ON (a.command) a.command, count(*) OVER (PARTITION BY a.command) AS count, a.what, a.at, "
        "a.reason FROM attempt a JOIN command c ON c.command = a.command WHERE c.incident = $1 "
        "ORDER BY a.command, a.place DESC",
        incident,
    )
    return {row["command"]: Tries(row["count"], row["what"], row["at"], row["reason"]) for row in rows}


async def commands_of_line(unit: Unit, line: str, case: Case) -> list[Command]:
    """What was ordered for a line, oldest first. A drill sees its own orders only, and nobody sees a drill's."""
    rows = await unit.connection.fetch(
        f"{_COMMAND} WHERE line = $1 AND {SAME_WORLD} AND kind IN ('suspend_line', 'resume_line') ORDER BY place",
        line,
        case.organisation,
        case.drill,
        case.incident,
    )
    return [read_command(row) for row in rows]


async def open_for_device(unit: Unit, device: str, case: Case, *kinds: Kind) -> list[Command]:
    """Commands of these kinds that the device may still obey, of any incident. Drills and real cases are apart."""
    rows = await unit.connection.fetch(
        f"{_COMMAND} WHERE device = $1 AND {SAME_WORLD} AND kind = ANY ($5) AND state = ANY ($6) ORDER BY place",
        device,
        case.organisation,
        case.drill,
        case.incident,
        [kind.value for kind in kinds],
        [state.value for state in OPEN],
    )
    return [read_command(row) for row in rows]


async def unanswered(unit: Unit, device: str) -> list[Command]:
    """Real commands that this device has not answered, of any incident."""
    rows = await unit.connection.fetch(
        f"{_COMMAND} WHERE device = $1 AND NOT drill AND state = ANY ($2) ORDER BY place",
        device,
        [state.value for state in OPEN],
    )
    return [read_command(row) for row in rows]


def read_command(row: Any) -> Command:
    """A command by the names of its columns."""
    values = dict(row)
    statement, trigger = values["statement"], values["trigger"]
    return Command(
        **values
        | {
            "kind": Kind(values["kind"]),
            "state": State(values["state"]),
            "statement": WipeStatement.model_validate(statement) if statement else None,
            "trigger": SuspensionTrigger(trigger) if trigger else None,
        }
    )


async def add_command(unit: Unit, new: Command) -> None:
    """Store an order. Its timers carry it out."""
    await unit.connection.execute(_ADD_COMMANDS, [_row(new)])


def _row(command: Command) -> dict[str, Any]:
    statement = command.statement.model_dump(mode="json") if command.statement else None
    return {name: getattr(command, name) for name in COMMAND_COLUMNS} | {"statement": statement}


async def save_command(
    unit: Unit,
    command: Command,
    what: str,
    *,
    state: State | None = None,
    reason: str | None = None,
    evidence: bytes = b"",
) -> None:
    """Store where a command stands, and what was tried or heard that made it so."""
    await unit.connection.execute(
        _SAVE_AND_NOTE,
        *_noted(unit, command, what, state=state, reason=reason, evidence=evidence),
        command.state.value,
        command.sent_at,
        command.ended_at,
        command.disarming_at,
        command.reason,
    )


async def note(unit: Unit, command: Command, what: str, *, reason: str | None = None) -> None:
    """Keep what is tried with a command that stands as it stood."""
    await unit.connection.execute(_NOTE, *_noted(unit, command, what, reason=reason))


def _noted(
    unit: Unit, command: Command, what: str, *, reason: str | None, state: State | None = None, evidence: bytes = b""
) -> tuple[Any, ...]:
    """A row of `attempt`. A locate's evidence is a position: only its hash is kept here."""
    return (
        command.command,
        unit.now,
        what,
        state.value if state else None,
        reason,
        evidence if evidence and command.kind is not Kind.LOCATE else None,
        hashlib.sha256(evidence).hexdigest() if evidence else None,
    )


async def keep_webhook(unit: Unit, sha256: str, *, udid: str, topic: str, command: str | None) -> bool | None:
    """Keep that a webhook came; whether it is a word about a command of ours, from the very device that it was sent to.
    None when the very same one came before."""
    known: bool | None = await unit.connection.fetchval(
        _KEEP_WEBHOOK, sha256, unit.now, udid[:200], topic[:80], command, [kind.value for kind in DEVICE_KINDS], udid
    )
    return known


async def is_firing(unit: Unit, subject: str, timer: str) -> bool:
    """Whether a timer's handler may be at work now."""
    return bool(
        await unit.connection.fetchval("SELECT attempt > 0 FROM timer WHERE subject = $1 AND name = $2", subject, timer)
    )
