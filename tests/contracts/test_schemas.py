"""Schemas: examples validate, models and schemas agree, and a reader of today survives the additions of tomorrow."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from services.audit.domain.leaf import Kind
from services.audit.feeds.timeline_entry import TimelineEntry
from shared.events import EventType, event_types
from shared.events.contracts.sample import value_of
from shared.events.contracts.schemas import timeline_example, timeline_schema

FORMATS = FormatChecker()


@FORMATS.checks("date-time", ValueError)
def is_moment(value: object) -> bool:
    """RFC 3339, as far as the events need it: with offset."""
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


SCHEMAS = Path(__file__).parents[2] / "contracts" / "schemas"
ENTRIES = pytest.mark.parametrize("entry", event_types(), ids=lambda entry: entry.name)


def schema_of(entry: EventType) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{entry.type}.json").read_text())
    return found


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema, format_checker=FORMATS)


@ENTRIES
def test_the_schema_is_valid_2020_12_and_names_itself(entry: EventType) -> None:
    schema = schema_of(entry)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == entry.dataschema
    assert schema["description"]
    assert schema["examples"] == [entry.example]


@ENTRIES
def test_the_example_of_the_registry_satisfies_its_model_and_its_schema(entry: EventType) -> None:
    payload = entry.model.model_validate(entry.example)
    assert entry.model.read(payload.write()) == payload
    check = validator(schema_of(entry))
    check.validate(entry.example)
    check.validate(json.loads(payload.write()))
    check.validate(value_of(entry))


@ENTRIES
def test_the_example_leaves_out_no_required_field(entry: EventType) -> None:
    required = schema_of(entry).get("required", [])
    for name in required:
        smaller = {key: value for key, value in entry.example.items() if key != name}
        assert not validator(schema_of(entry)).is_valid(smaller)


@ENTRIES
def test_a_field_that_is_added_later_breaks_no_reader(entry: EventType) -> None:
    later = {**entry.example, "added_later": {"nested": [1, 2]}}
    validator(schema_of(entry)).validate(later)
    assert entry.model.read(json.dumps(later)) == entry.model.read(json.dumps(entry.example))


def closed_parts(schema: Any, path: str = "") -> list[str]:
    """Places where the schema forbids what it does not name."""
    if isinstance(schema, list):
        return [found for number, item in enumerate(schema) for found in closed_parts(item, f"{path}/{number}")]
    if not isinstance(schema, dict):
        return []
    here = [path] if schema.get("additionalProperties") is False or "unevaluatedProperties" in schema else []
    inner = {name: value for name, value in schema.items() if name != "examples"}
    return here + [found for name, value in inner.items() for found in closed_parts(value, f"{path}/{name}")]


@ENTRIES
def test_no_part_of_a_schema_is_closed_or_null(entry: EventType) -> None:
    schema = schema_of(entry)
    assert closed_parts(schema) == []
    assert '"null"' not in json.dumps({name: value for name, value in schema.items() if name != "examples"})


def test_a_value_added_to_an_enumeration_is_valid_and_read_as_other() -> None:
    entry = next(entry for entry in event_types() if entry.name == "DeviceLost")
    later = {**entry.example, "cause": "swallowed_by_a_whale"}
    validator(schema_of(entry)).validate(later)
    assert entry.model.read(json.dumps(later)).model_dump()["cause"] == "other"


def test_moments_are_checked_as_rfc_3339() -> None:
    entry = next(entry for entry in event_types() if entry.name == "DeviceLost")
    assert not validator(schema_of(entry)).is_valid({**entry.example, "reported_at": "yesterday"})


def test_every_file_belongs_to_an_event_or_to_the_timeline() -> None:
    expected = {f"{entry.type}.json" for entry in event_types()} | {"lostphone.timeline.v1.json"}
    assert {file.name for file in SCHEMAS.iterdir()} == expected


def test_the_timeline_schema_is_that_of_the_record_audit_writes() -> None:
    schema = timeline_schema()
    validator(schema).validate(timeline_example())
    entry = TimelineEntry.model_validate(timeline_example())
    assert json.loads(entry.write()) == timeline_example()
    model = TimelineEntry.model_json_schema(mode="serialization")
    assert set(schema["properties"]) == set(model["properties"])
    assert schema["required"] == model["required"]


def test_the_timeline_schema_names_every_kind_of_entry_that_audit_feeds() -> None:
    # A detached entry is fed under the kind that it would have.
    named = timeline_schema()["properties"]["kind"]["x-extensible-enum"]
    assert set(named) == set(Kind) - {Kind.DETACHED}
