"""What the services could not handle and parked: read from their dead-letter topics, and offered to them again."""

import asyncio
import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
from confluent_kafka import KafkaException, Producer

from lostphone.topic_reader import follow
from lostphone.topics import BrokerError
from shared.events import Received
from shared.events.contracts import dead_letter_topic, redrive_topic
from shared.messaging.dead_letter import DEAD_LETTER_PREFIX
from shared.messaging.redrive import REDRIVE_PREFIX, first_place

_SEND_SECONDS = 20.0
_PARKED = "SELECT topic, partition, kafka_offset, settled_at, settled_by FROM {schema}.parked"

type Place = tuple[str, int, int]
"""Topic, partition and offset."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One parked record: whose, when, what it was, where it lay, and why it was parked. `id` names it to the command;
    `state` is `waiting`, `redriven`, `copy` (another copy of it acted), or empty where the database was not asked."""

    id: str
    service: str
    parked_at: str
    type: str
    subject: str
    organisation: str
    origin: str
    reason: str
    where: str
    record: Received = field(repr=False)
    state: str = ""

    def public(self) -> dict[str, str]:
        """As `--json` prints it."""
        return {name: value for name, value in asdict(self).items() if name != "record"}

    def whole(self) -> dict[str, Any]:
        """With headers and value. Events hold no personal data; a value that is not legible is given in base64."""
        headers = {name: (data or b"").decode(errors="replace") for name, data in self.record.headers}
        value = self.record.value or b""
        shown = orjson.loads(value or b"null") if self.is_legible else {"base64": base64.b64encode(value).decode()}
        return {**self.public(), "headers": headers, "value": shown}

    @property
    def is_legible(self) -> bool:
        """Whether its value is JSON, and nests no deeper than can be laid out."""
        if self.record.value is None:
            return True
        try:
            orjson.dumps(orjson.loads(self.record.value))
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            return False
        return True

    @property
    def place(self) -> Place | None:
        """Where it lay in the log; None when it does not say."""
        try:
            original = first_place(self.record)
        except ValueError:
            return None
        return original.topic, original.partition, original.offset


def read_all(connection: Mapping[str, Any], services: Sequence[str]) -> list[DeadLetter]:
    """Everything parked for these services, oldest first. Raises `BrokerError`."""
    names = {dead_letter_topic(service): service for service in services}
    found = list(follow(connection, list(names), until_end=True))
    return [_letter(names[record.topic], record) for record in sorted(found, key=lambda record: record.timestamp_ms)]


def _letter(service: str, record: Received) -> DeadLetter:
    said = {name: (data or b"").decode(errors="replace") for name, data in record.headers}
    told = {name: said.get(f"{DEAD_LETTER_PREFIX}{name}", "") for name in ("topic", "partition", "offset")}
    return DeadLetter(
        id=f"{service}/{record.partition}@{record.offset}",
        service=service,
        parked_at=_moment(record.timestamp_ms),
        type=said.get("ce_type", ""),
        subject=(record.key or b"").decode(errors="replace"),
        organisation=said.get("ce_organisation", ""),
        origin=f"{told['topic']}/{told['partition']}@{told['offset']}",
        reason=said.get(f"{DEAD_LETTER_PREFIX}error", ""),
        where=said.get(f"{DEAD_LETTER_PREFIX}where", ""),
        record=record,
    )


def _moment(milliseconds: int) -> str:
    """Nothing where no calendar has it: whoever may write to the topic says when."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        return ""


def redrive(connection: Mapping[str, Any], letters: Iterable[DeadLetter], *, by: str, topic: str | None = None) -> None:
    """Offer these letters to their services, in this order; each acts once, or not, as its service decides. Raises
    `BrokerError`, when some may have been offered already: offering them again does no harm."""
    producer = Producer({"acks": "all", "enable.idempotence": True, "log_level": 0, **connection})
    failures: list[str] = []
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    asked = [(f"{REDRIVE_PREFIX}by", by.encode()[:200]), (f"{REDRIVE_PREFIX}at", moment.encode())]
    for letter in letters:
        try:
            producer.produce(
                topic or redrive_topic(letter.service),
                value=letter.record.value,
                key=letter.record.key,
                headers=[*letter.record.headers, *asked],
                on_delivery=lambda error, _: failures.append(error.str()) if error is not None else None,
            )
        except (BufferError, KafkaException) as error:  # such as one that a stranger put there, and is too long
            failures.append(f"{letter.id}: {error}")
    try:
        left = producer.flush(_SEND_SECONDS)
    except KafkaException as error:
        raise BrokerError(str(error)) from error
    if left or failures:
        raise BrokerError(f"{left + len(failures)} letters could not be offered: {failures[0] if failures else 'time'}")


async def states(dsn: str, schema: str) -> dict[Place, str]:
    """What the service remembers of its parked records: `waiting`, `redriven` or `copy`. Raises what asyncpg does."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        rows = await connection.fetch(_PARKED.format(schema=schema))
    finally:
        await connection.close()
    said = {None: "waiting", "redrive": "redriven", "copy": "copy"}
    return {(row["topic"], row["partition"], row["kafka_offset"]): said[row["settled_by"]] for row in rows}


async def settled(dsn: str, letters: Sequence[DeadLetter], within: float) -> dict[str, str]:
    """The state of each letter of one service, by its id, once none waits any more or the seconds are over."""
    deadline = time.monotonic() + within
    while True:
        known = await states(dsn, letters[0].service)
        found = {letter.id: known.get(letter.place, "") if letter.place else "" for letter in letters}
        if "waiting" not in found.values() or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)
