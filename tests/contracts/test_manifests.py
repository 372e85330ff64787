"""Topics and ACLs: what is kept how long, and who may write what."""

from typing import get_args

from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from lostphone.topics import manifest
from shared.events import LOG_TOPIC, TIMELINE_TOPIC, event_types
from shared.events.contracts import REDRIVABLE, Acl, acls, dead_letter_topic, redrive_topic, topics
from shared.events.registry import Writer

SERVICES = get_args(Writer)


def may(principal: str, operation: str, resource: str = "topic") -> list[Acl]:
    return [
        acl
        for acl in acls()
        if acl.principal == f"User:{principal}" and acl.resource == resource and operation in acl.operations
    ]


def test_every_topic_is_there_once_with_twelve_partitions() -> None:
    names = [topic.name for topic in topics()]
    assert len(set(names)) == len(names)
    assert all(topic.partitions == 12 for topic in topics())
    expected = {LOG_TOPIC, TIMELINE_TOPIC, "lostphone.ocsf.v1", *(entry.type for entry in event_types())}
    kept_apart = {dead_letter_topic(service) for service in SERVICES} | {redrive_topic(name) for name in REDRIVABLE}
    assert set(names) == expected | kept_apart


def test_the_log_and_the_timeline_are_kept_for_ever_and_nothing_is_compacted() -> None:
    kept = {topic.name: topic.config for topic in topics()}
    assert kept[LOG_TOPIC]["retention.ms"] == kept[TIMELINE_TOPIC]["retention.ms"] == "-1"
    assert kept[LOG_TOPIC]["compression.type"] == "zstd"
    assert kept["lostphone.device-lost.v1"]["retention.ms"] == str(90 * 86_400_000)
    assert kept["lostphone.ocsf.v1"]["retention.ms"] == str(14 * 86_400_000)
    assert {config["cleanup.policy"] for config in kept.values()} == {"delete"}


def test_topic_names_hold_no_underscore() -> None:
    assert not [topic.name for topic in topics() if "_" in topic.name]


def test_what_the_command_line_applies_is_this_manifest() -> None:
    applied = {topic.name: (topic.partitions, dict(topic.config)) for topic in manifest()}
    assert applied == {topic.name: (topic.partitions, dict(topic.config)) for topic in topics()}


def test_three_services_write_the_log_and_their_dead_letters_and_nothing_else() -> None:
    for service in ("reporter", "mdm_actions", "notifier"):
        assert {acl.name for acl in may(service, "write")} == {LOG_TOPIC, dead_letter_topic(service)}


def test_audit_writes_the_outward_topics_and_never_the_log() -> None:
    written = {acl.name for acl in may("audit", "write")}
    outward = {TIMELINE_TOPIC, "lostphone.ocsf.v1", *(entry.type for entry in event_types())}
    assert written == outward | {dead_letter_topic("audit")}


def test_each_topic_is_written_by_whom_the_manifest_says() -> None:
    for topic in topics():
        writers = {service for service in SERVICES if topic.name in {acl.name for acl in may(service, "write")}}
        assert writers == set(topic.writers)


def test_every_service_reads_the_log_in_groups_of_its_own() -> None:
    for service in SERVICES:
        assert LOG_TOPIC in {acl.name for acl in may(service, "read")}
        assert {acl.name for acl in may(service, "read", "group")} == {service, f"{service}."}


def test_nobody_outside_writes_but_the_operator_who_redrives_and_nobody_at_all_deletes() -> None:
    outside = [acl for acl in acls() if acl.principal.removeprefix("User:") not in SERVICES]
    written = {(acl.principal, acl.name) for acl in outside if "write" in acl.operations}
    assert written == {("User:operator", redrive_topic(service)) for service in REDRIVABLE}
    assert not [acl for acl in acls() if "delete" in acl.operations or "all" in acl.operations]


def test_nobody_sets_the_retention_of_what_is_kept_for_ever() -> None:
    configured = {(acl.principal, acl.name) for acl in acls() if "alter_configs" in acl.operations}
    short = {topic.name for topic in topics() if topic.config["retention.ms"] != "-1"}
    assert configured == {("User:operator", name) for name in short}


def test_every_allowance_is_one_that_kafka_knows() -> None:
    for acl in acls():
        name = "BROKER" if acl.resource == "cluster" else acl.resource.upper()
        for operation in acl.operations:
            AclBinding(
                ResourceType[name],
                acl.name,
                ResourcePatternType[acl.pattern.upper()],
                acl.principal,
                "*",
                AclOperation[operation.upper()],
                AclPermissionType.ALLOW,
            )


def test_integrators_and_the_siem_do_not_read_the_raw_log() -> None:
    for principal in ("siem", "integrator-<name>"):
        assert LOG_TOPIC not in {acl.name for acl in may(principal, "read")}
