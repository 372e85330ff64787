"""The file of approver keys is taken whole or refused with a sentence that says where it is broken."""

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.mdm_actions.approvers import ApproversFile, ApproversFileError, read


def _entry(**changes: Any) -> dict[str, Any]:
    return {
        "person": f"person-{'a' * 32}",
        "organisation": "acme-kk",
        "public_key": base64.b64encode(secrets.token_bytes(32)).decode(),
        "may": ["approve"],
    } | changes


def test_yaml_and_json_say_the_same() -> None:
    entry = _entry()
    as_json = read(json.dumps({"desk-1": entry}), "file")
    lines = "\n".join(f"  {name}: {json.dumps(value)}" for name, value in entry.items())
    assert read(f"desk-1:\n{lines}\n", "file") == as_json
    assert as_json["desk-1"].may == {"approve"}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "neither YAML nor JSON"),
        ("[1]", "must map key ids"),
        (json.dumps({"desk 1": _entry()}), "not a key id"),
        (json.dumps({"desk-1": 3}), "needs person"),
        (json.dumps({"desk-1": _entry(public_key="???")}), "desk-1: public_key: not base64"),
        (json.dumps({"desk-1": _entry(public_key="AAAA")}), "desk-1: public_key"),
        (json.dumps({"desk-1": _entry(person="Tanaka")}), "desk-1: person"),
        (json.dumps({"desk-1": _entry(may=["wipe"])}), "desk-1: may"),
        (json.dumps({"desk-1": _entry(admin=True)}), "desk-1: admin"),
    ],
)
def test_a_broken_file_is_refused_with_the_place(document: str, says: str) -> None:
    with pytest.raises(ApproversFileError, match=says):
        read(document, "file")


def test_one_key_in_two_names_is_refused() -> None:
    one = _entry()
    other = one | {"person": f"person-{'b' * 32}"}
    with pytest.raises(ApproversFileError, match="another person"):
        read(json.dumps({"desk-1": one, "desk-2": other}), "file")


def test_a_key_that_is_taken_out_stops_counting(tmp_path: Path) -> None:
    path = tmp_path / "approvers.json"
    path.write_text(json.dumps({"desk-1": _entry(), "desk-2": _entry()}))
    file = ApproversFile(path)
    assert set(file.load()) == {"desk-1", "desk-2"}
    path.write_text(json.dumps({"desk-2": _entry()}))
    assert set(file.load()) == {"desk-2"}
    path.unlink()
    with pytest.raises(ApproversFileError, match="cannot be read"):
        file.load()


def _sentence(text: str) -> str | None:
    try:
        read(text, "file")
    except ApproversFileError as error:
        return str(error)
    return None


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: raw.decode("latin-1")))
@example("2001-99-99")
def test_whatever_the_file_holds_the_answer_is_keys_or_a_sentence(text: str) -> None:
    said = _sentence(text)
    assert said is None or said.startswith("file: ")
