"""What makes an OCSF event right: the published JSON Schema, and rules for what a JSON Schema cannot see."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from services.audit.feeds.ocsf_versions import OcsfVersion
from tests.siem.ocsf_1_9 import with_1_9

_PROFILES = {"datetime", "host", "incident", "security_control"}
_OF_VERSION = {OcsfVersion.V1_8: _PROFILES, OcsfVersion.V1_9: _PROFILES | {"record_integrity"}}
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_DIGEST = re.compile(r"(?!device-)[A-Za-z0-9_-]{43}")
_PERSONAL = re.compile(r"[^@\s]+@[^@\s]+\.[a-z]+|(?<![0-9a-f-])0\d{1,3}-\d{2,4}-\d{4}(?![0-9a-f-])")


@cache
def schema(version: OcsfVersion = OcsfVersion.V1_8) -> dict[str, Any]:
    published: dict[str, Any] = get_ocsf_schema(version=OcsfVersion.V1_8.value)
    return published if version is OcsfVersion.V1_8 else with_1_9(published)


@cache
def _validator(version: OcsfVersion, class_uid: int, profiles: tuple[str, ...]) -> Draft202012Validator:
    known = OcsfJsonSchemaEmbedded(schema(version))
    name = known.lookup_class_name_from_uid(class_uid)
    return Draft202012Validator(known.get_class_schema(name, profiles=list(profiles)))


def problems(event: dict[str, Any], version: OcsfVersion = OcsfVersion.V1_8) -> list[str]:
    """Everything that is wrong with an event of this version; none for one that a strict reader takes."""
    validator = _validator(version, event["class_uid"], tuple(event["metadata"]["profiles"]))
    by_schema = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(event)]
    return by_schema + list(_unseen(event, version))


def _unseen(event: dict[str, Any], version: OcsfVersion) -> Iterator[str]:
    if next(iter(event)) != "time":
        yield "time is not first"
    if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
        yield f"type_uid {event['type_uid']} is not class {event['class_uid']}, activity {event['activity_id']}"
    if event["category_uid"] != event["class_uid"] // 1000:
        yield "category_uid is not of this class"
    if event["metadata"]["version"] != version.value:
        yield f"version {event['metadata']['version']}"
    if unknown := set(event["metadata"]["profiles"]) - _OF_VERSION[version]:
        yield f"profiles {unknown}"
    yield from _captions(event, version)
    yield from _observables(event)
    yield from _attestations(event, version)
    yield from _flat(event.get("unmapped", {}))
    for path, text in _texts(event):
        if _UNSAFE.search(text):
            yield f"{path} holds a control or bidi character"


def personal(event: dict[str, Any]) -> list[str]:
    """Texts that look like personal data or like a commitment to it."""
    return [f"{path}: {text}" for path, text in _texts(event) if _PERSONAL.search(text) or _DIGEST.fullmatch(text)]


def _captions(event: dict[str, Any], version: OcsfVersion) -> Iterator[str]:
    """Each number stands beside its caption as the schema has it; 99 beside a wording of the source's. No attribute is
    deprecated."""
    known = next(one for one in schema(version)["classes"].values() if one["uid"] == event["class_uid"])
    for name in event:
        if "@deprecated" in known["attributes"].get(name, {}):
            yield f"{name} is deprecated"
    pairs = {"activity_id": "activity_name", "severity_id": "severity", "status_id": "status"}
    for number, caption in pairs.items():
        wanted = known["attributes"][number]["enum"][str(event[number])]["caption"]
        if event[number] == 99:
            if event[caption] in ("", "Other"):
                yield f"{caption} has no wording"
        elif event[caption] != wanted:
            yield f"{caption} is {event[caption]}, not {wanted}"
    if event["class_name"] != known["caption"] or event["type_name"] != f"{known['caption']}: {event['activity_name']}":
        yield "class_name or type_name"


def _observables(event: dict[str, Any]) -> Iterator[str]:
    types = schema()["objects"]["observable"]["attributes"]["type_id"]["enum"]
    for observable in event.get("observables", []):
        found: Any = event
        for name in observable["name"].split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found is None or ("value" in observable and found != observable["value"]):
            yield f"observable {observable['name']} does not resolve"
        if types[str(observable["type_id"])]["caption"] != observable["type"]:
            yield f"observable {observable['name']} has the wrong type"


def _attestations(event: dict[str, Any], version: OcsfVersion) -> Iterator[str]:
    """The profile is declared where it is filled; a fingerprint says how it was taken, in numbers and in words."""
    if version is OcsfVersion.V1_8:
        return
    if ("record_integrity" in event["metadata"]["profiles"]) != ("attestation_list" in event):
        yield "record_integrity is declared and not filled"
    for attestation in event.get("attestation_list", []):
        for fingerprint in (one["fingerprint"] for one in _with_fingerprint(attestation)):
            for name, wording in _OF_FINGERPRINT.items():
                known = schema(version)["objects"]["fingerprint"]["attributes"][name]["enum"]
                wanted = known[str(fingerprint[name])]["caption"]
                if (fingerprint[wording] == wanted) == (fingerprint[name] == 99):
                    yield f"fingerprint: {wording} is {fingerprint[wording]}, {name} is {fingerprint[name]}"


def _with_fingerprint(attestation: dict[str, Any]) -> list[dict[str, Any]]:
    return [part for part in (attestation, attestation.get("prev_event", {})) if "fingerprint" in part]


_OF_FINGERPRINT = {"algorithm_id": "algorithm", "encoding_id": "encoding", "serialization_id": "serialization"}


def _flat(unmapped: dict[str, Any]) -> Iterator[str]:
    for name, value in unmapped.items():
        if not isinstance(value, str):
            yield f"unmapped.{name} is no string"


def _texts(value: Any, path: str = "$") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _texts(inner, f"{path}[{at}]")
