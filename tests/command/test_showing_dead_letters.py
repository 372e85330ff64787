"""A dead letter is shown whatever its value is."""

import base64
import json
import secrets

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from lostphone.__main__ import app
from lostphone.dead_letters import read_all
from shared.events.contracts import dead_letter_topic

_DEEP = b"[" * 1000 + b"]" * 1000


@pytest.mark.parametrize("as_json", [["--json"], []], ids=["for programs", "for people"])
@pytest.mark.parametrize("value", [_DEEP, b"no JSON"], ids=["nested a thousand deep", "not JSON"])
def test_one_that_cannot_be_laid_out_is_shown_in_base64_and_a_sentence_says_so(
    value: bytes, as_json: list[str], topics: str
) -> None:
    subject = secrets.token_hex(8)
    producer = Producer({"bootstrap.servers": topics, "log_level": 0})
    producer.produce(dead_letter_topic("notifier"), key=subject, value=value)
    assert producer.flush(60) == 0
    letters = read_all({"bootstrap.servers": topics}, ["notifier"])
    (name,) = [letter.id for letter in letters if letter.subject == subject]
    shown = CliRunner().invoke(
        app,
        ["ops", "dead-letters", "show", name, "--bootstrap", topics, *as_json],
        env={"LOSTPHONE_LANG": "en"},
        catch_exceptions=False,
    )
    assert shown.exit_code == 0
    assert f"{name}: its value is not JSON, or nests too deep" in shown.stderr
    text = base64.b64encode(value).decode()
    if as_json:
        assert json.loads(shown.stdout)[0]["value"] == {"base64": text}
    else:
        assert json.dumps({"base64": text}, indent=2) in shown.stdout
