"""The playbook: which steps a lost phone gets, in which order, and which of them start now.

A playbook is versioned data (`rules/playbooks/*.yaml`). `plan` lays it over one phone.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.mdm_actions.domain.command import Kind
from shared.events.mdm_actions import PlannedStep
from shared.events.payload import Answer, Ownership


class Step(StrEnum):
    """The steps a playbook is made of."""

    REVOKE_SESSIONS = "revoke_sessions"
    LOCK = "lock"
    LOCATE = "locate"
    WIPE = "wipe"
    SUSPEND_LINE = "suspend_line"


_ORDER = tuple(Step)
"""Reversible first, the line last: locating needs the lock, wiping ends locating, and both need the line."""


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BreakerRule(_Rule):
    """How many wipes are still an incident and not an attack."""

    wipes_per_window: int = Field(ge=1)
    window_minutes: int = Field(ge=1)
    wipes_per_approver: int = Field(ge=1, description="In the approver window, counting either signature.")
    approver_window_hours: int = Field(ge=1)
    fleet_share_percent: float = Field(gt=0, le=100)
    fleet_window_hours: int = Field(ge=1)
    fleet_minimum: int = Field(ge=1, description="A small fleet may always lose this many.")


class Playbook(_Rule):
    """One version of the company's answer to a lost phone."""

    playbook: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    version: int = Field(ge=1)
    sources: list[str] = []
    steps: list[Step] = Field(min_length=1)
    lost_mode_message: dict[str, str] = Field(description="By language: what the finder reads on the screen.")
    locate_every_minutes: int = Field(ge=1, le=1440)
    line_action: str = Field(pattern="^(suspend|deactivate)$")
    line_timer_hours: int = Field(ge=1, description="The line is stopped by then even if the wipe has not ended.")
    manual_task_minutes: int = Field(ge=1)
    breaker: BreakerRule

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.steps != [step for step in _ORDER if step in self.steps]:
            raise ValueError(f"steps must keep the order {', '.join(_ORDER)}")
        return self

    @property
    def locate_every(self) -> timedelta:
        return timedelta(minutes=self.locate_every_minutes)

    @property
    def line_timer(self) -> timedelta:
        return timedelta(hours=self.line_timer_hours)

    @property
    def manual_task_due(self) -> timedelta:
        return timedelta(minutes=self.manual_task_minutes)


class Target(BaseModel):
    """What a plan has to know about the lost phone."""

    model_config = ConfigDict(frozen=True)

    ownership: Ownership | None = None
    supervised: Answer = Answer.UNKNOWN
    managed: bool = False
    account: bool = False
    line: bool = False
    line_by_hand: bool = False

    @property
    def takes_lost_mode(self) -> bool:
        """Lost mode needs supervision, and a personally enrolled phone forbids it: there the screen is locked."""
        return self.supervised is Answer.YES and self.ownership is Ownership.COMPANY


class Planned(BaseModel):
    """A step laid over a phone: `kind` is set when the step can be carried out."""

    model_config = ConfigDict(frozen=True)

    step: Step
    state: str
    reason: str | None = None
    kind: Kind | None = None

    def event(self) -> PlannedStep:
        return PlannedStep(step=self.step, state=self.state, reason=self.reason)


def plan(playbook: Playbook, target: Target, *, verified: bool) -> list[Planned]:
    """Every step of the playbook for this phone. Reversible steps start now once the report counts as genuine."""
    return [_lay(step, target, verified) for step in playbook.steps]


def _lay(step: Step, target: Target, verified: bool) -> Planned:
    obstacle = _obstacle(step, target)
    if obstacle:
        return Planned(step=step, state="not_supported", reason=obstacle)
    match step:
        case Step.WIPE:
            return Planned(step=step, state="waiting", reason="two_signatures", kind=Kind.WIPE)
        case Step.SUSPEND_LINE:
            state = "manual" if target.line_by_hand else "waiting"
            return Planned(step=step, state=state, reason="after_wipe", kind=Kind.SUSPEND_LINE)
        case _ if verified:
            return Planned(step=step, state="now", kind=_kind(step, target))
        case _:
            return Planned(step=step, state="waiting", reason="report_not_verified", kind=_kind(step, target))


def _obstacle(step: Step, target: Target) -> str | None:
    obstacles = {
        Step.REVOKE_SESSIONS: {"no_account": not target.account},
        Step.LOCK: {"not_managed": not target.managed},
        Step.LOCATE: {"not_managed": not target.managed, "not_supervised": not target.takes_lost_mode},
        # Unknown ownership counts as personal: a wipe must be sure.
        Step.WIPE: {"personal_device": target.ownership is not Ownership.COMPANY, "not_managed": not target.managed},
        Step.SUSPEND_LINE: {"no_line": not target.line},
    }
    return next((reason for reason, stands in obstacles[step].items() if stands), None)


def _kind(step: Step, target: Target) -> Kind:
    match step:
        case Step.REVOKE_SESSIONS:
            return Kind.REVOKE_SESSIONS
        case Step.LOCK if not target.takes_lost_mode:
            return Kind.LOCK
        case Step.LOCK:
            return Kind.LOST_MODE
        case _:
            return Kind.LOCATE
