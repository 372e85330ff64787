"""Requests in: manual tasks, inventory, armed commands, breaker. Every answer is of one organisation."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from services.mdm_actions import breaker, fleet, store, tasks
from services.mdm_actions.domain.command import Kind, State, proof
from services.mdm_actions.fleet import Device
from services.mdm_actions.inventory import Import, Inventory
from services.mdm_actions.providers import LineReading
from services.mdm_actions.settlement import Settlement
from services.mdm_actions.store import Case, Command, Tries
from services.mdm_actions.tasks import Task
from shared.events.payload import Assurance, Code, Reference, Sha256, ToldInstant
from shared.messaging import Unit, Units
from shared.web import Identity, Person, Problem, Role, in_role
from shared.web.number import Number

_DESK = (Role.DESK, Role.LEAD)
_READERS = (Role.DESK, Role.LEAD, Role.APPROVER, Role.OPERATOR, Role.PRIVACY, Role.AUDITOR)
_RESETTERS = (Role.APPROVER, Role.LEAD)
IMPORT_PATH = "/v1/inventory/import"
MAX_IMPORT_BYTES = 20 * 1024 * 1024

_Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]

_DISARM = {
    "ja": "案件の画面で消去の取り下げ(または回収・取り消し)を行うと、この命令は解除されます。",
    "en": "Withdraw the wipe on the case page, or record the recovery, and this command is disarmed.",
}


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DoneBody(_Body):
    """What the person did. Without a reference of the carrier it counts as a statement only."""

    done_at: ToldInstant
    reference: Reference | None = None
    evidence: Sha256 | None = Field(None, description="SHA-256 of a screenshot or call note that is kept.")


class ReasonBody(_Body):
    """Why."""

    reason: Code


class BreakerBody(ReasonBody):
    """Why the breaker is closed again, and whether it is that of drills."""

    drill: StrictBool = False


def router(units: Units, identity: Identity, settlement: Settlement, inventory: Inventory) -> APIRouter:
    """All routes under `/v1`."""
    routes = APIRouter(prefix="/v1")
    _tasks(routes, units, identity, settlement)
    _inventory(routes, units, identity, inventory)
    _commands(routes, units, identity)
    _breaker(routes, units, identity)
    return routes


def _tasks(routes: APIRouter, units: Units, identity: Identity, settlement: Settlement) -> None:
    Desk = Annotated[Person, Depends(identity.require(*_DESK))]  # noqa: N806 - a type

    @routes.get("/tasks")
    async def listed(person: Desk, ended: bool = False) -> dict[str, Any]:
        """Manual tasks, the most urgent first; with `ended` those that are over."""
        async with units.begin() as unit:
            found = await tasks.tasks(
                unit, person.organisation, ["confirmed", "withdrawn"] if ended else ["open", "done"]
            )
            return {"tasks": [_task(task, unit.now) for task in found]}

    @routes.post("/tasks/{task}/done")
    async def done(task: _Uuid, body: DoneBody, person: Desk) -> dict[str, Any]:
        """One person says that it was done."""
        async with units.begin() as unit:
            found, _, _ = await _of_task(unit, task, person)
            if found.state not in ("open", "done"):
                raise _task_ended(found)
            if body.done_at > unit.now or body.done_at < found.opened_at:
                raise Problem(
                    422,
                    "moment_impossible",
                    ja="完了時刻は、依頼の時刻から現在までの間にしてください。",
                    en="done_at must lie between the opening of the task and now.",
                )
            await tasks.mark_done(
                unit, found, person.ref, done_at=body.done_at, reference=body.reference, evidence=body.evidence
            )
            return _task(await _task_again(unit, task, person), unit.now)

    @routes.post("/tasks/{task}/confirm")
    async def confirm(task: _Uuid, person: Desk) -> dict[str, Any]:
        """Another person confirms it; only then the line counts as stopped, or as working again."""
        async with units.begin() as unit:
            found, case, command = await _of_task(unit, task, person)
            if found.state != "done" or found.done_at is None:
                raise _task_ended(found) if found.state != "open" else _not_done()
            if found.done_by == person.ref:
                raise Problem(
                    409,
                    "same_person",
                    ja="実施した人とは別の人が確認してください。",
                    en="Somebody else than the person who did it has to confirm it.",
                )
            await tasks.mark_confirmed(unit, case, found, person.ref, in_role(person, _DESK).actor)
            assurance = Assurance.CARRIER_REFERENCE if found.reference else Assurance.HUMAN_STATEMENT
            reading = LineReading(command.kind is Kind.RESUME_LINE, "by_hand", assurance, found.done_at)
            await settlement.hear(unit, case, command, reading, source="person", reference=found.reference)
            return _task(await _task_again(unit, task, person), unit.now)


def _inventory(routes: APIRouter, units: Units, identity: Identity, inventory: Inventory) -> None:
    Operator = Annotated[Person, Depends(identity.require(Role.OPERATOR))]  # noqa: N806 - a type
    Reader = Annotated[Person, Depends(identity.require(*_READERS))]  # noqa: N806 - a type

    @routes.post("/inventory/import")
    async def import_(request: Request, person: Operator, apply: bool = False) -> dict[str, Any]:
        """Lay a CSV file over the inventory. Without `apply`, or with a bad row, it only says what would change."""
        try:
            text = (await request.body()).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Problem(
                422, "not_utf8", ja="ファイルを UTF-8 で保存してください。", en="Save the file as UTF-8."
            ) from error
        found = await inventory.check(person.organisation, text)
        applied = apply and not found.bad
        if applied:
            await inventory.apply(person.organisation, found, person.actor(Role.OPERATOR))
        return {"applied": applied, **_changes(found)}

    @routes.get("/devices")
    async def devices(
        person: Reader,
        after: Annotated[str, Query(max_length=40)] = "",
        limit: Annotated[Number, Query(ge=1, le=1000)] = 200,
    ) -> dict[str, Any]:
        """The organisation's phones by asset tag; `after` is the last tag of the page before."""
        async with units.begin() as unit:
            found = await fleet.devices(unit, person.organisation, after, limit)
        return {"devices": [_device(device) for device in found]}

    @routes.post("/devices/{device}/retire")
    async def retire(device: _Uuid, body: ReasonBody, person: Operator) -> dict[str, Any]:
        """A phone leaves the inventory."""
        actor = person.actor(Role.OPERATOR)
        if not await inventory.retire(person.organisation, device, body.reason, actor):
            raise _not_found()
        return {"device": device, "retired": True}


def _commands(routes: APIRouter, units: Units, identity: Identity) -> None:
    Reader = Annotated[Person, Depends(identity.require(*_READERS))]  # noqa: N806 - a type

    @routes.get("/incidents/{incident}/commands")
    async def commands(incident: _Uuid, person: Reader) -> dict[str, Any]:
        """What was ordered in an incident, how each order stands, and what is armed."""
        async with units.begin() as unit:
            case = await store.case(unit, incident)
            if case is None or case.organisation != person.organisation:
                raise _not_found()
            tries = await store.tries_of(unit, incident)
            found = await store.commands_of(unit, incident)
            return {
                "incident": incident,
                "state": case.state.value,
                "decision_version": case.decision_version,
                "commands": [_command(command, tries.get(command.command), unit.now) for command in found],
            }


def _breaker(routes: APIRouter, units: Units, identity: Identity) -> None:
    Reader = Annotated[Person, Depends(identity.require(*_READERS))]  # noqa: N806 - a type
    Resetter = Annotated[Person, Depends(identity.require(*_RESETTERS))]  # noqa: N806 - a type

    @routes.get("/breaker")
    async def state(person: Reader, drill: bool = False) -> dict[str, Any]:
        """Whether wipes are held."""
        async with units.begin() as unit:
            return _breaker_state(await breaker.load(unit, person.organisation, drill))

    @routes.post("/breaker/reset")
    async def reset(body: BreakerBody, person: Resetter) -> dict[str, Any]:
        """Ask for the reset; it happens when a second person asks within the hour."""
        async with units.begin() as unit:
            after = await breaker.reset(
                unit,
                person.organisation,
                body.drill,
                person=person.ref,
                actor=in_role(person, _RESETTERS).actor,
                reason=body.reason,
            )
        return _breaker_state(after)


async def _of_task(unit: Unit, name: str, person: Person) -> tuple[Task, Case, Command]:
    """The task, its case and its command, under the lock on the incident. Raises `Problem` 404."""
    found = await tasks.task(unit, name, person.organisation)
    if found is None:
        raise _not_found()
    await unit.lock(found.incident)
    case, command = await store.case(unit, found.incident), await store.command(unit, name)
    if case is None or command is None:
        raise _not_found()
    return await _task_again(unit, name, person), case, command


async def _task_again(unit: Unit, name: str, person: Person) -> Task:
    found = await tasks.task(unit, name, person.organisation)
    if found is None:
        raise _not_found()
    return found


def _not_found() -> Problem:
    return Problem(404, "not_found", ja="見つかりません。", en="There is nothing of this id.")


def _not_done() -> Problem:
    return Problem(409, "task_not_done", ja="まだ実施されていません。", en="Nobody has done it yet.")


def _task_ended(task: Task) -> Problem:
    return Problem(
        409, "task_ended", ja="この作業は終わっています。", en=f"This task is over: {task.state}.", state=task.state
    )


def _task(task: Task, now: datetime) -> dict[str, Any]:
    return {
        "task": task.task,
        "incident": task.incident,
        "kind": task.kind,
        "carrier": task.carrier,
        "instructions": task.instructions,
        "state": task.state,
        "opened_at": task.opened_at,
        "due_at": task.due_at,
        "overdue": task.state in ("open", "done") and now > task.due_at,
        "done_by": task.done_by,
        "done_at": task.done_at,
        "reference": task.reference,
        "evidence": task.evidence,
        "confirmed_by": task.confirmed_by,
        "confirmed_at": task.confirmed_at,
    }


def _changes(found: Import) -> dict[str, Any]:
    return {
        "added": found.changes.added,
        "changed": [{"asset_tag": change.asset_tag, "columns": change.columns} for change in found.changes.changed],
        "unchanged": found.changes.unchanged,
        "missing": found.changes.missing,
        "bad": _bad(found),
    }


def _bad(found: Import) -> list[dict[str, Any]]:
    return [{"line": row.line, "reason": row.reason} for row in found.bad[:1000]]


def _device(device: Device) -> dict[str, Any]:
    return {
        "device": device.device,
        **device.facts.model_dump(mode="json", exclude_none=True),
        "last_seen_at": device.last_seen_at,
        "enrolled_at": device.enrolled_at,
    }


def _command(command: Command, tries: Tries | None, now: datetime) -> dict[str, Any]:
    armed = command.kind is Kind.WIPE and command.open
    shown: dict[str, Any] = {
        "command": command.command,
        "kind": command.kind.value,
        "state": command.state.value,
        "provider": command.provider,
        "device": command.device,
        "line": command.line,
        "reason": command.reason,
        "armed": armed,
        "age_seconds": int((now - command.ordered_at).total_seconds()),
        "ordered_at": command.ordered_at,
        "sent_at": command.sent_at,
        "ended_at": command.ended_at,
        "expires_at": command.expires_at,
        "tries": None,
    }
    if tries:
        shown["tries"] = {"count": tries.count, "last": tries.what, "at": tries.at, "reason": tries.reason}
    if command.kind in (Kind.WIPE, Kind.LOCK, Kind.LOST_MODE):
        shown["proof"] = proof(command.state, sent=command.sent_at is not None).value
    if armed and command.state is not State.REQUESTED:
        shown["disarming"] = command.disarming_at is not None
    if armed:
        shown["how_to_disarm"] = _DISARM
    return shown


def _breaker_state(state: breaker.Breaker) -> dict[str, Any]:
    return {
        "open": state.open,
        "opened_at": state.opened_at,
        "reason": state.reason,
        "asked_by": list(state.asked_by),
        "asked_at": state.asked_at,
    }
