"""What a writer remembers of the log that it wrote, so that most batches need not ask the database first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.audit.domain.chain import Chain, Stream
from services.audit.domain.leaf import Link
from services.audit.store import Before, State
from services.audit.tlog import Edge

_MOST_CHAINS = 10_000
"""About 6 MB. Others are read again when they go on."""


@dataclass(slots=True)
class Memory:
    """Right as long as the committed state is `state`; made anew when it is not. A rollback shows there, too."""

    state: State | None = None
    edge: Edge = field(default_factory=Edge)
    streams: dict[Stream, int] = field(default_factory=dict)
    next_offsets: dict[Stream, int] = field(default_factory=dict)
    chains: dict[str, Chain | None] = field(default_factory=dict)
    """Those that went on last, the latest at the end. None: there is one, and it has to be read."""

    def has_to_be_read(self, subject: str, sequence: int) -> bool:
        """Whether the chain that an event of this sequence continues is not remembered. A subject that nothing is known
        of, and that its writer speaks of for the first time, begins a chain; where it does not, the unique key of the
        chain refuses."""
        return self.chains[subject] is None if subject in self.chains else sequence > 1

    def chain(self, subject: str) -> Chain:
        """A copy of the chain; a new one where none is remembered."""
        chain = self.chains.get(subject)
        return Chain(Link(subject), {}) if chain is None else Chain(chain.link, chain.last.copy())

    def keep_batch(self, state: State, edge: Edge, before: Before) -> None:
        """The log is in this state now, and `before` is as it stands after a batch that was taken the long way. What
        was heard in its chains is read when they go on."""
        self.state, self.edge = state, edge
        self.streams |= before.streams
        self.next_offsets |= before.known.next_offsets
        self._remember(dict.fromkeys(before.known.heads))

    def keep(self, state: State, edge: Edge, next_offsets: Mapping[Stream, int], chains: Mapping[str, Chain]) -> None:
        """The log is in this state now: events were added at once, and these chains went on."""
        self.state, self.edge = state, edge
        self.next_offsets |= next_offsets
        self._remember(chains)

    def learn(self, chains: Iterable[Chain]) -> None:
        """These chains stand so, as far as the log is in the state that is remembered."""
        self._remember({chain.link.subject: chain for chain in chains})

    def _remember(self, chains: Mapping[str, Chain | None]) -> None:
        for subject, chain in chains.items():
            self.chains.pop(subject, None)
            self.chains[subject] = chain
        while len(self.chains) > _MOST_CHAINS:
            del self.chains[next(iter(self.chains))]
