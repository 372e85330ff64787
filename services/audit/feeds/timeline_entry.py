"""The record of `lostphone.timeline.v1`: one entry of the log with its place, as plain JSON.

It is not a CloudEvent: it says where an event stands, and the event itself is on the topic of its type. Key = subject,
for what stands in a chain; else no key. Order = `seq`, within a partition.
"""

from pydantic import BaseModel, ConfigDict, Field


class EventRef(BaseModel):
    """Which event the entry is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    type: str
    source: str


class TimelineEntry(BaseModel):
    """One entry of the log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log: str | None = Field(None, description="The log's origin; absent in records before this field.")
    seq: int = Field(ge=0, description="Where it stands in the log, from 0.")
    size: int = Field(ge=1, description="The smallest size of the log that has it: seq + 1.")
    kind: str = Field(description="event, unparsed, unverified, duplicate, gap or seal; more may be added.")
    leaf: str = Field(pattern=r"^[0-9a-f]{64}$", description="Its leaf hash (RFC 6962).")
    incident: str | None = Field(None, description="The subject whose chain it stands in; absent outside every chain.")
    n: int | None = Field(None, ge=0, description="Its place in that chain, from 0.")
    prev: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="Leaf hash of the one before in the chain.")
    organisation: str | None = Field(None, description="Of verified events and of seals.")
    topic: str | None = Field(None, description="Where the record lay in Kafka; absent for a seal.")
    partition: int | None = None
    offset: int | None = None
    event: EventRef | None = Field(None, description="Of verified events.")
    text: str | None = Field(
        None, description="The whole leaf, where the log speaks of itself (index, export, anchor, key, restore, …)."
    )

    def write(self) -> bytes:
        """The value of the record."""
        return self.model_dump_json(exclude_none=True).encode()
