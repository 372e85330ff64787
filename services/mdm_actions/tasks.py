"""What no interface can do, and a person must: one does it and gives the carrier's reference, another confirms it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from services.mdm_actions.containment import ACTOR
from services.mdm_actions.providers import HandOver
from services.mdm_actions.store import Case, Command
from shared.events.mdm_actions import ManualTaskDone, ManualTaskOpened
from shared.messaging import Unit

type TaskState = Literal["open", "done", "confirmed", "withdrawn"]


@dataclass(frozen=True)
class Task:
    """One manual task; its id is that of the command it stands for."""

    task: str
    incident: str
    kind: str
    carrier: str
    instructions: dict[str, str]
    state: TaskState
    opened_at: datetime
    due_at: datetime
    done_by: str | None
    done_at: datetime | None
    reference: str | None
    evidence: str | None
    confirmed_by: str | None
    confirmed_at: datetime | None


_TASK = """
SELECT task, incident, kind, carrier, instructions, state, opened_at, due_at, done_by, done_at, reference, evidence,
       confirmed_by, confirmed_at
FROM task
"""


async def open_task(unit: Unit, case: Case, command: Command, hand_over: HandOver) -> None:
    """Put it on the desk's list, and say so."""
    due_at = unit.now + case.playbook.manual_task_due
    await unit.connection.execute(
        "INSERT INTO task (task, organisation, incident, kind, carrier, instructions, state, opened_at, due_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, 'open', $7, $8)",
        command.command,
        case.organisation,
        case.incident,
        command.kind.value,
        command.provider,
        dict(hand_over.instructions),
        unit.now,
        due_at,
    )
    opened = ManualTaskOpened(task=command.command, kind=command.kind.value, carrier=command.provider, due_at=due_at)
    await unit.emit(opened, case.scope, actor=ACTOR, cause=command.cause)


async def task(unit: Unit, name: str, organisation: str) -> Task | None:
    """The organisation's task of this id."""
    row = await unit.connection.fetchrow(f"{_TASK} WHERE task = $1 AND organisation = $2", name, organisation)
    return _task(row) if row else None


async def tasks(unit: Unit, organisation: str, states: list[TaskState]) -> list[Task]:
    """The organisation's tasks in these states, the most urgent first."""
    rows = await unit.connection.fetch(
        f"{_TASK} WHERE organisation = $1 AND state = ANY ($2) ORDER BY due_at LIMIT 500",
        organisation,
        states,
    )
    return [_task(row) for row in rows]


def _task(row: Any) -> Task:
    return Task(**dict(row))


async def mark_done(
    unit: Unit, task: Task, person: str, *, done_at: datetime, reference: str | None, evidence: str | None
) -> None:
    """One person did it. Until another confirms, it can be reported again."""
    await unit.connection.execute(
        "UPDATE task SET state = 'done', done_by = $2, done_at = $3, reference = $4, evidence = $5 WHERE task = $1",
        task.task,
        person,
        done_at,
        reference,
        evidence,
    )


async def mark_confirmed(unit: Unit, case: Case, task: Task, person: str, actor: str) -> None:
    """Another person confirmed it, and `ManualTaskDone` says so."""
    if task.done_by is None or task.done_at is None:
        raise ValueError(f"task {task.task} was not done")
    await unit.connection.execute(
        "UPDATE task SET state = 'confirmed', confirmed_by = $2, confirmed_at = $3 WHERE task = $1",
        task.task,
        person,
        unit.now,
    )
    done = ManualTaskDone(
        task=task.task,
        kind=task.kind,
        done_by=task.done_by,
        confirmed_by=person,
        reference=task.reference,
        evidence=task.evidence,
        done_at=task.done_at,
    )
    await unit.emit(done, case.scope, actor=actor)


async def withdraw(unit: Unit, command: Command) -> bool:
    """Take a task that nobody has done off the list; False when somebody has."""
    done: str = await unit.connection.execute(
        "UPDATE task SET state = 'withdrawn' WHERE task = $1 AND state = 'open'", command.command
    )
    return done == "UPDATE 1"
