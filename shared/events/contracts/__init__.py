"""The contracts that integrators, operators and tools read, generated from the registry of events.

    python -m shared.events.contracts [--check] [--root FOLDER]

writes `contracts/` (JSON Schemas, AsyncAPI, topics, ACLs) and `docs/events/`; with `--check` it writes nothing and
says which files differ. `topics()` and `acls()` are the same manifests as Python objects.
"""

from shared.events.contracts.acls import Acl, acls
from shared.events.contracts.topics import REDRIVABLE, Topic, dead_letter_topic, redrive_topic, topics

__all__ = ["REDRIVABLE", "Acl", "Topic", "acls", "dead_letter_topic", "redrive_topic", "topics"]
