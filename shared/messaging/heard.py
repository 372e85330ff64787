"""Repeats and gaps: the last sequence that was heard of each source and subject."""

from collections.abc import Sequence
from enum import Enum, auto

from shared.events import Event
from shared.messaging.unit import Unit

_LAST = """
SELECT source, subject, sequence, event_id FROM heard
WHERE (source, subject) IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""

# An event that was parked and now acts as another copy of itself must not act a third time when it is redriven.
_KEEP = """
WITH settled AS (
    UPDATE parked SET settled_at = now(), settled_by = 'copy'
    WHERE settled_at IS NULL AND (source, event_id) IN (SELECT * FROM unnest($5::text[], $6::text[])))
INSERT INTO heard (source, subject, sequence, event_id)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
ON CONFLICT (source, subject) DO UPDATE SET sequence = excluded.sequence, event_id = excluded.event_id
"""


class Verdict(Enum):
    """What the sequence of an event says."""

    NEXT = auto()
    REPEAT = auto()
    """It was heard before."""
    GAP = auto()
    """Events before it are missing. It is nevertheless heard: what it says is signed."""
    CONFLICT = auto()
    """Its place was taken by another event: two events claim one sequence."""


async def hear(unit: Unit, events: Sequence[Event]) -> list[Verdict]:
    """A verdict for each event, in order, remembered when the unit commits."""
    if not events:
        return []
    pairs = sorted({(event.envelope.source, event.envelope.subject) for event in events})
    rows = await unit.connection.fetch(_LAST, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    last: dict[tuple[str, str], tuple[int, str]] = {
        (row["source"], row["subject"]): (row["sequence"], row["event_id"]) for row in rows
    }
    before = dict(last)
    verdicts = [_judge(last, event) for event in events]
    moved = [(*pair, *place) for pair, place in sorted(last.items()) if before.get(pair) != place]
    if moved:
        acting = [
            (event.envelope.source, event.envelope.id)
            for event, verdict in zip(events, verdicts, strict=True)
            if verdict in (Verdict.NEXT, Verdict.GAP)
        ]
        await unit.connection.execute(
            _KEEP, *map(list, zip(*moved, strict=True)), *map(list, zip(*acting, strict=True))
        )
    return verdicts


def _judge(last: dict[tuple[str, str], tuple[int, str]], event: Event) -> Verdict:
    pair = (event.envelope.source, event.envelope.subject)
    sequence, event_id = last.get(pair, (0, ""))
    if event.envelope.sequence <= sequence:
        same_place = event.envelope.sequence == sequence
        return Verdict.CONFLICT if same_place and event.envelope.id != event_id else Verdict.REPEAT
    last[pair] = (event.envelope.sequence, event.envelope.id)
    return Verdict.NEXT if event.envelope.sequence == sequence + 1 else Verdict.GAP
