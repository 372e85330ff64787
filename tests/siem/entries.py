"""Entries of a timeline as the feed reads them, without a database."""

from pathlib import Path
from typing import Any

import orjson

from services.audit.domain.leaf import Kind, LeafBuilder, Link
from services.audit.feeds.ocsf import ocsf_of_entry
from shared.events import Event, Received, Rejection, read
from tests.audit.records import Writers

BUILDER = LeafBuilder(bytes(range(32)))


class Entries:
    """Records become rows, in order, with their places in the chains."""

    def __init__(self, folder: Path) -> None:
        self.writers = Writers(folder)
        self._keyring = self.writers.keyring()
        self._links: dict[str, Link] = {}
        self._seq = 0

    def row(self, received: Received) -> dict[str, Any]:
        reading = read(received, self._keyring)
        link = None
        if isinstance(reading, Event):
            subject = reading.envelope.subject
            link = self._links.get(subject) or Link(subject)
        kind = Kind(reading.kind) if isinstance(reading, Rejection) else Kind.EVENT
        leaf = BUILDER.record(kind, received, link=link, reason=getattr(reading, "reason", None))
        if link is not None:
            self._links[link.subject] = link.after(leaf.hash)
        self._seq += 1
        envelope = reading.envelope if isinstance(reading, Event) else None
        return {
            "seq": self._seq - 1,
            "kind": kind,
            "leaf_hash": leaf.hash,
            "leaf": leaf.data,
            "detached": leaf.detached,
            "subject": link.subject if link else None,
            "n": link.n if link else None,
            "organisation": envelope.organisation if envelope else None,
            "source": envelope.source if envelope else None,
            "event_id": envelope.id if envelope else None,
            "event_type": envelope.type if envelope else None,
            "topic": received.topic,
            "partition": received.partition,
            "kafka_offset": received.offset,
        }

    def ocsf(self, received: Received) -> dict[str, Any]:
        """The OCSF event of one record."""
        record = ocsf_of_entry(self.row(received))
        assert record is not None
        assert record.value is not None
        event: dict[str, Any] = orjson.loads(record.value)
        return event
