"""Entries of a timeline as the feed reads them, without a database."""

from pathlib import Path
from typing import Any

import orjson

from services.audit.domain.leaf import Kind, LeafBuilder, Link
from services.audit.feeds.ocsf import ocsf_of_entry
from services.audit.feeds.ocsf_versions import OcsfVersion
from shared.events import Envelope, Event, Received, Rejection, read
from tests.audit.records import Writers

BUILDER = LeafBuilder(bytes(range(32)))


class Entries:
    """Records become rows, in order, with their places in the chains."""

    def __init__(self, folder: Path, version: OcsfVersion = OcsfVersion.V1_8) -> None:
        self.version = version
        self.writers = Writers(folder)
        self._keyring = self.writers.keyring()
        self._links: dict[str, Link] = {}
        self._last: dict[str, Envelope] = {}
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
        before = self._last.get(envelope.subject) if envelope else None
        if envelope is not None:
            self._last[envelope.subject] = envelope
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
            "before_id": before.id if before else None,
            "before_type": before.type if before else None,
            "topic": received.topic,
            "partition": received.partition,
            "kafka_offset": received.offset,
        }

    def seal(self, subject: str) -> bytes:
        """Set a seal behind the last entry of this chain, as the timeline does; its leaf hash."""
        leaf = BUILDER.seal(self._links[subject])
        self._links[subject] = self._links[subject].after(leaf.hash)
        del self._last[subject]
        self._seq += 1
        return leaf.hash

    def ocsf(self, received: Received) -> dict[str, Any]:
        """The OCSF event of one record."""
        record = ocsf_of_entry(self.row(received), self.version)
        assert record is not None
        assert record.value is not None
        event: dict[str, Any] = orjson.loads(record.value)
        return event
