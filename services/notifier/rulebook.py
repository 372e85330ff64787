"""Rule packs from their files, with the calendars they count in."""

from collections.abc import Iterable
from datetime import date
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import holidays
import yaml
from pydantic import ValidationError

from services.notifier.domain.deadline import Calendar
from services.notifier.domain.rules import Jurisdiction, RulePack


class RulePackError(ValueError):
    """A rule pack cannot be used; the text names the file and what is wrong."""


def calendar(country: str, zone: str) -> Calendar:
    """Saturdays, Sundays and national holidays; for Japan also 29 December to 3 January, when offices are closed
    (Act on Holidays of Administrative Organs, Article 1)."""
    national = holidays.country_holidays(country)

    @cache
    def closed(day: date) -> bool:
        year_end = country == "JP" and ((day.month, day.day) >= (12, 29) or (day.month, day.day) <= (1, 3))
        return day.weekday() >= 5 or year_end or day in national

    return Calendar(ZoneInfo(zone), closed)


class Rulebook:
    """All rule packs of a folder, and which of them each organisation follows."""

    def __init__(self, folder: Path, chosen: dict[str, list[str]] | None = None) -> None:
        """`chosen`: organisation → names of the packs it follows; others follow the packs marked `default`.
        Raises RulePackError."""
        self._all = {item.pack.pack: item for item in _load(sorted(folder.glob("*.yaml")))}
        self._chosen = chosen or {}
        missing = sorted({name for names in self._chosen.values() for name in names} - set(self._all))
        if missing:
            raise RulePackError(f"no rule pack {', '.join(missing)} in {folder}")

    def of(self, organisation: str) -> list[Jurisdiction]:
        names = self._chosen.get(organisation)
        return [item for name, item in self._all.items() if (item.pack.default if names is None else name in names)]

    def title(self, rule: str, phase: str) -> dict[str, str]:
        """What people call the duty, by language."""
        for item in self._all.values():
            for known in item.pack.rules:
                if (known.id, known.phase) == (rule, phase):
                    return {str(language): text for language, text in known.title.items()}
        return {"ja": rule, "en": rule}

    def calendar(self, jurisdiction: str) -> Calendar | None:
        return next((item.calendar for item in self._all.values() if item.pack.jurisdiction == jurisdiction), None)


def _load(files: Iterable[Path]) -> Iterable[Jurisdiction]:
    for file in files:
        try:
            pack = RulePack.model_validate(yaml.safe_load(file.read_text()))
        except (yaml.YAMLError, ValidationError) as error:
            raise RulePackError(f"rule pack {file} is not valid: {error}") from error
        yield Jurisdiction(pack, calendar(pack.calendar, pack.zone))
