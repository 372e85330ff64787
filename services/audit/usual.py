"""Events that are new and in turn, which is most of what a log takes, as rows of COPY: what `chain` and `rows` make of
them, without an object for each step on the way. Half of the time that a batch takes its writer goes into this loop."""

import hashlib
import struct
from collections.abc import Iterable

from services.audit.domain.leaf import Kind, LeafBuilder, Link
from services.audit.rows import COLUMNS, FOOT, HEAD, text, usual_text
from services.audit.store import Before
from shared.events import Event, Reading
from shared.events.reporter import IncidentClosed, PersonalDataErased

TELLS_MORE = (IncidentClosed.event_type, PersonalDataErased.event_type)
"""Events after which the log says something itself."""
_START = struct.Struct(f">hiq{4 + len(Kind.EVENT)}si32si").pack
_PLACE = struct.Struct(">iihiq").pack
_NUMBER = struct.Struct(">iq").pack
_KIND = text(Kind.EVENT)


class UnusualError(Exception):
    """There is more to be said about this batch than its entries."""


class UsualRows:
    """The rows of one batch, part by part. Of what is known, heads and offsets are moved on."""

    def __init__(self, builder: LeafBuilder, start: int, before: Before) -> None:
        """The first entry is `start`."""
        self._builder = builder
        self._start = start
        self._known = before.known
        self._streams = before.streams
        self.hashes: list[bytes] = []
        """Of the leaves so far."""

    def part(self, readings: Iterable[Reading]) -> bytes:
        """The input of one COPY. Raises `UnusualError` for what is no event, out of its place or more than an entry."""
        rows = [HEAD]
        event, streams = self._builder.event, self._streams
        heads, offsets, hashes = self._known.heads, self._known.next_offsets, self.hashes
        seq = self._start + len(hashes)
        for reading in readings:
            if not isinstance(reading, Event) or reading.envelope.type in TELLS_MORE:
                raise UnusualError
            received, envelope = reading.received, reading.envelope
            stream = (received.topic, received.partition)
            stream_id = streams.get(stream)
            link = heads.get(envelope.subject) or Link(envelope.subject)
            leaf = event(received, link)
            if leaf is None or stream_id is None or received.offset != offsets.get(stream, 0):
                raise UnusualError
            leaf_hash = hashlib.sha256(b"\x00" + leaf).digest()
            rows += (
                _START(len(COLUMNS), 8, seq, _KIND, 32, leaf_hash, len(leaf)),
                leaf,
                _PLACE(-1, 2, stream_id, 8, received.offset),
                usual_text(envelope.subject),
                _NUMBER(8, link.n),
                usual_text(envelope.organisation),
                usual_text(envelope.source),
                text(envelope.id),
                usual_text(envelope.type),
            )
            offsets[stream] = received.offset + 1
            heads[envelope.subject] = link.after(leaf_hash)
            hashes.append(leaf_hash)
            seq += 1
        rows.append(FOOT)
        return b"".join(rows)
