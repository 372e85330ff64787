"""Records that cannot be handled: parked with their reason, out of the way of the next, and only within a limit."""

import traceback
from collections import deque
from collections.abc import Iterable

import structlog

from shared.events import Received
from shared.messaging.kafka import OutgoingRecord, Producer
from shared.telemetry import metrics

DEAD_LETTER_PREFIX = "dlq_"
_REASON_BYTES = 2000

_log = structlog.get_logger()


def dead_letter_topic(service: str) -> str:
    """Where a service parks. No underscores in topic names: Kafka's metric names confuse them with dots."""
    return f"lostphone.{service.replace('_', '-')}.dead-letters.v1"


class TooManyDeadLettersError(Exception):
    """So many records in a short time cannot all be bad: this deployment is. Nothing more is parked."""


class ParkingLimit:
    """How much may be parked before the consumer stops (after arroyo's `DlqLimit`).

    A bad deployment fails on every record; without a limit it would empty the log into dead letters.
    """

    def __init__(self, in_a_row: int = 20, share: float = 0.1, of_the_last: int = 1000, at_least: int = 50) -> None:
        self._in_a_row = in_a_row
        self._share = share
        self._at_least = at_least
        self._recent: deque[bool] = deque(maxlen=of_the_last)
        self._row = 0

    def handled(self, count: int) -> None:
        """So many records went well."""
        if count:
            self._row = 0
            self._recent.extend([False] * count)

    def must_allow_one(self) -> None:
        """One more is to be parked. Raises `TooManyDeadLettersError` when that is one too many."""
        parked = sum(self._recent) + 1
        too_large_a_share = parked >= self._at_least and parked > self._share * (len(self._recent) + 1)
        if self._row + 1 > self._in_a_row or too_large_a_share:
            raise TooManyDeadLettersError(
                f"{self._row} records in a row and {parked - 1} of the last {len(self._recent)} could not be handled; "
                "mend the deployment and restart it: the records are still in the log"
            )

    def parked(self) -> None:
        """It was: only now, for while it cannot be, it is tried again and again."""
        self._row += 1
        self._recent.append(True)


class DeadLetters:
    """The dead-letter topic of one service."""

    def __init__(self, service: str, producer: Producer) -> None:
        self._service = service
        self._topic = dead_letter_topic(service)
        self._producer = producer

    async def park(self, record: Received, error: BaseException) -> None:
        """Write the record, untouched, with the reason. Returns once all replicas have it; raises if they do not."""
        headers = [*record.headers, *_describe(self._service, record, error)]
        (failure,) = await self._producer.send([OutgoingRecord(self._topic, record.key, headers, record.value)])
        if failure is not None:
            raise failure
        metrics.PARKED.labels(type(error).__name__).inc()
        _log.error(
            "record_parked",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            error=type(error).__name__,
            where=_where(error),
        )


def _describe(service: str, record: Received, error: BaseException) -> Iterable[tuple[str, bytes]]:
    facts = {
        "service": service,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp_ms),
        "error": type(error).__name__,
        # Only where it happened: the text of an error may quote what the record says.
        "where": _where(error),
    }
    return [(DEAD_LETTER_PREFIX + name, value.encode()[:_REASON_BYTES]) for name, value in facts.items()]


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-4:]))
