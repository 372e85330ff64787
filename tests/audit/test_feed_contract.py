"""What the feeder writes is what the published schema of the timeline topic says."""

import json
from pathlib import Path

import jsonschema

from services.audit.domain.leaf import Kind, LeafBuilder, open_leaf
from services.audit.feeds.feeder import outward_headers
from services.audit.feeds.timeline_entry import TimelineEntry
from shared.events import Received

_SCHEMA = json.loads((Path(__file__).parents[2] / "contracts" / "schemas" / "lostphone.timeline.v1.json").read_text())
_HASH = "5cfdbd10dfab15c1cc5ee84f10b3f1db459218da4dff4957fdde3108ef405b34"


def test_the_schema_names_exactly_the_fields_that_are_written() -> None:
    written = TimelineEntry.model_json_schema()
    assert _SCHEMA["properties"].keys() == written["properties"].keys()
    assert set(_SCHEMA["required"]) == set(written["required"])
    assert _SCHEMA["properties"]["event"]["properties"].keys() == written["$defs"]["EventRef"]["properties"].keys()


def test_entries_of_every_shape_fit_the_schema() -> None:
    place = {"topic": "lostphone.log.v1", "partition": 3, "offset": 7}
    event = {"id": "a", "type": "lostphone.device-lost.v1", "source": "/lostphone/reporter"}
    for extra in (
        {"kind": "event", "incident": "a", "n": 0, "organisation": "acme-kk", "event": event, **place},
        {"kind": "duplicate", "organisation": "acme-kk", "event": event, **place},
        {"kind": "seal", "incident": "a", "n": 1, "prev": _HASH, "organisation": "acme-kk"},
        {"kind": "gap", **place},
        {"kind": "unparsed", **place},
    ):
        entry = TimelineEntry.model_validate({"seq": 0, "size": 1, "leaf": _HASH, **extra})
        jsonschema.validate(json.loads(entry.write()), _SCHEMA)
        assert TimelineEntry.model_validate_json(entry.write()) == entry


def test_only_what_was_signed_and_the_content_type_goes_outward_in_the_order_of_the_writer() -> None:
    signed = [("ce_id", b"a"), ("ce_type", b"b"), ("content-type", b"application/json"), ("ce_signature", b"c")]
    received = Received("lostphone.log.v1", 0, 0, 0, b"k", (*signed, ("x-planted", b"unsigned")), b"{}")
    leaf = LeafBuilder(bytes(32)).record(Kind.EVENT, received)
    assert outward_headers(open_leaf(leaf.data)) == signed
