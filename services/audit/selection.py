"""Which entries of a timeline somebody wants to see. Nothing but the page changes: proofs are those of the whole."""

from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from services.audit.story import Step, Story

UNKNOWN = "unknown"
"""Only entries that say that something is not known yet, or that name a cause nobody has recorded."""


@dataclass(frozen=True, slots=True)
class Selection:
    """All that are given must hold. `name`: of the event, such as `device-lost`; `by`: a person or a service; `since`
    and `until`: days by the clock of recording, in `zone`; `only`: `UNKNOWN`."""

    name: str | None = None
    by: str | None = None
    since: date | None = None
    until: date | None = None
    only: str | None = None

    def steps(self, story: Story, zone: ZoneInfo) -> list[Step]:
        """The entries to show, in their order. A seal has no clock: a day leaves it out."""
        return [step for step in story.steps if self._wants(step) and self._in_time(step, zone)]

    def _wants(self, step: Step) -> bool:
        return (
            (self.name is None or step.name == self.name)
            and (self.by is None or who(step) == self.by)
            and (self.only != UNKNOWN or bool(step.unknown) or _cause_is_missing(step))
        )

    def _in_time(self, step: Step, zone: ZoneInfo) -> bool:
        if self.since is None and self.until is None:
            return True
        if step.recorded_at is None:
            return False
        day = step.recorded_at.astimezone(zone).date()
        return (self.since is None or day >= self.since) and (self.until is None or day <= self.until)


def who(step: Step) -> str:
    """A person's reference, or a service by its name."""
    reference, name = step.who
    return name if reference == "service" else reference


def names(story: Story) -> list[str]:
    """The kinds of entries that the story has, to choose from, as they first come."""
    return list(dict.fromkeys(step.name for step in story.steps))


def actors(story: Story) -> dict[str, list[str]]:
    """Those who did something in the story, to choose from, each with the roles in which they did it: a service has
    none."""
    found: dict[str, list[str]] = {}
    for step in story.steps:
        reference, role = step.who
        roles = found.setdefault(who(step), [])
        if reference != "service" and role not in roles:
            roles.append(role)
    found.pop("", None)
    return found


def _cause_is_missing(step: Step) -> bool:
    return step.cause is not None and step.cause_seq is None
