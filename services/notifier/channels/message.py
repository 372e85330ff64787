"""What a channel is given and what it answers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Outcome(StrEnum):
    """What is known of one message."""

    ACCEPTED = "accepted"
    """The provider took it. Not proof that anybody read it."""
    BOUNCED = "bounced"
    """The provider says that this person cannot be reached this way."""
    FAILED = "failed"
    """It did not leave."""
    UNCERTAIN = "uncertain"
    """It may have left: the connection was lost after the message was handed over."""


@dataclass(frozen=True)
class Message:
    """One message to one person."""

    key: str
    """A UUID, the same for every try: a provider that knows retry keys delivers once."""
    to: str
    subject: str
    text: str

    def __repr__(self) -> str:
        return f"Message({self.key})"


@dataclass(frozen=True)
class Result:
    """The outcome of one try. `again`: trying once more does no harm and may help. `away`: the provider was not there
    at all, which says nothing about this message."""

    outcome: Outcome
    provider_id: str | None = None
    reason: str | None = None
    again: bool = False
    away: bool = False


def legible(said: str) -> str:
    """The beginning of what a provider said, without what no database keeps: NUL, and bytes that are no UTF-8."""
    return "".join(filter(str.isprintable, said))[:200]


class Channel(Protocol):
    """One way to reach people outside. Neither method raises for what the provider does."""

    repeats_safely: bool
    """Whether a second try with the same key cannot reach the person twice."""

    async def send(self, message: Message) -> Result: ...

    async def probe(self) -> str | None:
        """Ask the provider something that reaches nobody; why nothing can be sent now, or None."""
