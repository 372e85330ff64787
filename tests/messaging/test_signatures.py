"""A signature is right or wrong for everybody who reads the log, whatever they check it with, alone or with others."""

import hashlib
import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from shared.events import LOG_TOPIC, Envelope, Event, KeyRing, Received, Rejection, Signer, event_types, read
from shared.events.signing import EventKey
from shared.messaging.readings import read_together

_ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the base point (RFC 8032, 5.1)."""
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_OURS = EventKey("reporter", _KEY.public_key())
_SIGNED = b"what the writer signed"
_POINTS_OF_SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
]


def _openssl(signature: bytes, signed: bytes) -> bool:
    try:
        _OURS.public_key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _with_commitment(point: bytes) -> bytes:
    """A signature whose R is this point, as only the holder of the key can make it."""
    wide = bytearray(hashlib.sha512(_KEY.private_bytes_raw()).digest()[:32])
    wide[0] &= 248
    wide[31] = wide[31] & 127 | 64
    challenge = hashlib.sha512(point + _OURS.public_key.public_bytes_raw() + _SIGNED).digest()
    number = int.from_bytes(challenge, "little") * int.from_bytes(wide, "little") % _ORDER
    return point + number.to_bytes(32, "little")


@pytest.mark.parametrize("point", _POINTS_OF_SMALL_ORDER)
def test_a_signature_with_a_point_of_small_order_is_what_openssl_says(point: str) -> None:
    signature = _with_commitment(bytes.fromhex(point))

    assert _OURS.verifies(signature, _SIGNED) == _openssl(signature, _SIGNED)


def test_libsodium_alone_would_refuse_what_others_take() -> None:
    signature = _with_commitment(bytes.fromhex(_POINTS_OF_SMALL_ORDER[0]))

    with pytest.raises(BadSignatureError):
        crypto_sign_open(signature + _SIGNED, _OURS.public_key.public_bytes_raw())
    assert _OURS.verifies(signature, _SIGNED)


def test_a_signature_that_was_made_longer_by_the_order_is_refused() -> None:
    signature = _KEY.sign(_SIGNED)
    longer = int.from_bytes(signature[32:], "little") + _ORDER

    assert not _OURS.verifies(signature[:32] + longer.to_bytes(32, "little"), _SIGNED)


@given(at=st.integers(0, 511))
def test_one_bit_makes_it_wrong(at: int) -> None:
    signature = bytearray(_KEY.sign(_SIGNED))
    signature[at // 8] ^= 1 << at % 8

    assert not _OURS.verifies(bytes(signature), _SIGNED)


@given(cut=st.integers(0, 63))
def test_a_part_of_a_signature_is_none_whatever_the_signed_bytes_begin_with(cut: int) -> None:
    signature = _KEY.sign(_SIGNED)

    assert not _OURS.verifies(signature[:cut], signature[cut:] + _SIGNED)
    assert not _OURS.verifies(signature + _SIGNED[:cut], _SIGNED[cut:] if cut else b"")


@given(signature=st.binary(max_size=80), signed=st.binary(max_size=80))
def test_any_bytes_are_what_openssl_says(signature: bytes, signed: bytes) -> None:
    assert _OURS.verifies(signature, signed) == _openssl(signature, signed)


@pytest.mark.parametrize("number", [0, 1, 8, 9, 25, 200])
async def test_many_say_together_what_each_says_alone(number: int, tmp_path: Path) -> None:
    keyring = _keyring(tmp_path)
    records = [_bent(at, _record(at)) for at in range(number)]

    together = await read_together(records, keyring)

    assert together == [read(record, keyring) for record in records]
    assert [reading.received.offset for reading in together] == list(range(number))
    wrong = [reading.received.offset for reading in together if isinstance(reading, Rejection)]
    assert wrong == [at for at in range(number) if at % 5 in (2, 3, 4)]
    assert all(isinstance(reading, Event) for reading in together if reading.received.offset not in wrong)


def _keyring(folder: Path) -> KeyRing:
    file = folder / "event-keys.json"
    public = b64encode(_KEY.public_key().public_bytes_raw()).decode()
    file.write_text(json.dumps({Signer("reporter", _KEY).keyid: {"service": "reporter", "public_key": public}}))
    return KeyRing(file)


def _record(at: int) -> Received:
    entry = next(entry for entry in event_types() if entry.name == "DeviceLost")
    subject = f"incident-{at}"
    envelope = Envelope(
        id=f"event-{at}", source="/lostphone/reporter", type=entry.model.event_type, subject=subject,
        time=datetime(2026, 11, 29, 23, 40, tzinfo=UTC), sequence=1, organisation="kk", actor="service/reporter",
    )  # fmt: skip
    headers, value = envelope.sign(Signer("reporter", _KEY), entry.model.model_validate(entry.example))
    return Received(LOG_TOPIC, 0, at, 1_795_000_000_000, subject.encode(), tuple(headers), value)


def _bent(at: int, record: Received) -> Received:
    """Of five in a row, three are wrong, each in its way."""
    match at % 5:
        case 2:
            return replace(record, value=(record.value or b"") + b" ")
        case 3:
            return replace(record, value=None)
        case 4:
            return replace(record, key=b"another")
        case _:
            return record
