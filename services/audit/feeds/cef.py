"""CEF, the line that ArcSight and many log managers read: `CEF:0|vendor|product|version|id|name|severity|extension`.

In the header `|` and `\\` are escaped; in values `=` and `\\`, and CR and LF are spelt `\\r` and `\\n`. Whatever
comes in, one line goes out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.audit.feeds.ocsf_text import neutral

_HEADER = re.compile(r"((?:[^|\\]|\\.)*)\|")
_KEY = re.compile(r"(?:^| )([A-Za-z0-9_]+)=")
_ESCAPED = re.compile(r"\\(.)")
_UNESCAPED = {"r": "\r", "n": "\n"}


@dataclass(frozen=True, slots=True)
class CefEvent:
    """What one line says."""

    vendor: str
    product: str
    version: str
    signature: str
    name: str
    severity: int
    """0 to 10."""
    extension: Mapping[str, str]

    def write(self) -> str:
        """The line, without its end. Raises `ValueError` when a key is no word."""
        header = (self.vendor, self.product, self.version, self.signature, self.name, str(self.severity))
        return "|".join(["CEF:0", *map(_header, header), " ".join(map(_pair, self.extension.items()))])

    @classmethod
    def parse(cls, line: str) -> "CefEvent":
        """What a line says. Raises `ValueError` when it is not CEF."""
        fields: list[str] = []
        at = 0
        while len(fields) < 7:
            found = _HEADER.match(line, at)
            if found is None:
                raise ValueError("a CEF line has seven fields before its extension")
            fields.append(_unescape(found[1]))
            at = found.end()
        if fields[0] != "CEF:0":
            raise ValueError("a CEF line begins with CEF:0")
        _, vendor, product, version, signature, name, severity = fields
        return cls(vendor, product, version, signature, name, int(severity), _extension(line[at:]))


def _header(text: str) -> str:
    return neutral(text).replace("\\", "\\\\").replace("|", "\\|")


def _pair(pair: tuple[str, str]) -> str:
    key, value = pair
    if not _KEY.fullmatch(f"{key}="):
        raise ValueError(f"{key!r} cannot be a key of CEF")
    escaped = value.replace("\\", "\\\\").replace("=", "\\=").replace("\r", "\\r").replace("\n", "\\n")
    return f"{key}={neutral(escaped, limit=None)}"


def _extension(text: str) -> dict[str, str]:
    keys = list(_KEY.finditer(text))
    ends = [*(found.start() for found in keys), len(text)][1:]
    return {found[1]: _unescape(text[found.end() : end]) for found, end in zip(keys, ends, strict=False)}


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: _UNESCAPED.get(found[1], found[1]), text)


def cef_of(event: Mapping[str, Any]) -> CefEvent:
    """An OCSF event of the feed as CEF."""
    metadata, unmapped = event["metadata"], event.get("unmapped", {})
    device = event.get("device") or event.get("entity", {}).get("device") or {}
    said = {
        "rt": event["time"],
        "externalId": metadata.get("uid"),
        "cat": event["class_name"],
        "act": event["activity_name"],
        "outcome": event["status"],
        "reason": event.get("status_code"),
        "deviceExternalId": device.get("uid"),
        "suid": event.get("actor", {}).get("user", {}).get("uid"),
        "duid": device.get("owner", {}).get("uid"),
        "cs1Label": "incident",
        "cs1": metadata.get("correlation_uid"),
        "cs2Label": "organisation",
        "cs2": metadata.get("tenant_uid"),
        "cs3Label": "drill",
        "cs3": unmapped.get("drill"),
        "cs4Label": "rawDataSha256",
        "cs4": event["raw_data_hash"]["value"],
        "cs5Label": "service",
        "cs5": metadata["log_provider"],
        "cn1Label": "sequence",
        "cn1": metadata.get("sequence"),
        "flexString1Label": "command",
        "flexString1": event.get("command_uid"),
        "msg": event["message"],
    }
    told = {key: str(value) for key, value in said.items() if value is not None}
    lonely = {key for key in told if key.endswith("Label") and key.removesuffix("Label") not in told}
    product = metadata["product"]
    return CefEvent(
        vendor=product["vendor_name"],
        product=product["name"],
        version=metadata["version"],
        signature=metadata["event_code"],
        name=event["type_name"],
        severity=event["severity_id"] * 2,
        extension={key: value for key, value in told.items() if key not in lonely},
    )
