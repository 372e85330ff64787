"""The breaker: when too many phones are to be wiped, nobody's signature is enough until two people look.

A stolen administrator account once wiped tens of thousands of phones in a night; a real company loses a few a week.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.mdm_actions.domain.playbook import BreakerRule


@dataclass(frozen=True)
class PastWipe:
    """A wipe that was let through, and who signed it."""

    at: datetime
    people: Collection[str]


@dataclass(frozen=True)
class Trip:
    """Which limit one more wipe would break."""

    reason: str
    count: int
    limit: int
    window: timedelta


def judge(
    rule: BreakerRule, past: Sequence[PastWipe], people: Collection[str], fleet: int, now: datetime
) -> Trip | None:
    """None lets the wipe through. `past` holds the organisation's wipes since the breaker was last reset."""
    window = timedelta(minutes=rule.window_minutes)
    count = _within(past, now, window) + 1
    if count > rule.wipes_per_window:
        return Trip("wipes_per_window", count, rule.wipes_per_window, window)

    window = timedelta(hours=rule.approver_window_hours)
    for person in people:
        count = _within([wipe for wipe in past if person in wipe.people], now, window) + 1
        if count > rule.wipes_per_approver:
            return Trip("wipes_per_approver", count, rule.wipes_per_approver, window)

    window = timedelta(hours=rule.fleet_window_hours)
    limit = max(rule.fleet_minimum, int(fleet * rule.fleet_share_percent / 100))
    count = _within(past, now, window) + 1
    if count > limit:
        return Trip("share_of_fleet", count, limit, window)
    return None


def _within(past: Sequence[PastWipe], now: datetime, window: timedelta) -> int:
    return sum(now - wipe.at < window for wipe in past)


@dataclass(frozen=True)
class Reset:
    """How far a reset is: `complete` once two different people asked for it."""

    people: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return len(self.people) >= 2

    def with_person(self, person: str) -> "Reset":
        return self if person in self.people else Reset((*self.people, person))
