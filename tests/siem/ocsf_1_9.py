"""OCSF 1.9.0 as far as the feed uses it: the published 1.8.0, and what the text of 1.9.0 adds to it.

No package has the compiled schema of 1.9.0 yet. The additions are written from the sources of the OCSF project
(profiles/record_integrity.json, objects/attestation.json, prev_event.json, fingerprint.json, the class Entity
Management), in the shape of the compiled schema. Replace this by the published schema when a package has it.
"""

from copy import deepcopy
from typing import Any

type Attribute = dict[str, Any]


def _attribute(kind: str, requirement: str, **more: Any) -> Attribute:
    return {"type": kind, "requirement": requirement, **more}


def _object(name: str, requirement: str, **more: Any) -> Attribute:
    return _attribute("object_t", requirement, object_type=name, **more)


def _numbered(requirement: str, *captions: str) -> Attribute:
    """An enumeration from 0, which is Unknown, with 99 for Other."""
    known = {str(number): {"caption": caption} for number, caption in enumerate(("Unknown", *captions))}
    return _attribute("integer_t", requirement, enum=known | {"99": {"caption": "Other"}})


_PREV_EVENT = {
    "name": "prev_event",
    "caption": "Previous Event",
    "attributes": {
        "uid": _attribute("string_t", "required"),
        "type_uid": _attribute("long_t", "recommended"),
        "fingerprint": _object("fingerprint", "optional"),
    },
}
_ATTESTATION = {
    "name": "attestation",
    "caption": "Attestation",
    "attributes": {
        "uid": _attribute("string_t", "optional"),
        "authority_uid": _attribute("string_t", "recommended"),
        "signatures": _object("digital_signature", "recommended", is_array=True),
        "fingerprint": _object("fingerprint", "recommended"),
        "prev_event": _object("prev_event", "recommended"),
        "chain_uid": _attribute("string_t", "recommended"),
    },
    "constraints": {"at_least_one": ["fingerprint", "signatures"]},
}
_OF_FINGERPRINTS = {
    "encoding": _attribute("string_t", "optional"),
    "encoding_id": _numbered("recommended", "Hex", "Base64", "Base64URL"),
    "serialization": _attribute("string_t", "optional"),
    "serialization_id": _numbered(
        "optional", "Flat", "JCS", "JWS", "COSE", "DSSE", "Authenticode", "Code Signing", "App Package"
    ),
}
_OF_EVERY_CLASS = {
    "attestation_list": _object("attestation", "optional", is_array=True, profiles=["record_integrity"]),
}
_UPDATED_ENTITY = {"updated_entity": _object("managed_entity", "recommended")}
_DEPRECATED = {
    "entity_management": ("entity_result",),
    "compliance_finding": ("comment",),
    "detection_finding": ("comment",),
    "incident_finding": ("comment",),
    "data_security_finding": ("comment",),
}


def with_1_9(published: dict[str, Any]) -> dict[str, Any]:
    """The compiled schema of 1.8.0 with what the feed uses of 1.9.0."""
    schema = deepcopy(published)
    schema["version"] = "1.9.0"
    schema["objects"] |= {"prev_event": _PREV_EVENT, "attestation": _ATTESTATION}
    schema["objects"]["fingerprint"]["attributes"] |= _OF_FINGERPRINTS
    for known in schema["classes"].values():
        known["attributes"] |= _OF_EVERY_CLASS
    schema["classes"]["entity_management"]["attributes"] |= _UPDATED_ENTITY
    for name, attributes in _DEPRECATED.items():
        for attribute in attributes:
            schema["classes"][name]["attributes"][attribute]["@deprecated"] = {"since": "1.9.0"}
    return schema
