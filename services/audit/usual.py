"""Events that are new and in turn, which is most of what a log takes, as rows: what `chain` and `rows` make of them,
without an object for each step on the way. Half of the time that a batch takes its writer goes into this loop."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from services.audit.domain.chain import Chain
from services.audit.domain.leaf import Kind, LeafBuilder, Link
from services.audit.memory import Memory
from services.audit.rows import Row
from shared.events import Event, Reading
from shared.events.reporter import IncidentClosed, PersonalDataErased

_TELLS_MORE = (IncidentClosed.event_type, PersonalDataErased.event_type)
"""Events after which the log says something itself."""
_EVENT = Kind.EVENT.value


class UnusualError(Exception):
    """There is more to be said about this batch than its entries."""


class UsualRows:
    """The rows of one batch behind what is remembered, which stays as it is: what the batch moves on is kept apart."""

    def __init__(self, builder: LeafBuilder, memory: Memory) -> None:
        """Raises `UnusualError` when nothing is remembered."""
        if memory.state is None:
            raise UnusualError
        self._builder = builder
        self._memory = memory
        self.before = memory.state
        """The state that they are added behind."""
        self.hashes: list[bytes] = []
        """Of the leaves so far."""
        self.chains: dict[str, Chain] = {}
        """Of the subjects so far, as they stand behind them."""
        self.next_offsets = dict(memory.next_offsets)

    def of(self, readings: Iterable[Reading]) -> Iterator[Row]:
        """The next rows. Raises `UnusualError` for what is no event, out of its place or its turn, or more than an
        entry."""
        event, streams = self._builder.event, self._memory.streams
        chains, offsets, hashes = self.chains, self.next_offsets, self.hashes
        seq = self.before.size + len(hashes)
        for reading in readings:
            if not isinstance(reading, Event) or reading.envelope.type in _TELLS_MORE:
                raise UnusualError
            received, envelope = reading.received, reading.envelope
            stream, offset = (received.topic, received.partition), received.offset
            subject, source, sequence = envelope.subject, envelope.source, envelope.sequence
            chain = chains.get(subject)
            if chain is None:
                chain = chains[subject] = self._memory.chain(subject)
            link = chain.link
            leaf = event(received, link)
            stream_id = streams.get(stream)
            if (
                leaf is None
                or stream_id is None
                or offset != offsets.get(stream, 0)
                or sequence != chain.last.get(source, 0) + 1
            ):
                raise UnusualError
            leaf_hash = hashlib.sha256(b"\x00" + leaf).digest()
            organisation, event_id, said = envelope.organisation, envelope.id, envelope.type
            # fmt: off
            yield (
                seq, _EVENT, leaf_hash, leaf, None, stream_id, offset, subject, link.n,
                organisation, source, event_id, said, 0, sequence,
            )
            # fmt: on
            offsets[stream] = offset + 1
            chain.link = Link(subject, link.n + 1, leaf_hash)
            chain.last[source] = sequence
            hashes.append(leaf_hash)
            seq += 1


def asked(readings: Sequence[Reading]) -> tuple[dict[str, int], set[str]]:
    """Of each subject the sequence that its first event has; and the causes that are named and are no events before
    them in the batch."""
    firsts: dict[str, int] = {}
    ids: set[str] = set()
    causes: set[str] = set()
    for reading in readings:
        if not isinstance(reading, Event):
            raise UnusualError
        envelope = reading.envelope
        firsts.setdefault(envelope.subject, envelope.sequence)
        if envelope.causationid is not None and envelope.causationid not in ids:
            causes.add(envelope.causationid)
        ids.add(envelope.id)
    return firsts, causes
