"""One incident told from its entries: for the timeline page, and as JSON for programs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from services.audit.domain.leaf import Kind, Opened, open_leaf
from shared.events import find
from shared.events.payload import Payload

type Facts = dict[str, Any]


class Row(Protocol):
    """`n`, `seq`, `kind`, `leaf_hash`, `leaf` and `detached` of an entry, from the database or from a bundle."""

    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One entry, told."""

    n: int
    seq: int
    kind: str
    leaf_hash: str
    prev: str | None
    recorded_at: datetime | None
    """When the Kafka broker took the record, by its own clock; None for a seal."""
    event_id: str | None = None
    type: str | None = None
    source: str | None = None
    said_at: datetime | None = None
    """The writer's clock, when the event was said."""
    actor: str | None = None
    drill: bool = False
    key: str | None = None
    """Which key signed it."""
    cause: str | None = None
    cause_n: int | None = None
    """Where the cause stands in this incident."""
    cause_seq: int | None = None
    """Where the cause stands in the log."""
    facts: Facts | None = None
    """What the event says, decoded; None when it cannot be decoded."""

    @property
    def name(self) -> str:
        """The words that tell it: `device-lost` for `lostphone.device-lost.v1`; the kind for what is no event."""
        return self.type.split(".")[1] if self.type and self.type.count(".") >= 2 else self.kind

    @property
    def who(self) -> tuple[str, str]:
        """Reference and role, or `service` and its name."""
        reference, _, role = (self.actor or "").partition("/")
        return reference, role

    @property
    def unknown(self) -> list[str]:
        """What the event says that is not known."""
        return sorted(name for name, value in (self.facts or {}).items() if value == "unknown")


@dataclass(frozen=True, slots=True)
class Story:
    """An incident as of one size of the log."""

    subject: str
    organisation: str
    size: int
    steps: tuple[Step, ...]

    @property
    def drill(self) -> bool:
        return any(step.drill for step in self.steps)

    @property
    def sealed_by(self) -> Step | None:
        """The seal, when nothing stands after it."""
        last = self.steps[-1] if self.steps else None
        return last if last is not None and last.kind == Kind.SEAL else None

    def unknown_causes(self) -> set[str]:
        """Ids of causes that do not stand in this incident."""
        return {step.cause for step in self.steps if step.cause is not None and step.cause_n is None}

    def with_causes(self, places: Mapping[str, int]) -> "Story":
        """The same, knowing where in the log causes outside this incident stand."""
        steps = tuple(
            step if step.cause_seq is not None else replace(step, cause_seq=places.get(step.cause or ""))
            for step in self.steps
        )
        return replace(self, steps=steps)

    def document(self) -> dict[str, Any]:
        """For programs."""
        sealed = self.sealed_by
        return {
            "incident": self.subject,
            "organisation": self.organisation,
            "drill": self.drill,
            "size": self.size,
            "sealed": None if sealed is None else {"seq": sealed.seq, "entries": sealed.n, "head": sealed.prev},
            "entries": [_step_document(step) for step in self.steps],
        }


def tell(subject: str, organisation: str, size: int, rows: Iterable[Row]) -> Story:
    """The story in these rows, which are the chain of the subject in order."""
    steps: list[Step] = []
    places: dict[str, Step] = {}
    for row in rows:
        step = _step(row, open_leaf(row["leaf"], row["detached"]))
        cause = places.get(step.cause or "")
        if cause is not None:
            step = replace(step, cause_n=cause.n, cause_seq=cause.seq)
        steps.append(step)
        if step.event_id is not None:
            places[step.event_id] = step
    return Story(subject, organisation, size, tuple(steps))


def _step(row: Row, opened: Opened) -> Step:
    header = opened.header
    step = Step(
        n=row["n"],
        seq=row["seq"],
        kind=row["kind"],
        leaf_hash=row["leaf_hash"].hex(),
        prev=header["prev"],
        recorded_at=datetime.fromtimestamp(header["ts"] / 1000, UTC) if "ts" in header else None,
    )
    event_type = opened.attribute("type")
    if event_type is None:
        return step
    time = opened.attribute("time")
    return replace(
        step,
        event_id=opened.attribute("id"),
        type=event_type,
        source=opened.attribute("source"),
        said_at=datetime.fromisoformat(time) if time else None,
        actor=opened.attribute("actor"),
        drill=opened.attribute("drill") == "true",
        key=opened.attribute("keyid"),
        cause=opened.attribute("causationid"),
        facts=_facts(event_type, opened.payload()),
    )


def _facts(event_type: str, value: bytes | None) -> Facts | None:
    entry = find(event_type)
    if entry is None or value is None:
        return None
    try:
        payload = entry.model.read(value)
    except ValidationError:
        return None
    return facts_of(payload)


def facts_of(payload: Payload) -> Facts:
    """Every field of the payload in plain values; enumerations as their values."""
    return {name: _plain(getattr(payload, name)) for name in type(payload).model_fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "n": step.n,
        "seq": step.seq,
        "kind": step.kind,
        "leaf_hash": step.leaf_hash,
        "prev": step.prev,
        "recorded_at": step.recorded_at,
        "event_id": step.event_id,
        "type": step.type,
        "source": step.source,
        "said_at": step.said_at,
        "actor": step.actor,
        "drill": step.drill,
        "keyid": step.key,
        "cause": step.cause,
        "cause_seq": step.cause_seq,
        "data": step.facts,
        "proof": f"/v1/entries/{step.seq}/proof",
    }
