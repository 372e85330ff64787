"""Every event: the registry, the models, the envelope, the signature.

Importing this package registers all events.
"""

from shared.events import audit, mdm_actions, notifier, reporter
from shared.events.envelope import MAX_CONTENT_TYPE_BYTES, Envelope, Received, Unopened
from shared.events.reading import Event, Reading, Rejection, read, statement
from shared.events.registry import LOG_TOPIC, TIMELINE_TOPIC, EventType, event_types, find
from shared.events.signing import KeyRing, Signer

__all__ = [
    "LOG_TOPIC",
    "MAX_CONTENT_TYPE_BYTES",
    "TIMELINE_TOPIC",
    "Envelope",
    "Event",
    "EventType",
    "KeyRing",
    "Reading",
    "Received",
    "Rejection",
    "Signer",
    "Unopened",
    "audit",
    "event_types",
    "find",
    "mdm_actions",
    "notifier",
    "read",
    "reporter",
    "statement",
]
