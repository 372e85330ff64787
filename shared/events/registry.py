"""One registry of every event: type, version, writer, model, description, example, data class, retention.

JSON Schemas, the AsyncAPI document, topic and ACL manifests and the event pages are generated from it
(`python -m shared.events.contracts`), and the signature check asks it who may write a type.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from shared.events.payload import Payload

Writer = Literal["reporter", "mdm_actions", "notifier", "audit"]
DataClass = Literal["none", "pseudonymous"]
"""`pseudonymous`: carries person references or commitments; no event carries personal data itself."""

LOG_TOPIC = "lostphone.log.v1"
TIMELINE_TOPIC = "lostphone.timeline.v1"
TYPE_TOPIC_RETENTION = timedelta(days=90)


@dataclass(frozen=True)
class EventType:
    """One entry of the registry. `type` is also the name of the topic for integrators."""

    name: str
    version: int
    writer: Writer
    model: type[Payload]
    description: str
    example: dict[str, Any]
    data_class: DataClass
    retention: timedelta = TYPE_TOPIC_RETENTION

    @property
    def type(self) -> str:
        kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", self.name).lower()
        return f"lostphone.{kebab}.v{self.version}"

    @property
    def source(self) -> str:
        return f"/lostphone/{self.writer}"

    @property
    def dataschema(self) -> str:
        return f"https://lostphone.example/schemas/{self.type}.json"


_BY_TYPE: dict[str, EventType] = {}


def event[P: Payload](
    writer: Writer, example: dict[str, Any], *, data_class: DataClass = "none", version: int = 1
) -> Callable[[type[P]], type[P]]:
    """Register a payload model as an event that `writer`, and nobody else, emits."""

    def register(model: type[P]) -> type[P]:
        entry = EventType(
            name=model.__name__,
            version=version,
            writer=writer,
            model=model,
            description=(model.__doc__ or "").strip(),
            example=example,
            data_class=data_class,
        )
        if entry.type in _BY_TYPE:
            raise ValueError(f"event type {entry.type} is registered twice")
        _BY_TYPE[entry.type] = entry
        model.event_type = entry.type
        return model

    return register


def event_types() -> tuple[EventType, ...]:
    """All registered events, by type."""
    return tuple(_BY_TYPE[name] for name in sorted(_BY_TYPE))


def find(event_type: str) -> EventType | None:
    """The entry for a CloudEvents type, or None for one that this version does not know."""
    return _BY_TYPE.get(event_type)
