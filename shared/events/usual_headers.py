"""Headers as writers of ours send them, read in a few steps for all of them together: read one after another they take
half of what a record takes beside its signature.

`usual(received)` says what `unwrap`, `attributes_of` and `signing_input` say, or nothing: then the record is read by
these, and the first header that is wrong is the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from shared.events.envelope import (
    CONTENT_TYPE,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_HEADERS_BYTES,
    MAX_VALUE_BYTES,
    REQUIRED,
    Received,
    Unopened,
)
from shared.events.signing import DOMAIN_TAG, SIGNATURE_HEADER, framed

_MEDIA_TYPE = b"application/json"
_BETWEEN = "|"
"""Whole characters stand before it and behind it, or all of it is not UTF-8."""
_MAX_NAMES = 2_000
"""Letters in the names of usual headers, which are kept."""
_LENGTHS = [length.to_bytes(4) for length in range(MAX_HEADER_BYTES + 1)]


@dataclass(slots=True)
class Usual:
    """A record that is right but for what its envelope's values and its signature say."""

    attributes: dict[str, str]
    signed: bytes
    """What the writer signed."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the names of a record's headers, which few writers vary, decide by themselves."""

    length: int
    """What the names count for."""
    content_type: int
    """Where it stands."""
    pick: Callable[[tuple[Any, ...]], tuple[Any, ...]]
    """The data of what is signed in the order of the names, and that of the signature."""
    attributes: tuple[str, ...]
    """The names of what is picked."""
    signed: list[bytes]
    """Of each header that is signed: its name, and room for its length and its data."""
    count: bytes
    """How many are signed."""


def usual(received: Received) -> Usual | None:
    """The record read; None when it is to be read one header after another."""
    key, value, headers = received.key, received.value, received.headers
    if key is None or value is None or not headers or type(value) is Unopened or len(value) > MAX_VALUE_BYTES:
        return None
    flat: tuple[Any, ...] = tuple(chain.from_iterable(headers))
    names, data = flat[::2], flat[1::2]
    shape = _shape(names) if len("".join(names)) <= _MAX_NAMES else None
    if shape is None or data[shape.content_type] != _MEDIA_TYPE:
        return None
    picked = shape.pick(data)
    try:
        text = _BETWEEN.encode().join(picked).decode()
        length = shape.length + len(b"".join(data))
    except (UnicodeDecodeError, TypeError):  # not UTF-8, or no data at all
        return None
    lengths = list(map(len, picked))
    if length > MAX_HEADERS_BYTES or max(lengths) > MAX_HEADER_BYTES:
        return None
    texts = text.split(_BETWEEN)
    if len(texts) != len(picked) or not text.isprintable():
        return None
    signed = shape.signed.copy()
    signed[1::3] = [_LENGTHS[length] for length in lengths[:-1]]
    signed[2::3] = picked[:-1]
    parts = (DOMAIN_TAG, len(key).to_bytes(4), key, shape.count, *signed, len(value).to_bytes(4), value)
    return Usual(dict(zip(shape.attributes, texts, strict=True)), b"".join(parts))


@lru_cache(64)
def _shape(names: tuple[str, ...]) -> _Shape | None:
    places = {name: place for place, name in enumerate(names)}
    signed = sorted(name for name in names if name.startswith("ce_") and name != SIGNATURE_HEADER)
    content_types = [place for place, name in enumerate(names) if name.lower() == CONTENT_TYPE]
    attributes = tuple(name.removeprefix("ce_") for name in (*signed, SIGNATURE_HEADER))
    is_once = len(places) == len(names) <= MAX_HEADERS and len(content_types) == 1
    if not is_once or SIGNATURE_HEADER not in places or not set(attributes) >= REQUIRED:
        return None
    return _Shape(
        length=sum(4 * len(name) for name in names),
        content_type=content_types[0],
        pick=itemgetter(*(places[name] for name in (*signed, SIGNATURE_HEADER))),
        attributes=attributes,
        signed=[part for name in signed for part in (framed(name), b"", b"")],
        count=len(signed).to_bytes(4),
    )
