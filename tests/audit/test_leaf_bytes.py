"""The quick way in which usual leaves are written, and the general one, give the same bytes."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from services.audit.domain.leaf import Kind, LeafBuilder, Link, _any_attributes, attributes_line, canonical
from shared.events import Received

_TEXT = st.text(max_size=12).map(str.encode)
_NAMES = st.sampled_from(
    ("ce_id", "ce_type", "ce_naïve", 'ce_"quoted"', "ce_a;base64", "content-type", "Content-Type", "x")
)
_DATA = st.one_of(
    st.none(), st.binary(max_size=12), _TEXT, st.sampled_from((b"plain", b'"', b"\\", b"\x00", b"\x7f", b""))
)
_RECEIVED = st.builds(
    Received,
    topic=st.text(min_size=1, max_size=8),
    partition=st.integers(0, 99),
    offset=st.integers(0, 2**53 - 1),
    timestamp_ms=st.integers(-1, 2**53 - 1),
    key=st.one_of(st.none(), _TEXT, st.binary(max_size=8)),
    headers=st.lists(st.tuples(_NAMES, _DATA), max_size=6).map(tuple),
    value=st.binary(max_size=40),
)


@given(_RECEIVED)
def test_attributes_are_the_same_bytes_either_way(received: Received) -> None:
    assert attributes_line(received) == _any_attributes(received)


@given(
    _RECEIVED, st.text(max_size=8), st.integers(0, 2**53 - 1), st.one_of(st.none(), st.binary(min_size=32, max_size=32))
)
def test_the_header_of_a_chained_leaf_is_the_canonical_one(
    received: Received, subject: str, n: int, prev: bytes | None
) -> None:
    builder = LeafBuilder(bytes(32))
    leaf = builder.record(Kind.EVENT, received, link=Link(subject, n, prev))
    # A reason takes the general way; without it the header must be the same.
    general = builder.record(Kind.EVENT, received, link=Link(subject, n, prev), reason="x")
    assert leaf.data == general.data.replace(canonical({"reason": "x"})[1:-2] + b",", b"", 1)


def test_names_that_somebody_made_long_are_not_kept() -> None:
    attributes_line(Received("t", 0, 0, 0, b"k", (("ce_id", b"1"),), b""))
    tracemalloc.start()
    try:
        for at in range(30):
            attributes_line(Received("t", 0, at, 0, b"k", ((f"ce_{at}" + "n" * 100_000, b"1"),), b""))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 500_000
