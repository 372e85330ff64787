"""Repeats and gaps: the last sequence that was heard of each source and subject."""

from collections.abc import Sequence
from enum import Enum, auto

from shared.events import Event
from shared.messaging.unit import Unit
from shared.postgres.literals import integers, texts

# One statement reads what was heard and remembers what is newer, in the order of the keys, so that two that share
# subjects never wait for each other.
_HEAR = """
INSERT INTO heard (source, subject, sequence, event_id)
SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[], $4::text::text[])
ON CONFLICT (source, subject) DO UPDATE SET
    sequence = greatest(heard.sequence, excluded.sequence),
    event_id = CASE WHEN excluded.sequence > heard.sequence THEN excluded.event_id ELSE heard.event_id END
RETURNING source, subject, old.sequence, old.event_id,
    (SELECT EXISTS (SELECT FROM parked WHERE settled_at IS NULL)) AS some_are_parked
"""

# An event that was parked and now acts as another copy of itself must not act a third time when it is redriven.
_SETTLE = """
UPDATE parked SET settled_at = now(), settled_by = 'copy'
WHERE settled_at IS NULL AND (source, event_id) IN (SELECT * FROM unnest($1::text::text[], $2::text::text[]))
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
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    for envelope in (event.envelope for event in events):
        pair = (envelope.source, envelope.subject)
        if pair not in newest or envelope.sequence > newest[pair][0]:
            newest[pair] = (envelope.sequence, envelope.id)
    pairs = sorted(newest)
    rows = await unit.connection.fetch(
        _HEAR,
        texts(source for source, _ in pairs),
        texts(subject for _, subject in pairs),
        integers(newest[pair][0] for pair in pairs),
        texts(newest[pair][1] for pair in pairs),
    )
    last = {
        (row["source"], row["subject"]): (row["sequence"], row["event_id"])
        for row in rows
        if row["sequence"] is not None
    }
    verdicts = [_judge(last, event) for event in events]
    if rows[0]["some_are_parked"]:
        acting = [
            event.envelope
            for event, verdict in zip(events, verdicts, strict=True)
            if verdict in (Verdict.NEXT, Verdict.GAP)
        ]
        await unit.connection.execute(
            _SETTLE, texts(envelope.source for envelope in acting), texts(envelope.id for envelope in acting)
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
