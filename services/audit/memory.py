"""What a writer remembers of the log that it wrote, so that most batches need not ask the database first."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.audit.domain.chain import Known, Stream
from services.audit.domain.leaf import Link
from services.audit.store import Before, State
from services.audit.tlog import Edge

_MOST_HEADS = 20_000
"""About 6 MB. Of further chains the head is read again when they go on."""


@dataclass(slots=True)
class Memory:
    """Right as long as the committed state is `state`; made anew when it is not. A rollback shows there, too."""

    state: State | None = None
    edge: Edge = field(default_factory=Edge)
    streams: dict[Stream, int] = field(default_factory=dict)
    next_offsets: dict[Stream, int] = field(default_factory=dict)
    heads: dict[str, Link] = field(default_factory=dict)
    """Of the chains that went on last, the latest at the end."""

    def before(self, subjects: Iterable[str]) -> Before:
        """The streams and these heads, to build a batch on; of events nothing is remembered."""
        heads = {subject: self.heads[subject] for subject in subjects if subject in self.heads}
        return Before(Known(heads, dict(self.next_offsets), {}), self.streams)

    def keep_batch(self, state: State, edge: Edge, before: Before) -> None:
        """The log is in this state now, and `before` is as it stands after the batch."""
        self.streams |= before.streams
        self.next_offsets |= before.known.next_offsets
        self.keep(state, edge, before.known.heads.values())

    def keep(self, state: State, edge: Edge, heads: Iterable[Link]) -> None:
        """The log is in this state now, and these chains went on."""
        self.state, self.edge = state, edge
        for link in heads:
            self.heads.pop(link.subject, None)
            self.heads[link.subject] = link
        while len(self.heads) > _MOST_HEADS:
            del self.heads[next(iter(self.heads))]
