"""Who may do what on the broker: one principal per service, an operator, the SIEM, and a pattern for integrators.

Nobody may delete a topic or a record, nor set the retention of what is kept for ever, which would delete as well. A
principal without an entry may do nothing. Topics hold the events of every organisation: an installation that serves
several gives the integrators' pattern to people of its own operator only, and each organisation gets filtered feeds
and evidence.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from shared.events.contracts.topics import OCSF_TOPIC, REDRIVABLE, SERVICES, dead_letter_topic, redrive_topic, topics
from shared.events.registry import LOG_TOPIC, TIMELINE_TOPIC, Writer, event_types

type Resource = Literal["topic", "group", "cluster"]
type Operation = Literal["read", "write", "create", "describe", "describe_configs", "alter_configs"]

OPERATOR = "operator"
SIEM = "siem"
INTEGRATOR = "integrator-<name>"
"""A pattern, not a principal: whoever grants it puts the integrator's name in its place."""


@dataclass(frozen=True, order=True)
class Acl:
    """One allowance. All are of type ALLOW, from any host."""

    principal: str
    resource: Resource
    name: str
    pattern: Literal["literal", "prefixed"]
    operations: tuple[Operation, ...]


@cache
def acls() -> tuple[Acl, ...]:
    """Every allowance of an installation; those of `INTEGRATOR` are a pattern to be filled in."""
    of_services = (acl for service in SERVICES for acl in _of_service(service))
    return (*of_services, *_of_operator(), *_of_siem(), *_of_integrator())


def _of_service(service: Writer) -> tuple[Acl, ...]:
    principal = f"User:{service}"
    common = (
        Acl(principal, "topic", LOG_TOPIC, "literal", ("read", "describe")),
        Acl(principal, "group", service, "literal", ("read",)),
        Acl(principal, "group", f"{service}.", "prefixed", ("read",)),
        Acl(principal, "topic", dead_letter_topic(service), "literal", ("write", "read", "describe")),
    )
    written = [
        topic.name for topic in topics() if service in topic.writers and topic.name != dead_letter_topic(service)
    ]
    redriven = [redrive_topic(service)] if service in REDRIVABLE else []
    # What audit says of itself is on no log: the SIEM feed is built again from where it said it.
    own = [entry.type for entry in event_types() if entry.writer == service == "audit"]
    return (
        *common,
        *(Acl(principal, "topic", name, "literal", ("read", "describe")) for name in (*redriven, *own)),
        *(Acl(principal, "topic", name, "literal", ("write", "describe")) for name in written),
    )


def _of_operator() -> tuple[Acl, ...]:
    principal = f"User:{OPERATOR}"
    on_topics: tuple[Operation, ...] = ("create", "describe", "describe_configs", "read")
    configured = [topic.name for topic in topics() if topic.name not in (LOG_TOPIC, TIMELINE_TOPIC)]
    return (
        Acl(principal, "topic", "lostphone.", "prefixed", on_topics),
        *(Acl(principal, "topic", name, "literal", ("alter_configs",)) for name in configured),
        *(Acl(principal, "topic", redrive_topic(service), "literal", ("write",)) for service in REDRIVABLE),
        Acl(principal, "group", f"{OPERATOR}.", "prefixed", ("read",)),
        *(Acl(principal, "group", service, "prefixed", ("describe",)) for service in SERVICES),
        Acl(principal, "cluster", "kafka-cluster", "literal", ("describe", "describe_configs")),
    )


def _of_siem() -> tuple[Acl, ...]:
    principal = f"User:{SIEM}"
    return (
        *(Acl(principal, "topic", name, "literal", ("read", "describe")) for name in (OCSF_TOPIC, TIMELINE_TOPIC)),
        Acl(principal, "group", f"{SIEM}.", "prefixed", ("read",)),
    )


def _of_integrator() -> tuple[Acl, ...]:
    principal = f"User:{INTEGRATOR}"
    return (
        *(Acl(principal, "topic", entry.type, "literal", ("read", "describe")) for entry in event_types()),
        Acl(principal, "topic", TIMELINE_TOPIC, "literal", ("read", "describe")),
        Acl(principal, "group", f"{INTEGRATOR}.", "prefixed", ("read",)),
    )
