"""The AsyncAPI 3.0 document, from an integrator's side: everything is received.

3.0 and not 3.1: code generators read it. Payloads point at the JSON Schemas beside it.
"""

from typing import Any

from shared.events.contracts.sample import SUBJECT, headers_of, value_of
from shared.events.contracts.schemas import flat, timeline_example
from shared.events.contracts.topics import OCSF_TOPIC, Topic, topics
from shared.events.registry import LOG_TOPIC, TIMELINE_TOPIC, EventType, event_types

_BINDING = "0.5.0"
_FORMAT = "application/schema+json;version=draft-2020-12"
_DATA_CLASSES = {
    "none": "no reference to a person",
    "pseudonymous": "references to people or commitments; no personal data itself",
}


def document() -> dict[str, Any]:
    """The whole document, ready to be written as YAML."""
    outward = [topic for topic in topics() if topic.name.split(".")[-2] not in ("dead-letters", "redrive")]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Lostphone events",
            "version": "0.1.0",
            "description": (
                "What happens to a lost phone, as events on Kafka. Delivery is at least once: drop what has a "
                "(ce_source, ce_id) that you have seen. Order holds per key (the subject), by ce_sequence per source. "
                "Ignore fields, event types and enumeration values that you do not know: within a major version we add "
                "and never take away. Draft until 1.0."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka-secure",
                "description": "SASL_SSL with SCRAM-SHA-512; the operator names the address. Compression is zstd.",
                "variables": {"bootstrap": {"default": "localhost:9092"}},
                "security": [{"$ref": "#/components/securitySchemes/scram"}],
            }
        },
        "channels": {topic.name: _channel(topic) for topic in outward},
        "operations": {_operation(topic.name): _receive(topic) for topic in outward},
        "components": {
            "messages": {
                **{entry.name: _message(entry) for entry in event_types()},
                "TimelineEntry": _timeline_message(),
                "OcsfEvent": _ocsf_message(),
            },
            "messageTraits": {"cloudEvent": _trait()},
            "securitySchemes": {"scram": {"type": "scramSha512"}},
        },
    }


def _operation(topic: str) -> str:
    """An operation's name, without dots: code generators make identifiers of it."""
    kebab = topic.removeprefix("lostphone.").removesuffix(".v1")
    return "receive" + "".join(word.capitalize() for word in kebab.replace(".", "-").split("-"))


def _messages_of(topic: Topic) -> list[str]:
    if topic.name == LOG_TOPIC:
        return [entry.name for entry in event_types() if entry.writer != "audit"]
    if topic.name == TIMELINE_TOPIC:
        return ["TimelineEntry"]
    if topic.name == OCSF_TOPIC:
        return ["OcsfEvent"]
    return [entry.name for entry in event_types() if entry.type == topic.name]


def _channel(topic: Topic) -> dict[str, Any]:
    retention = int(topic.config["retention.ms"])
    kept = "Kept for ever." if retention < 0 else f"Kept {retention // 86_400_000} days."
    return {
        "address": topic.name,
        "description": f"{topic.holds} {kept}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _messages_of(topic)},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": [topic.config["cleanup.policy"]],
                    "retention.ms": retention,
                    "max.message.bytes": int(topic.config["max.message.bytes"]),
                },
                "bindingVersion": _BINDING,
            }
        },
    }


def _receive(topic: Topic) -> dict[str, Any]:
    channel = "#/channels/" + topic.name.replace("~", "~0").replace("/", "~1")
    return {
        "action": "receive",
        "channel": {"$ref": channel},
        "summary": topic.holds,
        "bindings": {
            "kafka": {
                "groupId": {"type": "string", "description": "Begins with your principal's name and a dot."},
                "bindingVersion": _BINDING,
            }
        },
    }


def _message(entry: EventType) -> dict[str, Any]:
    return {
        "name": entry.type,
        "title": entry.name,
        "summary": flat(entry.description),
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": {"schemaFormat": _FORMAT, "schema": {"$ref": f"./schemas/{entry.type}.json"}},
        "examples": [{"name": "sample", "headers": headers_of(entry), "payload": value_of(entry)}],
        "x-writer": entry.writer,
        "x-data-class": _DATA_CLASSES[entry.data_class],
    }


def _timeline_message() -> dict[str, Any]:
    return {
        "name": TIMELINE_TOPIC,
        "title": "TimelineEntry",
        "summary": "Where one record stands in the timeline. Plain JSON without CloudEvents headers.",
        "contentType": "application/json",
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": _BINDING}},
        "payload": {"schemaFormat": _FORMAT, "schema": {"$ref": f"./schemas/{TIMELINE_TOPIC}.json"}},
        "examples": [{"name": "sample", "payload": timeline_example()}],
    }


def _ocsf_message() -> dict[str, Any]:
    return {
        "name": OCSF_TOPIC,
        "title": "OcsfEvent",
        "summary": "A recorded event in the Open Cybersecurity Schema Framework; see schema.ocsf.io for each class.",
        "contentType": "application/json",
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": _BINDING}},
        "payload": {
            "type": "object",
            "required": ["class_uid", "category_uid", "activity_id", "type_uid", "severity_id", "time", "metadata"],
            "properties": {
                name: {"type": "integer"}
                for name in ("class_uid", "category_uid", "activity_id", "type_uid", "severity_id", "time")
            }
            | {"metadata": {"type": "object"}},
        },
    }


def _trait() -> dict[str, Any]:
    """CloudEvents 1.0 in Kafka's binary mode."""
    text = {"type": "string"}
    headers: dict[str, dict[str, Any]] = {
        "content-type": {"type": "string", "const": "application/json"},
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {**text, "description": "UUIDv7; unique together with ce_source."},
        "ce_source": {**text, "description": "/lostphone/<service>, the writer."},
        "ce_type": {**text, "description": "The event type; also the name of its topic."},
        "ce_subject": {**text, "description": "Incident id, device-<id>, org-<id>, or log; the record key."},
        "ce_partitionkey": {**text, "description": "The same as ce_subject."},
        "ce_time": {"type": "string", "format": "date-time"},
        "ce_sequence": {
            "type": "string",
            "pattern": "^[0-9]{10}$",
            "description": "Gapless per (ce_source, ce_subject) over all types; a repeat is a duplicate.",
        },
        "ce_organisation": {**text, "description": "Whose incident it is."},
        "ce_actor": {**text, "description": "person-<ref>/<role>, service/<name> or anonymous/reporter."},
        "ce_drill": {"type": "string", "enum": ["true", "false"], "description": "true: an exercise."},
        "ce_causationid": {**text, "description": "ce_id of the event that this one answers."},
        "ce_traceparent": {**text, "description": "W3C trace context."},
        "ce_dataschema": {"type": "string", "format": "uri"},
        "ce_keyid": {**text, "description": "Which key signed; `event-keys.json` holds the public keys."},
        "ce_signature": {**text, "description": "Ed25519, base64; see docs/events/README.md."},
    }
    optional = {"ce_causationid", "ce_traceparent", "ce_dataschema"}
    return {
        "headers": {
            "type": "object",
            "properties": headers,
            "required": [name for name in headers if name not in optional],
        },
        "correlationId": {"location": "$message.header#/ce_subject", "description": "The incident."},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "The subject.", "examples": [SUBJECT]},
                "bindingVersion": _BINDING,
            }
        },
    }
