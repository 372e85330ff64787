"""Commitments have the shape of SD-JWT disclosures (RFC 9901)."""

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.vault.commitment import Disclosure, digest_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(name=TEXT, value=TEXT)
def test_a_disclosure_is_salt_name_value_and_its_digest_is_sha_256_of_the_text(name: str, value: str) -> None:
    disclosure = Disclosure.of(name, value)
    padded = disclosure.text + "=" * (-len(disclosure.text) % 4)
    salt, got_name, got_value = json.loads(base64.urlsafe_b64decode(padded))
    assert (got_name, got_value) == (name, value)
    assert len(base64.urlsafe_b64decode(salt + "=" * (-len(salt) % 4))) == 32
    expected = base64.urlsafe_b64encode(hashlib.sha256(disclosure.text.encode("ascii")).digest()).rstrip(b"=")
    assert disclosure.digest == expected.decode()
    assert Disclosure.read(disclosure.text) == disclosure


@given(value=TEXT)
def test_no_two_commitments_to_one_value_are_alike(value: str) -> None:
    assert Disclosure.of("n", value).digest != Disclosure.of("n", value).digest


def test_the_example_of_the_rfc_gives_its_digest() -> None:
    text = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0"
    assert digest_of(text) == "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"
    disclosure = Disclosure.read(text)
    assert (disclosure.name, disclosure.value) == ("family_name", "Möbius")


@pytest.mark.parametrize("array", ["[]", '["s", "n"]', '["s", "n", 1]', '{"a": 1}', "not json"])
def test_what_is_no_disclosure_is_refused(array: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own error is one too
        Disclosure.read(base64.urlsafe_b64encode(array.encode()).rstrip(b"=").decode())
