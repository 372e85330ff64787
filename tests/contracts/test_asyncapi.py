"""The AsyncAPI document: every reference leads somewhere, and every example satisfies what it is an example of.

AsyncAPI's own parser (npm `@asyncapi/parser`) finds no error in it; it is not part of the tests, since it would bring
Node packages to every test machine. What it looks at is checked here by hand, and examples, which it does not check.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from shared.events import LOG_TOPIC, event_types
from shared.events.contracts import topics

CONTRACTS = Path(__file__).parents[2] / "contracts"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONTRACTS / "asyncapi.yaml").read_text())
    return found


def references(part: Any) -> list[str]:
    if isinstance(part, list):
        return [found for item in part for found in references(item)]
    if not isinstance(part, dict):
        return []
    here = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return here + [found for value in part.values() for found in references(value)]


def resolve(document: dict[str, Any], reference: str) -> Any:
    file, _, pointer = reference.partition("#")
    target: Any = yaml.safe_load((CONTRACTS / file).read_text()) if file else document
    for step in filter(None, pointer.split("/")):
        target = target[step.replace("~1", "/").replace("~0", "~")]
    return target


def test_it_is_asyncapi_3_0_with_the_fields_of_the_specification(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    known = {"asyncapi", "id", "info", "servers", "defaultContentType", "channels", "operations", "components"}
    assert set(document) <= known
    assert {"title", "version"} <= set(document["info"])
    for server in document["servers"].values():
        assert {"host", "protocol"} <= set(server)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = references(document)
    assert len(found) > 200
    for reference in found:
        assert resolve(document, reference) is not None


def test_every_topic_for_readers_is_a_channel_with_its_kafka_binding(document: dict[str, Any]) -> None:
    outward = {topic.name: topic for topic in topics() if topic.name.split(".")[-2] not in ("dead-letters", "redrive")}
    assert set(document["channels"]) == set(outward)
    for name, channel in document["channels"].items():
        binding = channel["bindings"]["kafka"]
        assert channel["address"] == binding["topic"] == name
        assert binding["partitions"] == outward[name].partitions
        assert binding["bindingVersion"] == "0.5.0"
        assert str(binding["topicConfiguration"]["retention.ms"]) == outward[name].config["retention.ms"]
        assert channel["messages"]


def test_the_log_carries_every_event_but_those_of_audit(document: dict[str, Any]) -> None:
    carried = set(document["channels"][LOG_TOPIC]["messages"])
    assert carried == {entry.name for entry in event_types() if entry.writer != "audit"}


def test_every_channel_is_received_once_under_a_name_that_makes_an_identifier(document: dict[str, Any]) -> None:
    operations = document["operations"]
    assert all(name.isidentifier() for name in operations)
    assert all(operation["action"] == "receive" for operation in operations.values())
    channels = [operation["channel"]["$ref"].removeprefix("#/channels/") for operation in operations.values()]
    assert sorted(channels) == sorted(document["channels"])


def test_every_message_has_key_headers_payload_and_a_valid_example(document: dict[str, Any]) -> None:
    trait = document["components"]["messageTraits"]["cloudEvent"]
    headers = Draft202012Validator(trait["headers"])
    for entry in event_types():
        message = document["components"]["messages"][entry.name]
        assert message["traits"] == [{"$ref": "#/components/messageTraits/cloudEvent"}]
        schema = resolve(document, message["payload"]["schema"]["$ref"])
        assert schema["$id"] == entry.dataschema
        for example in message["examples"]:
            headers.validate(example["headers"])
            assert set(example["headers"]) <= set(trait["headers"]["properties"])
            Draft202012Validator(schema).validate(example["payload"])
            assert example["headers"]["ce_type"] == message["name"] == entry.type


def test_components_that_nothing_uses_are_not_there(document: dict[str, Any]) -> None:
    used = {reference.rsplit("/", 1)[-1] for reference in references(document["channels"])}
    assert set(document["components"]["messages"]) == used
