"""The leaf has these bytes, for ever: frozen vectors; and every record is read back out of its leaf."""

import base64
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from services.audit.domain.leaf import MAX_INLINE_BYTES, Kind, Leaf, LeafBuilder, Link, canonical, open_leaf
from services.audit.tlog import leaf_hash
from shared.events import Received

_VECTORS = json.loads((Path(__file__).parent / "vectors" / "leaves.json").read_text())
_BUILDER = LeafBuilder(bytes.fromhex(_VECTORS["blinding_key"]))


def _built(vector: dict[str, Any]) -> Leaf:
    link = None
    if "link" in vector:
        prev = vector["link"]["prev"]
        link = Link(vector["link"]["subject"], vector["link"]["n"], bytes.fromhex(prev) if prev else None)
    if vector["kind"] == "seal":
        assert link is not None
        return _BUILDER.seal(link)
    if vector["kind"] == "gap":
        return _BUILDER.gap(*vector["gap"])
    record = vector["record"]
    received = Received(
        record["topic"],
        record["partition"],
        record["offset"],
        record["timestamp_ms"],
        _bytes(record["key"]),
        tuple((name, _bytes(data)) for name, data in record["headers"]),
        _bytes(record["value"]),
    )
    return _BUILDER.record(Kind(vector["kind"]), received, link=link, reason=vector.get("reason"))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


@pytest.mark.parametrize("vector", _VECTORS["vectors"], ids=lambda vector: vector["name"])
def test_the_leaf_of_each_vector_has_its_frozen_bytes(vector: dict[str, Any]) -> None:
    leaf = _built(vector)
    assert leaf.hash.hex() == vector["leaf_hash"] == leaf_hash(leaf.data).hex()
    assert base64.b64encode(leaf.data).decode() == vector["leaf"]
    assert leaf.data.split(b"\n")[0].decode() == vector["header"]


_KINDS = st.sampled_from([Kind.EVENT, Kind.UNPARSED, Kind.UNVERIFIED, Kind.DUPLICATE])
_NAMES = st.one_of(st.sampled_from(["ce_id", "ce_x;base64", "ce_x;base64;base64", "ce_"]), st.text(max_size=20))
_RECORDS = st.builds(
    Received,
    topic=st.just("lostphone.log.v1"),
    partition=st.integers(0, 11),
    offset=st.integers(0, 2**53 - 1),
    timestamp_ms=st.integers(-1, 2**53 - 1),
    key=st.none() | st.binary(max_size=40) | st.text(max_size=20).map(str.encode),
    headers=st.lists(
        st.tuples(
            _NAMES.map("ce_{}".format), st.none() | st.binary(max_size=40) | st.text(max_size=40).map(str.encode)
        ),
        max_size=6,
    ).map(tuple),
    value=st.none() | st.binary(max_size=400),
)


@given(_KINDS, _RECORDS)
def test_a_record_is_read_back_out_of_its_leaf(kind: Kind, received: Received) -> None:
    link = Link("subject", 3, bytes(32)) if kind is Kind.EVENT else None
    leaf = _BUILDER.record(kind, received, link=link)
    opened = open_leaf(leaf.data, leaf.detached)
    assert (opened.kind, opened.key, opened.headers, opened.value) == (
        kind,
        received.key,
        received.headers,
        received.value,
    )
    assert (opened.header["s"], opened.header["p"], opened.header["o"], opened.header["ts"]) == (
        received.topic,
        received.partition,
        received.offset,
        received.timestamp_ms,
    )


@given(_KINDS, _RECORDS, _RECORDS)
def test_different_records_have_different_leaves(kind: Kind, one: Received, other: Received) -> None:
    assert (_BUILDER.record(kind, one).data == _BUILDER.record(kind, other).data) == (one == other)


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii"), max_size=10),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=30),
            lambda inner: st.lists(inner, max_size=4),
        ),
    )
)
def test_canonical_json_is_that_of_rfc_8785_and_of_orjson(document: dict[str, Any]) -> None:
    assert canonical(document) == rfc8785.dumps(document) + b"\n"
    assert canonical(document) == orjson.dumps(document, option=orjson.OPT_SORT_KEYS) + b"\n"


@pytest.mark.parametrize("size", [MAX_INLINE_BYTES - 400, MAX_INLINE_BYTES, 900_000])
def test_a_long_value_is_detached_and_its_hash_and_length_stand_in_the_leaf(size: int) -> None:
    received = Received("lostphone.log.v1", 0, 0, 0, b"key", (("ce_id", b"x"),), bytes(size))
    leaf = _BUILDER.record(Kind.EVENT, received, link=Link("key"))
    opened = open_leaf(leaf.data, leaf.detached)
    assert opened.value == received.value
    assert opened.kind is Kind.EVENT
    if size < MAX_INLINE_BYTES - 300:
        assert leaf.detached is None
        return
    assert len(leaf.data) < 1000
    assert opened.header["k"] == "detached"
    assert (opened.header["sha256"], opened.header["size"]) == (hashlib.sha256(bytes(size)).hexdigest(), size)
    assert open_leaf(leaf.data).attribute("id") == "x"


def test_headers_that_are_too_long_are_detached_with_the_value() -> None:
    headers = tuple((f"ce_x{at}", b"a" * 4000) for at in range(40))
    received = Received("lostphone.log.v1", 0, 0, 0, b"key", headers, b"value")
    leaf = _BUILDER.record(Kind.UNVERIFIED, received, reason="key_unknown")
    assert len(leaf.data) < 1000
    opened = open_leaf(leaf.data, leaf.detached)
    assert (opened.headers, opened.value) == (headers, b"value")
    assert open_leaf(leaf.data).value is None


def test_the_blinding_differs_by_place_and_key_and_keeps_equal_events_apart() -> None:
    received = Received("lostphone.log.v1", 0, 0, 0, b"key", (), b"value")
    places = [received, replace(received, offset=1), replace(received, partition=1), replace(received, topic="other")]
    builders = [_BUILDER, LeafBuilder(bytes(32))]
    blindings = {
        open_leaf(builder.record(Kind.UNPARSED, place).data).header["r"] for builder in builders for place in places
    }
    assert len(blindings) == 8
    assert all(len(blinding) == 32 for blinding in blindings)
    with pytest.raises(ValueError, match="not 32"):
        LeafBuilder(b"short")
