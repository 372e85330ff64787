"""The usual case in one statement: records of which each is the next of its partition, and of its source and subject.

`claim` and `hear` say what is new and what is out of order; most batches are all new and in order. For those the SQL
function `take_in_turn` moves positions and sequences at once, or refuses with SQLSTATE LP001. `take_and_lock` does the
same, and locks subjects.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import asyncpg

from shared.events import Event, Reading
from shared.messaging.unit import Unit, Units
from shared.postgres.literals import integers, texts

_REFUSED = ("LP001", "23505")
"""Raised by `take_in_turn` and whatever else must hold for a batch to be taken at once; a unique key that is taken."""
_TAKE_AND_LOCK = """
SELECT locked, last_sequence FROM take_and_lock($1::text::text[], $2::text::integer[], $3::text::bigint[],
    $4::text::bigint[], $5::text::text[], $6::text::text[], $7::text::bigint[], $8::text::bigint[], $9::text::text[],
    $10::text::text[])
"""


@runtime_checkable
class TakesAtOnce(Protocol):
    """A sink that can take a usual batch in fewer steps."""

    async def take_at_once(self, units: Units, readings: Sequence[Reading]) -> bool:
        """Take a batch so that none of it is taken twice. False when nothing of it was kept: take it step by step."""


@dataclass(slots=True)
class _Run:
    """Sequences of one source about one subject, without a hole."""

    first: int
    last: int
    event_id: str


def arguments(readings: Sequence[Reading]) -> tuple[str, ...] | None:
    """The arguments of `take_in_turn`; None when the readings by themselves show that they are not in turn."""
    firsts: dict[tuple[str, int], int] = {}
    following: dict[tuple[str, int], int] = {}
    runs: dict[tuple[str, str], _Run] = {}
    for reading in readings:
        if not isinstance(reading, Event):
            return None
        received, envelope = reading.received, reading.envelope
        place = (received.topic, received.partition)
        if place not in firsts:
            firsts[place] = received.offset
        following[place] = received.offset + 1
        run = runs.get((envelope.source, envelope.subject))
        if run is None:
            runs[envelope.source, envelope.subject] = _Run(envelope.sequence, envelope.sequence, envelope.id)
        elif envelope.sequence == run.last + 1:
            run.last, run.event_id = envelope.sequence, envelope.id
        else:
            return None
    # In the order of their names, so that two that share some never wait for each other.
    places, runs = sorted(firsts), dict(sorted(runs.items()))
    return (
        texts(topic for topic, _ in places),
        integers(partition for _, partition in places),
        integers(firsts[place] for place in places),
        integers(following[place] for place in places),
        texts(source for source, _ in runs),
        texts(subject for _, subject in runs),
        integers(run.first for run in runs.values()),
        integers(run.last for run in runs.values()),
        texts(run.event_id for run in runs.values()),
    )


async def take_and_lock(unit: Unit, given: tuple[str, ...], subjects: Iterable[str]) -> None:
    """Take what `arguments` gave, and lock these subjects. Raises an error of which `is_refusal` says whether the
    records are not in turn."""
    rows = await unit.connection.fetch(_TAKE_AND_LOCK, *given, texts(subjects))
    unit.hold({row["locked"]: row["last_sequence"] for row in rows})


async def pass_over(pool: asyncpg.Pool, given: tuple[str, ...]) -> None:
    """Take what `arguments` gave where nothing follows from it. Raises as `take_and_lock` does."""
    await pool.execute(_TAKE_AND_LOCK, *given, texts(()))


def is_refusal(error: asyncpg.PostgresError) -> bool:
    """Whether a batch was refused because it is not what `take_at_once` is for."""
    return error.sqlstate in _REFUSED
