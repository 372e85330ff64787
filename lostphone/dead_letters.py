"""What the services could not handle and parked: read from their dead-letter topics."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lostphone.tail import follow
from shared.events import Received
from shared.events.contracts import dead_letter_topic


@dataclass(frozen=True)
class DeadLetter:
    """One parked record: whose, when, what it was, where it lay, and why it was parked."""

    service: str
    parked_at: str
    type: str
    subject: str
    origin: str
    reason: str
    where: str

    def public(self) -> dict[str, str]:
        """As `--json` prints it."""
        return asdict(self)


def read_all(connection: Mapping[str, Any], services: Sequence[str]) -> list[DeadLetter]:
    """Everything parked for these services, oldest first. Raises `BrokerError`."""
    names = [dead_letter_topic(service) for service in services]
    found = list(follow(connection, names, from_beginning=True, until_end=True))
    return [_letter(record) for record in sorted(found, key=lambda record: record.timestamp_ms)]


def _letter(record: Received) -> DeadLetter:
    said = {name: (data or b"").decode(errors="replace") for name, data in record.headers}
    parked_at = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    return DeadLetter(
        service=said.get("dlq_service", ""),
        parked_at=parked_at.isoformat(timespec="milliseconds"),
        type=said.get("ce_type", ""),
        subject=(record.key or b"").decode(errors="replace"),
        origin=f"{said.get('dlq_topic', '')}/{said.get('dlq_partition', '')}@{said.get('dlq_offset', '')}",
        reason=said.get("dlq_error", ""),
        where=said.get("dlq_where", ""),
    )
