"""Offering a parked record to its service once more, after what failed was mended.

An operator copies the dead letter, bytes and headers untouched, to the service's redrive topic, which the same consume
loop reads. Whoever can write there can nevertheless replay nothing: a record acts only when this service parked it
(`parked`, written in the transaction that passed over it), when its signature verifies, and once.
"""

import re
from typing import Protocol, runtime_checkable

import structlog

from shared.events import Event, KeyRing, Received, read
from shared.messaging.dead_letter import DEAD_LETTER_PREFIX
from shared.messaging.unit import Unit
from shared.telemetry import metrics

REDRIVE_PREFIX = "redrive_"

_KEEP = """
INSERT INTO parked (topic, partition, kafka_offset, source, event_id, reason) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (topic, partition, kafka_offset) DO UPDATE SET reason = excluded.reason, parked_at = excluded.parked_at
"""
# Every copy of the event that was parked is settled with it.
_SETTLE = """
UPDATE parked SET settled_at = now(), settled_by = 'redrive'
WHERE source = $4 AND event_id = $5 AND settled_at IS NULL AND EXISTS (
    SELECT FROM parked AS this WHERE this.topic = $1 AND this.partition = $2 AND this.kafka_offset = $3
    AND this.source = $4 AND this.event_id = $5)
"""
_SETTLED = "SELECT settled_by FROM parked WHERE topic = $1 AND partition = $2 AND kafka_offset = $3"

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_NUMBERS = {"partition": range(2**31), "offset": range(2**63), "timestamp": range(-(2**63), 2**63)}
"""What Kafka may say of a record. A database takes nothing else, and a service would stop for ever at more."""

_log = structlog.get_logger()


@runtime_checkable
class Redrivable(Protocol):
    """A sink that can take an event out of its turn. The timeline cannot: it keeps a gap where the record lay."""

    async def take_again(self, unit: Unit, event: Event) -> bool:
        """Take one event that was passed over; False when another event has its place in the sequence."""


def first_place(record: Received) -> Received:
    """A dead or redriven letter as it lay when it was parked. Raises `ValueError` when it does not say where."""
    said = {name: data for name, data in record.headers if name.startswith(DEAD_LETTER_PREFIX) and data is not None}
    try:
        topic = said[f"{DEAD_LETTER_PREFIX}topic"].decode()
        partition, offset, timestamp = (int(said[f"{DEAD_LETTER_PREFIX}{name}"]) for name in _NUMBERS)
    except (KeyError, UnicodeDecodeError) as error:
        raise ValueError("the letter does not say where it lay") from error
    possible = zip((partition, offset, timestamp), _NUMBERS.values(), strict=True)
    if not _TOPIC.fullmatch(topic) or not all(number in those for number, those in possible):
        raise ValueError("the letter says a place that cannot be")
    headers = tuple(
        header for header in record.headers if not header[0].startswith((DEAD_LETTER_PREFIX, REDRIVE_PREFIX))
    )
    return Received(topic, partition, offset, timestamp, record.key, headers, record.value)


async def remember(unit: Unit, record: Received, keyring: KeyRing, error: BaseException) -> None:
    """Keep that this record was parked, in the unit that passes over it."""
    reading = read(record, keyring)
    envelope = reading.envelope if isinstance(reading, Event) else None
    await unit.connection.execute(
        _KEEP,
        record.topic,
        record.partition,
        record.offset,
        envelope.source if envelope else None,
        envelope.id if envelope else None,
        type(error).__name__,
    )


async def redrive(unit: Unit, record: Received, keyring: KeyRing, sink: object) -> None:
    """Let a record of the redrive topic act, if it may. Raises what the sink raises; then nothing is settled."""
    outcome, event_id = await _redrive(unit, record, keyring, sink)
    unit.count(metrics.REDRIVEN.labels(outcome))
    by = next((data or b"" for name, data in record.headers if name == f"{REDRIVE_PREFIX}by"), b"")
    say = _log.info if outcome == "acted" else _log.warning
    say(
        "record_redriven",
        outcome=outcome,
        event_id=event_id,
        partition=record.partition,
        offset=record.offset,
        by=by.decode(errors="replace")[:100],
    )


async def _redrive(unit: Unit, record: Received, keyring: KeyRing, sink: object) -> tuple[str, str | None]:
    try:
        original = first_place(record)
    except ValueError:
        return "place_unknown", None
    event = read(original, keyring)
    if not isinstance(event, Event):
        return "not_verified", None
    if not isinstance(sink, Redrivable):
        return "not_redrivable", event.envelope.id
    place = (original.topic, original.partition, original.offset)
    settled = await unit.connection.execute(_SETTLE, *place, event.envelope.source, event.envelope.id)
    if settled == "UPDATE 0":
        known = await unit.connection.fetchrow(_SETTLED, *place)
        return ("never_parked" if known is None else "acted_before"), event.envelope.id
    acted = await sink.take_again(unit, event)
    return ("acted" if acted else "sequence_taken"), event.envelope.id
