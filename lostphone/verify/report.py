"""What a verification found, for people and for programs."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lostphone.screen import COULD_NOT, DONE, NO, Sentence
from services.audit.feeds.ocsf_text import neutral

_MAX_WORDS = 2_000


def plain(words: object) -> str:
    """For a screen. What is judged chose some of the words: they stay on their line, and no terminal obeys them."""
    return neutral(str(words), limit=_MAX_WORDS)


class Outcome(StrEnum):
    """The outcome of one check."""

    PROVED = "proved"
    DISPROVED = "disproved"
    NOT_DECIDABLE = "not_decidable"


@dataclass(frozen=True, slots=True)
class Offence:
    """One thing that disproves the log. `seq` is the entry, where one can be named."""

    check: str
    reason: Sentence
    seq: int | None = None

    def document(self) -> dict[str, Any]:
        return {"check": self.check, "reason": self.reason.en, "seq": self.seq}


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its outcome."""

    name: str
    outcome: Outcome
    detail: Sentence


@dataclass(slots=True)
class Report:
    """All checks of one log."""

    origin: str | None = None
    size: int | None = None
    root: str | None = None
    keys: list[str] = field(default_factory=list)
    """Which of the reader's keys signed the checkpoint."""
    kinds: dict[str, int] = field(default_factory=dict)
    subjects: int = 0
    partitions: dict[str, int] = field(default_factory=dict)
    """The next offset of each partition that the log covers without a hole."""
    checks: list[Check] = field(default_factory=list)
    offences: list[Offence] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)
    """What is odd and disproves nothing."""

    @property
    def first_offence(self) -> Offence | None:
        """The one with the lowest entry; one that names no entry comes last."""
        return min(self.offences, key=lambda offence: (offence.seq is None, offence.seq or 0), default=None)

    @property
    def outcome(self) -> Outcome:
        outcomes = {check.outcome for check in self.checks}
        for worst in (Outcome.DISPROVED, Outcome.NOT_DECIDABLE):
            if worst in outcomes:
                return worst
        return Outcome.PROVED if outcomes else Outcome.NOT_DECIDABLE

    @property
    def exit_status(self) -> int:
        return {Outcome.PROVED: DONE, Outcome.DISPROVED: NO, Outcome.NOT_DECIDABLE: COULD_NOT}[self.outcome]

    def add(self, name: str, ja: str, en: str, *, undecided: Sentence | None = None) -> None:
        """Conclude one check: disproved when an offence of it was found."""
        own = [offence for offence in self.offences if offence.check == name]
        if own:
            first, others = own[0].reason, len(own) - 1
            if others:
                first = Sentence(f"{first.ja}（ほか {others} 件）", f"{first.en} (and {others} more)")
            self.checks.append(Check(name, Outcome.DISPROVED, first))
        elif undecided is not None:
            self.checks.append(Check(name, Outcome.NOT_DECIDABLE, undecided))
        else:
            self.checks.append(Check(name, Outcome.PROVED, Sentence(ja, en)))

    def document(self) -> dict[str, Any]:
        """For programs."""
        first = self.first_offence
        return {
            "outcome": self.outcome,
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "keys": self.keys,
            "kinds": self.kinds,
            "subjects": self.subjects,
            "partitions": self.partitions,
            "checks": [
                {"name": check.name, "outcome": check.outcome, "detail": check.detail.en} for check in self.checks
            ],
            "first_offence": None if first is None else first.document(),
            "offences": [offence.document() for offence in self.offences[:100]],
            "findings": self.findings,
        }
