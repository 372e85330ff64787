"""From a batch of records to leaves: which kind each is, and its place in the chain of its subject.

Everything the decisions need is given; nothing is read here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import ValidationError

from services.audit.domain.finding import Finding, FindingCode
from services.audit.domain.leaf import Kind, Leaf, LeafBuilder, Link
from services.audit.domain.own import erasure_facts
from shared.events import Envelope, Event, Reading, Received, Rejection, statement
from shared.events.reporter import IncidentClosed, PersonalDataErased

type Stream = tuple[str, int]
"""Topic and partition."""
type EventKey = tuple[str, str]
"""Source and id of an event: unique, by CloudEvents."""

_NOT_GIVEN = "not_given_by_the_partition"
_CLOSED = IncidentClosed.event_type
_ERASED = PersonalDataErased.event_type


@dataclass(slots=True)
class Entry:
    """One new entry of the log."""

    leaf: Leaf
    stream: Stream | None = None
    offset: int | None = None
    link: Link | None = None
    envelope: Envelope | None = None
    """Of a verified event."""
    repeat: int = 0
    """How many entries before it have its event's id."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal that was set, at this place of the batch; the event that asked for it."""

    at: int
    closed: Envelope
    link: Link


@dataclass(slots=True)
class Chain:
    """Where the chain of one subject stands."""

    link: Link
    """Its next one."""
    last: dict[str, int]
    """Of each source that spoke in it, the sequence of its last event."""


@dataclass(slots=True)
class Known:
    """What the log holds before the batch; moved on while the batch is built."""

    heads: dict[str, Link]
    """The next link of each subject that has a chain."""
    next_offsets: dict[Stream, int]
    recorded: dict[EventKey, list[Received]]
    """The events that have the id of one in the batch."""
    times: dict[str, int] = field(default_factory=dict)
    """How many entries have this event's id, of those that are looked for and recorded."""


@dataclass(slots=True)
class Batch:
    """What a batch of records becomes."""

    entries: list[Entry] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    seals: list[Seal] = field(default_factory=list)
    causes: list[tuple[int, Envelope]] = field(default_factory=list)
    """Events whose cause is not recorded yet; it may lie in another partition. With their place in the batch."""


class Recorder:
    """Builds one batch on what is known."""

    def __init__(self, builder: LeafBuilder, known: Known) -> None:
        self._builder = builder
        self._known = known
        self._batch = Batch()

    @property
    def batch(self) -> Batch:
        """All that was built so far."""
        return self._batch

    def build(self, readings: Iterable[tuple[Reading, FindingCode | None]]) -> Batch:
        """A whole batch at once, as `add` does in parts."""
        self.add(readings)
        return self._batch

    def add(self, readings: Iterable[tuple[Reading, FindingCode | None]]) -> list[Entry]:
        """The entries of these records, in their order, each given with what is wrong with its sequence. Records that
        lie below what is recorded are dropped."""
        entries, next_offsets = self._batch.entries, self._known.next_offsets
        first = len(entries)
        for reading, order in readings:
            received = reading.received
            stream = (received.topic, received.partition)
            expected = next_offsets.get(stream, 0)
            if received.offset < expected:
                continue
            if received.offset > expected:
                self._gap(stream, expected, received.offset)
            next_offsets[stream] = received.offset + 1
            if isinstance(reading, Rejection):
                self._rejected(reading, stream)
            else:
                self._event(reading, order, stream)
        return entries[first:]

    def _gap(self, stream: Stream, first: int, end: int) -> None:
        leaf = self._builder.gap(*stream, first, end, _NOT_GIVEN)
        self._batch.entries.append(Entry(leaf, stream, first))
        self._find(FindingCode.OFFSETS_MISSING, stream, first)

    def _rejected(self, rejection: Rejection, stream: Stream) -> None:
        received = rejection.received
        leaf = self._builder.record(Kind(rejection.kind), received, reason=rejection.reason)
        self._batch.entries.append(Entry(leaf, stream, received.offset))
        code = rejection.reason.partition(":")[0]
        self._find(code, stream, received.offset)

    def _event(self, event: Event, order: FindingCode | None, stream: Stream) -> None:
        received, envelope = event.received, event.envelope
        known, key = self._known, (envelope.source, envelope.id)
        before = known.recorded.setdefault(key, [])
        # By what its writer signed: who can write to Kafka, and holds no key, can wrap it otherwise.
        if before and statement(received) in map(statement, before):
            leaf = self._builder.record(Kind.DUPLICATE, received)
            repeat = self._repeat(envelope.id)
            self._batch.entries.append(Entry(leaf, stream, received.offset, None, envelope, repeat))
            return
        link = known.heads.get(envelope.subject) or Link(envelope.subject)
        leaf = self._builder.record(Kind.EVENT, received, link=link)
        self._chain(Entry(leaf, stream, received.offset, link, envelope, self._repeat(envelope.id)), link)
        if order is not None:
            self._find_in(order, envelope, received)
        if before:
            self._find_in(FindingCode.EVENT_ID_REUSED, envelope, received)
        before.append(received)
        if envelope.causationid is not None and envelope.causationid not in known.times:
            self._batch.causes.append((len(self._batch.entries) - 1, envelope))
        if envelope.type == _CLOSED:
            self._seal(envelope)
        elif envelope.type == _ERASED:
            self._erasure(event)

    def _repeat(self, event_id: str) -> int:
        times = self._known.times.get(event_id, 0)
        self._known.times[event_id] = times + 1
        return times

    def _chain(self, entry: Entry, link: Link) -> None:
        """Add an entry at this place of a chain."""
        self._known.heads[link.subject] = link.after(entry.leaf.hash)
        self._batch.entries.append(entry)

    def _erasure(self, event: Event) -> None:
        try:
            said = PersonalDataErased.read(event.value)
        except ValidationError:
            # It is recorded as what it is; what it says cannot be told.
            return
        kind = Kind.HOLD if said.on_hold else Kind.ERASURE
        envelope = event.envelope
        facts = erasure_facts(envelope.id, envelope.organisation, envelope.actor, said)
        leaf = self._builder.own(kind, f"{envelope.source}/{envelope.id}", envelope.sequence, facts)
        self._batch.entries.append(Entry(leaf))

    def _seal(self, closed: Envelope) -> None:
        link = self._known.heads[closed.subject]
        leaf = self._builder.seal(link)
        self._batch.seals.append(Seal(len(self._batch.entries), closed, link))
        self._chain(Entry(leaf, link=link), link)

    def _find(self, code: str, stream: Stream, offset: int) -> None:
        at = len(self._batch.entries) - 1
        self._batch.findings.append(Finding(code, at, stream[0], stream[1], offset))

    def _find_in(self, code: str, envelope: Envelope, received: Received) -> None:
        at = len(self._batch.entries) - 1
        self._batch.findings.append(Finding(code, at, received.topic, received.partition, received.offset, envelope))
