"""When a line may be stopped: last, because locating and wiping travel over it.

Misuse of the line can be the larger risk; then somebody says so by name, and it is stopped at once.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.events.mdm_actions import SuspensionTrigger


class IncidentState(StrEnum):
    """What this service has heard about an incident."""

    OPEN = "open"
    RECOVERED = "recovered"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class LineState(StrEnum):
    """What this service has done to a line."""

    ACTIVE = "active"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    RESUMING = "resuming"


@dataclass(frozen=True)
class LineCase:
    """One line in one incident."""

    incident: IncidentState
    verified: bool
    line: LineState | None


@dataclass(frozen=True)
class Hold:
    """The line stays as it is."""

    reason: str


def suspend(case: LineCase, trigger: SuspensionTrigger) -> SuspensionTrigger | Hold:
    """The trigger to suspend with, or why the line stays open."""
    if case.line is None:
        return Hold("no_line")
    if case.line in (LineState.SUSPENDING, LineState.SUSPENDED):
        return Hold("already_suspended")
    if case.incident in (IncidentState.RECOVERED, IncidentState.CANCELLED):
        return Hold("phone_is_back")
    if trigger is SuspensionTrigger.OTHER:
        return Hold("trigger_unknown")
    named = trigger in (SuspensionTrigger.NAMED_OVERRIDE, SuspensionTrigger.MISUSE)
    if not case.verified and not named:
        # An emergency report that nobody verified must not be able to cut somebody's line by waiting.
        return Hold("report_not_verified")
    return trigger


def named_trigger(reason: str) -> SuspensionTrigger:
    """How an order by a named person is recorded: as misuse when that is the reason given."""
    return SuspensionTrigger.MISUSE if "misuse" in reason else SuspensionTrigger.NAMED_OVERRIDE


def resume(line: LineState | None) -> Hold | None:
    """None when the line is to be resumed, or why there is nothing to resume."""
    if line is None:
        return Hold("no_line")
    if line in (LineState.ACTIVE, LineState.RESUMING):
        return Hold("not_suspended")
    return None
