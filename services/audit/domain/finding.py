"""What does not add up in the log. A finding is an event of its own, never a change of what is recorded."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from shared.events import Envelope

LOG_SUBJECT = "log"
"""The subject of a finding that no incident can be named for."""
INSTALLATION = "installation"
"""The organisation of such a finding: it concerns whoever runs the installation."""


class FindingCode(StrEnum):
    """What is wrong. A record that was rejected has the reason of its rejection instead."""

    OFFSETS_MISSING = "offsets_missing"
    SEQUENCE_GAP = "sequence_gap"
    """Events of this source about this subject are missing before it."""
    SEQUENCE_STEP_BACK = "sequence_step_back"
    """Its sequence was passed already, and it is not an event that is recorded: services will not act on it."""
    SEQUENCE_TAKEN = "sequence_taken"
    """Two events claim the same sequence."""
    EVENT_ID_REUSED = "event_id_reused"
    """Another event of the same source and id is recorded, and it says something else."""
    CAUSE_UNKNOWN = "cause_unknown"
    """It names a cause that is not in the log."""
    WITNESS_REFUSED = "witness_refused"
    """A witness did not sign a checkpoint; nothing is published until it does."""
    WITNESS_FORK = "witness_fork"
    """A witness knows another history of the log."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not add up. `at` is the place of the entry in its batch."""

    code: str
    at: int
    topic: str
    partition: int
    offset: int
    envelope: Envelope | None = None


def to_report(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that name an incident, all; of the others the first of each code and partition in a batch, so that a
    flood of forged records does not become a flood of alerts. The timeline has every record."""
    seen: set[tuple[str, str, int]] = set()
    reported: list[Finding] = []
    for finding in findings:
        kind = (finding.code, finding.topic, finding.partition)
        if finding.envelope is None and kind in seen:
            continue
        seen.add(kind)
        reported.append(finding)
    return reported
