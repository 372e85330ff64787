"""A sample record of each event type, for examples in documents and for tests. Its signature is not a real one."""

from datetime import UTC, datetime
from typing import Any

from shared.events.envelope import Envelope
from shared.events.registry import EventType

SUBJECT = "0192f0c1-0000-7000-8000-000000000001"
_SIGNATURE = "c2lnbmF0dXJlIG9mIDY0IGJ5dGVz"


def envelope_of(entry: EventType) -> Envelope:
    """The envelope of the sample."""
    return Envelope(
        id="0192f0c1-8a00-7c3e-9a51-2f0d6b7c8e90",
        source=entry.source,
        type=entry.type,
        subject=SUBJECT,
        time=datetime(2026, 11, 24, 15, 5, tzinfo=UTC),
        sequence=7,
        organisation="acme-kk",
        actor=f"service/{entry.writer}",
        causationid="0192f0c1-89ff-7b2d-8f00-1e0c5a6b7d8f",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        dataschema=entry.dataschema,
        keyid=f"{entry.writer}-9f86d081884c7d65",
    )


def headers_of(entry: EventType) -> dict[str, str]:
    """The headers of the sample, as a reader sees them."""
    headers = {name: data.decode() for name, data in envelope_of(entry).headers()}
    return {**headers, "ce_signature": _SIGNATURE}


def value_of(entry: EventType) -> dict[str, Any]:
    """The value of the sample: what the model writes for the registry's example."""
    return entry.model.model_validate(entry.example).model_dump(mode="json", exclude_none=True)
