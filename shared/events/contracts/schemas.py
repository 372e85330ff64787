"""JSON Schemas 2020-12 of what readers get: open content, open enumerations, absent instead of null."""

from typing import Any

from shared.events.registry import TIMELINE_TOPIC, EventType

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BASE = "https://lostphone.example/schemas"
_HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_OF_RECORDS = ["event", "unparsed", "unverified", "duplicate", "gap", "seal"]
_OF_THE_LOG_ITSELF = ["index", "export", "erasure", "hold", "key", "anchor", "restore"]
_KINDS = _OF_RECORDS + _OF_THE_LOG_ITSELF


def schema_of(entry: EventType) -> dict[str, Any]:
    """The schema of one event's value."""
    raw = entry.model.model_json_schema(mode="serialization")
    definitions = raw.pop("$defs", {})
    for name in ("title", "description", "type"):
        raw.pop(name, None)
    return {
        "$schema": DIALECT,
        "$id": entry.dataschema,
        "title": entry.name,
        "description": flat(entry.description),
        "type": "object",
        **_open(raw),
        **({"$defs": {name: _open(part) for name, part in definitions.items()}} if definitions else {}),
        "examples": [entry.example],
    }


def timeline_schema() -> dict[str, Any]:
    """The schema of a record of the timeline topic: plain JSON, not a CloudEvent. `audit` holds the model."""
    text, number = {"type": "string"}, {"type": "integer", "minimum": 0}
    return {
        "$schema": DIALECT,
        "$id": f"{_BASE}/{TIMELINE_TOPIC}.json",
        "title": "TimelineEntry",
        "description": "Where one record stands in the timeline. The event itself is on the topic of its type.",
        "type": "object",
        "properties": {
            "log": {**text, "description": "The log's origin; absent in records before this field."},
            "seq": {**number, "description": "Where it stands in the log, from 0."},
            "size": {**number, "minimum": 1, "description": "The smallest size of the log that has it: seq + 1."},
            "kind": {**text, "x-extensible-enum": _KINDS},
            "leaf": {**_HASH, "description": "Its leaf hash (RFC 6962)."},
            "incident": {**text, "description": "The subject whose chain it stands in; absent outside every chain."},
            "n": {**number, "description": "Its place in that chain, from 0."},
            "prev": {**_HASH, "description": "Leaf hash of the entry before it in the chain."},
            "organisation": {**text, "description": "Of verified events and of seals."},
            "topic": {
                **text,
                "description": "Where the record lay in Kafka; absent for a seal and for what the log says of itself.",
            },
            "partition": number,
            "offset": number,
            "event": {
                "type": "object",
                "description": "Which event it is; of verified events.",
                "properties": {"id": text, "type": text, "source": text},
                "required": ["id", "type", "source"],
            },
            "text": {**text, "description": "The whole leaf, where the log speaks of itself."},
        },
        "required": ["seq", "size", "kind", "leaf"],
        "examples": [timeline_example()],
    }


def timeline_example() -> dict[str, Any]:
    """One record of the timeline topic."""
    return {
        "log": "lostphone.example/log",
        "seq": 1042,
        "size": 1043,
        "kind": "event",
        "leaf": "5cfdbd10dfab15c1cc5ee84f10b3f1db459218da4dff4957fdde3108ef405b34",
        "incident": "0192f0c1-0000-7000-8000-000000000001",
        "n": 7,
        "prev": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "organisation": "acme-kk",
        "topic": "lostphone.log.v1",
        "partition": 3,
        "offset": 48211,
        "event": {
            "id": "0192f0c1-8a00-7c3e-9a51-2f0d6b7c8e90",
            "type": "lostphone.device-lost.v1",
            "source": "/lostphone/reporter",
        },
    }


def flat(text: str) -> str:
    """A docstring as one paragraph."""
    return " ".join(text.split())


def _open(schema: Any) -> Any:
    """As published: additions stay possible, no null where a field is simply absent, no titles that repeat names."""
    if isinstance(schema, list):
        return [_open(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if {"type": "null"} in schema.get("anyOf", []):
        schema = _without_null(schema)
    properties = schema.get("properties")
    found = {
        name: _open(value)
        for name, value in schema.items()
        if name != "properties" and not (name == "additionalProperties" and value is False)
    }
    if isinstance(found.get("description"), str):
        found["description"] = flat(found["description"])
    if properties is not None:
        found["properties"] = {name: _untitled(_open(value)) for name, value in properties.items()}
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    kept = [branch for branch in schema["anyOf"] if branch != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**kept[0], **rest} if len(kept) == 1 else {"anyOf": kept, **rest}


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != "title"}
