"""Headers that are read together say what they say one after another, and all that we write is read so."""

import tracemalloc
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.events import LOG_TOPIC, Envelope, Received, Signer, event_types
from shared.events.envelope import Unopened, attributes_of, unwrap
from shared.events.registry import EventType
from shared.events.signing import signing_input
from shared.events.usual_headers import usual

_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

type Headers = list[tuple[str, bytes | None]]


def _record(entry: EventType) -> Received:
    envelope = Envelope(
        id="event-1", source=entry.source, type=entry.type, subject="incident-1", sequence=1,
        time=datetime(2026, 11, 30, 23, 40, tzinfo=UTC), organisation="丸の内商事", actor="person-1/employee",
        causationid="event-0", traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    )  # fmt: skip
    headers, value = envelope.sign(Signer(entry.writer, _KEY), entry.model.model_validate(entry.example))
    return Received(LOG_TOPIC, 0, 7, 1_795_000_000_000, b"incident-1", tuple(headers), value)


_OURS = _record(next(entry for entry in event_types() if entry.name == "DeviceLost"))
_TEXTS = st.sampled_from(
    [b"a|b", b"", "端末".encode(), b"\xe3\x81", b"\x81", b"a\nb", b"a\x00", b"x" * 1024, b"x" * 1025]
)
_DATA = st.one_of(st.none(), _TEXTS, st.binary(max_size=20), st.text(max_size=8).map(str.encode))
_NAMES = st.one_of(
    st.sampled_from([name for name, _ in _OURS.headers]),
    st.sampled_from(["Content-Type", "traceparent", "ce_extra", "ce_", "ce", "CE_id", "ce_端末"]),
    st.text(max_size=8),
)


@st.composite
def _bent(draw: st.DrawFn) -> Received:
    """A record of ours, of which somebody changed a little."""
    headers: Headers = list(_OURS.headers)
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(headers)))
        change = draw(st.sampled_from(["add", "drop", "data", "name", "again", "order"]))
        if change == "add":
            headers.insert(place, (draw(_NAMES), draw(_DATA)))
        elif change == "order":
            headers = draw(st.permutations(headers))
        elif place < len(headers):
            name, data = headers[place]
            headers[place : place + 1] = {
                "drop": [],
                "data": [(name, draw(_DATA))],
                "name": [(draw(_NAMES), data)],
                "again": [(name, data)] * 2,
            }[change]
    key = draw(st.sampled_from([_OURS.key, None, b"", b"another"]))
    value = draw(st.sampled_from([_OURS.value, None, b"", Unopened(b"batch"), b"x" * 900_001]))
    return Received(LOG_TOPIC, 0, 7, 1_795_000_000_000, key, tuple(headers), value)


@given(_bent())
def test_what_is_read_together_is_what_is_read_one_after_another(record: Received) -> None:
    found = usual(record)

    if found is not None:
        headers, value = unwrap(record)
        assert value == record.value
        assert found.attributes == attributes_of(headers)
        assert found.signed == signing_input(record.key or b"", headers, value)


def test_every_event_of_ours_is_usual() -> None:
    for entry in event_types():
        assert usual(_record(entry)) is not None, entry.name


def test_a_character_between_attributes_that_stands_in_one_is_read_right() -> None:
    headers = tuple((name, b"a|b" if name == "ce_actor" else data) for name, data in _OURS.headers)
    record = Received(LOG_TOPIC, 0, 7, 1_795_000_000_000, _OURS.key, headers, _OURS.value)

    assert usual(record) is None
    assert attributes_of(unwrap(record)[0])["actor"] == "a|b"


def test_names_that_somebody_made_long_are_not_kept() -> None:
    usual(_OURS)
    tracemalloc.start()
    try:
        for at in range(30):
            headers = (*_OURS.headers, (f"{at}" + "n" * 100_000, b""))
            assert usual(Received(LOG_TOPIC, 0, at, 0, _OURS.key, headers, _OURS.value)) is None
        del headers
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 500_000
