"""Every topic of an installation, and how Kafka keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import get_args

from shared.events.registry import LOG_TOPIC, TIMELINE_TOPIC, Writer, event_types

PARTITIONS = 12
"""A one-way decision: another number would send the events of an open incident to another partition."""
OCSF_TOPIC = "lostphone.ocsf.v1"
OCSF_RETENTION = timedelta(days=14)
DEAD_LETTER_RETENTION = timedelta(days=30)
REDRIVE_RETENTION = timedelta(days=7)
SERVICES: tuple[Writer, ...] = get_args(Writer)
REDRIVABLE: tuple[Writer, ...] = tuple(service for service in SERVICES if service != "audit")
"""Whose dead letters can be offered again. The timeline takes nothing out of its turn."""
TIMESTAMPS = "message.timestamp.type"
_MAX_MESSAGE_BYTES = 1024 * 1024
_FOR_EVER = -1


@dataclass(frozen=True)
class Topic:
    """A topic as it should be. `config` is Kafka's own, as strings."""

    name: str
    partitions: int
    config: Mapping[str, str]
    writers: tuple[Writer, ...]
    holds: str


@cache
def topics() -> tuple[Topic, ...]:
    """All topics: the log, the outward feeds, one per event type, and the dead letters of each service."""
    feeds = (
        _topic(
            LOG_TOPIC,
            None,
            tuple(service for service in SERVICES if service != "audit"),
            "Every event of every service, signed; one order per subject. Kept for ever: it is the source of all else.",
            # By the broker's clock: a writer's own says nothing against the time that it claims.
            **{"compression.type": "zstd", TIMESTAMPS: "LogAppendTime"},
        ),
        _topic(TIMELINE_TOPIC, None, ("audit",), "Each recorded entry with its place in the log and in its chain."),
        _topic(OCSF_TOPIC, OCSF_RETENTION, ("audit",), "The SIEM feed: recorded events in OCSF."),
    )
    of_types = tuple(
        _topic(entry.type, entry.retention, ("audit",), f"{entry.name}: the bytes, headers and id that the log has.")
        if entry.writer != "audit"
        else _topic(entry.type, entry.retention, ("audit",), f"{entry.name}: signed by audit itself; not on the log.")
        for entry in event_types()
    )
    parked = tuple(
        _topic(
            dead_letter_topic(service), DEAD_LETTER_RETENTION, (service,), f"What {service} could not handle, and why."
        )
        for service in SERVICES
    )
    redriven = tuple(
        _topic(redrive_topic(service), REDRIVE_RETENTION, (), f"Dead letters that an operator offers {service} again.")
        for service in REDRIVABLE
    )
    return (*feeds, *of_types, *parked, *redriven)


def dead_letter_topic(service: str) -> str:
    """Where a service parks what it cannot take. No underscores: Kafka's metric names confuse them with dots."""
    return f"lostphone.{service.replace('_', '-')}.dead-letters.v1"


def redrive_topic(service: str) -> str:
    """Where an operator offers a service its dead letters again."""
    return f"lostphone.{service.replace('_', '-')}.redrive.v1"


def _topic(name: str, retention: timedelta | None, writers: tuple[Writer, ...], holds: str, **own: str) -> Topic:
    milliseconds = _FOR_EVER if retention is None else int(retention.total_seconds() * 1000)
    config = {
        "cleanup.policy": "delete",
        "compression.type": "producer",
        "max.message.bytes": str(_MAX_MESSAGE_BYTES),
        "retention.ms": str(milliseconds),
        **own,
    }
    return Topic(name, PARTITIONS, config, writers, holds)
