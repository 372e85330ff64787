"""Topics are as the registry says: made, brought in line, and what cannot be mended is named."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient

from lostphone.topics import BrokerError, apply, compare, manifest
from shared.events import LOG_TOPIC, TIMELINE_TOPIC, event_types
from shared.events.contracts import Topic

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def topic(kafka: str) -> Iterator[Topic]:
    topic = Topic(
        f"test.{secrets.token_hex(6)}", 3, {"retention.ms": "60000", "cleanup.policy": "delete"}, (), "A test."
    )
    yield topic
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    for answer in admin.delete_topics([topic.name]).values():
        answer.exception(timeout=10)


def test_the_manifest_has_every_type_and_keeps_the_log_for_ever() -> None:
    topics = {topic.name: topic for topic in manifest()}
    assert {entry.type for entry in event_types()} <= set(topics)
    assert {topic.partitions for topic in topics.values()} == {12}
    assert topics[LOG_TOPIC].config["retention.ms"] == "-1"
    assert topics[LOG_TOPIC].config["compression.type"] == "zstd"
    assert topics[TIMELINE_TOPIC].config["retention.ms"] == "-1"
    assert topics["lostphone.device-lost.v1"].config["retention.ms"] == str(90 * DAY_MS)
    assert topics["lostphone.ocsf.v1"].config["retention.ms"] == str(14 * DAY_MS)
    assert topics["lostphone.mdm-actions.dead-letters.v1"].config["retention.ms"] == str(30 * DAY_MS)
    assert {topic.config["cleanup.policy"] for topic in topics.values()} == {"delete"}


def test_no_two_topic_names_differ_by_underscore_only() -> None:
    assert not any("_" in topic.name for topic in manifest())


def test_a_missing_topic_is_made_and_making_it_again_changes_nothing(kafka: str, topic: Topic) -> None:
    connection = {"bootstrap.servers": kafka}
    assert compare(connection, [topic])[0].state == "missing"
    assert apply(connection, [topic])[0].state == "created"
    assert apply(connection, [topic])[0].state == "unchanged"


def test_a_setting_that_differs_is_set_and_partitions_are_only_named(kafka: str, topic: Topic) -> None:
    connection = {"bootstrap.servers": kafka}
    apply(connection, [topic])
    wanted = replace(topic, partitions=12, config={**topic.config, "retention.ms": "120000"})
    standing = compare(connection, [wanted])[0]
    assert standing.state == "differs"
    assert standing.changed == {"retention.ms": ("60000", "120000")}
    updated = apply(connection, [wanted])[0]
    assert updated.state == "updated"
    assert updated.drift == ("partitions: 3, not 12",)
    assert compare(connection, [wanted])[0].state == "drift"


def test_a_broker_that_is_not_there_is_one_sentence(unused_port: int) -> None:
    with pytest.raises(BrokerError, match="topics could not be listed"):
        compare({"bootstrap.servers": f"127.0.0.1:{unused_port}"}, manifest())
