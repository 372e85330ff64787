"""The versions of OCSF that the feed speaks. Everything in which they differ is here.

An event is built as 1.8.0 has it. 1.9.0 calls a changed entity by another name, and has the profile `record_integrity`:
its `attestation_list` shows the timeline's hash chain, each event with the hash of its own leaf and that of the leaf
before it. The profile's own text has the fingerprint taken over the OCSF event; ours is taken over the leaf, which
holds the event as it was signed and the hash before it, and says so: `serialization_id` is 99.
"""

from enum import StrEnum

from services.audit.feeds.ocsf_classes import OTHER
from services.audit.feeds.ocsf_parts import Part
from services.audit.feeds.ocsf_table import ROWS
from shared.events import find

RECORD_INTEGRITY = "record_integrity"
SERIALIZATION = "Lostphone timeline leaf 1, RFC 6962"
RENAMED = {"entity_result": "updated_entity"}
"""Attributes that 1.9.0 deprecates, by the name that it has for them."""


class OcsfVersion(StrEnum):
    """What `metadata.version` says."""

    V1_8 = "1.8.0"
    V1_9 = "1.9.0"


def in_version(event: Part, version: OcsfVersion, attestation: Part | None) -> Part:
    """The event of 1.8.0 as this version has it. `attestation`: None for what has no entry in the timeline."""
    if version is OcsfVersion.V1_8:
        return event
    metadata = event["metadata"] | {"version": version.value}
    told = {RENAMED.get(name, name): value for name, value in event.items()} | {"metadata": metadata}
    if attestation is None:
        return told
    metadata["profiles"] = [*metadata["profiles"], RECORD_INTEGRITY]
    return told | {"attestation_list": [attestation]}


def attestation(leaf: bytes, chain: str | None = None, before: Part | None = None) -> Part:
    """Of an entry with this leaf hash, in the chain of a subject, behind another one."""
    attested: Part = {"fingerprint": _fingerprint(leaf.hex())}
    if chain is not None:
        attested["chain_uid"] = chain
    if before is not None:
        attested["prev_event"] = before
    return attested


def event_before(leaf: str, event_id: str | None, event_type: str | None) -> Part:
    """The entry before, by the hash of its leaf. A seal is no event and has no id: its hash stands for it."""
    before: Part = {"uid": event_id or leaf}
    entry = find(event_type) if event_type else None
    if entry is not None and not (row := ROWS[entry.name]).activity_varies:
        before["type_uid"] = row.type_uid
    return before | {"fingerprint": _fingerprint(leaf)}


def _fingerprint(value: str) -> Part:
    return {
        "algorithm_id": 3,
        "algorithm": "SHA-256",
        "encoding_id": 1,
        "encoding": "Hex",
        "serialization_id": OTHER,
        "serialization": SERIALIZATION,
        "value": value,
    }
