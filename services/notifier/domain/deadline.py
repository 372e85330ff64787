"""How a time limit of a law is counted: which day is the first, whether the last one rolls, whose calendar."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from shared.events.payload import in_zone

_DAY = timedelta(days=1)
_END_OF_DAY = time(23, 59, 59)
_OFFICE_CLOSES = time(17, 0)


@dataclass(frozen=True)
class Calendar:
    """The days of one jurisdiction."""

    zone: ZoneInfo
    closed: Callable[[date], bool]
    """Whether authorities are closed on that day."""

    def next_open(self, day: date) -> date:
        """`day` itself when it is open, else the next open one."""
        while self.closed(day):
            day += _DAY
        return day

    def last_open(self, day: date) -> date:
        """`day` itself when it is open, else the open one before it."""
        while self.closed(day):
            day -= _DAY
        return day


class Deadline(BaseModel):
    """A time limit as a rule pack states it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(ge=1)
    unit: Literal["hours", "calendar_days", "business_days"]
    counting: Literal["day1_inclusive", "exclusive"] = Field(
        "exclusive", description="day1_inclusive: the day of knowledge is day 1. Hours are always counted exactly."
    )
    roll: Literal["none", "next_business_day"] = "none"

    def due(self, known_at: datetime, calendar: Calendar) -> datetime:
        """The last moment, in the zone of the calendar. Limits in days end at 23:59:59 of the last day."""
        known = in_zone(known_at, calendar.zone)
        if self.unit == "hours":
            # Elapsed time, so that a change to summer time neither gives nor takes an hour.
            return datetime.fromtimestamp(known.timestamp() + self.count * 3600, calendar.zone)
        steps = self.count - 1 if self.counting == "day1_inclusive" else self.count
        day = self._after(known.date(), steps, calendar)
        if self.roll == "next_business_day":
            day = calendar.next_open(day)
        return datetime.combine(day, _END_OF_DAY, calendar.zone)

    def _after(self, day: date, steps: int, calendar: Calendar) -> date:
        if self.unit == "calendar_days":
            return day + steps * _DAY
        if self.counting == "day1_inclusive":
            day = calendar.next_open(day)
        for _ in range(steps):
            day = calendar.next_open(day + _DAY)
        return day


def last_call(known_at: datetime, due: datetime, calendar: Calendar) -> datetime | None:
    """When to call people a last time before a deadline that falls on a closed day: 17:00 on the open day before.

    None when the last day is open, and when that moment had passed before the duty was known: a loss on a Friday night
    that is to be told within a day.
    """
    day = in_zone(due, calendar.zone).date()
    if not calendar.closed(day):
        return None
    call = datetime.combine(calendar.last_open(day), _OFFICE_CLOSES, calendar.zone)
    return call if call > known_at else None
