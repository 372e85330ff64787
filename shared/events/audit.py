"""Events that audit writes to topics of their own, never to the log."""

from pydantic import Field

from shared.events.payload import Code, Count, Payload, Sha256
from shared.events.registry import event

_HASH = "5cfdbd10dfab15c1cc5ee84f10b3f1db459218da4dff4957fdde3108ef405b34"


@event("audit", {"entries": 42, "head": _HASH, "seal_seq": 1042, "size": 1043})
class TimelineSealed(Payload):
    """The timeline of a closed incident is sealed: nothing can be added without being seen to come after."""

    entries: Count = Field(description="How many entries the incident has, the seal not counted.")
    head: Sha256 = Field(description="Leaf hash of the last of them.")
    seal_seq: Count = Field(description="Where the seal stands in the log.")
    size: Count = Field(description="Size of the log with the seal in it.")


@event(
    "audit", {"finding": "signature_invalid", "topic": "lostphone.log.v1", "partition": 3, "offset": 48211, "seq": 1042}
)
class IntegrityFinding(Payload):
    """Something in the log does not verify, or its order is broken. The subject is an incident where one can be named,
    else `log`."""

    finding: Code
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    seq: Count | None = None
