"""LEEF 2.0, the line that QRadar reads: `LEEF:2.0|vendor|product|version|event id|x09|key=value<tab>key=value`.

LEEF has no escapes. The delimiter is the tab, which `neutral` lets into no value; a pipe in the header is spelt out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.audit.feeds.ocsf_text import neutral

_DELIMITER = "\t"
_DELIMITER_NAME = "x09"
_KEY = re.compile(r"[A-Za-z0-9_]+")
_TIME_FORMAT = "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"


@dataclass(frozen=True, slots=True)
class LeefEvent:
    """What one line says."""

    vendor: str
    product: str
    version: str
    event_id: str
    attributes: Mapping[str, str]

    def write(self) -> str:
        """The line, without its end. Raises `ValueError` when a key is no word."""
        header = (self.vendor, self.product, self.version, self.event_id)
        pairs = _DELIMITER.join(map(_pair, self.attributes.items()))
        return "|".join(["LEEF:2.0", *map(_header, header), _DELIMITER_NAME, pairs])

    @classmethod
    def parse(cls, line: str) -> "LeefEvent":
        """What a line says. Raises `ValueError` when it is not LEEF 2.0 of ours."""
        fields = line.split("|", 6)
        if len(fields) != 7 or fields[0] != "LEEF:2.0" or fields[5] != _DELIMITER_NAME:
            raise ValueError("a LEEF line begins with LEEF:2.0, four fields and its delimiter")
        pairs = [pair.partition("=") for pair in fields[6].split(_DELIMITER)] if fields[6] else []
        _, vendor, product, version, event_id, _, _ = fields
        return cls(vendor, product, version, event_id, {key: value for key, _, value in pairs})


def _header(text: str) -> str:
    return neutral(text).replace("|", "<U+007C>")


def _pair(pair: tuple[str, str]) -> str:
    key, value = pair
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} cannot be a key of LEEF")
    return f"{key}={neutral(value)}"


def leef_of(event: Mapping[str, Any]) -> LeefEvent:
    """An OCSF event of the feed as LEEF."""
    metadata, unmapped = event["metadata"], event.get("unmapped", {})
    device = event.get("device") or event.get("entity", {}).get("device") or {}
    said = {
        "devTime": event["time_dt"],
        "devTimeFormat": _TIME_FORMAT,
        "sev": event["severity_id"] * 2,
        "cat": event["class_name"],
        "usrName": event.get("actor", {}).get("user", {}).get("uid"),
        "action": event["activity_name"],
        "outcome": event["status"],
        "reason": event.get("status_code"),
        "eventUid": metadata.get("uid"),
        "incident": metadata.get("correlation_uid"),
        "sequence": metadata.get("sequence"),
        "organisation": metadata.get("tenant_uid"),
        "service": metadata["log_provider"],
        "deviceUid": device.get("uid"),
        "ownerUid": device.get("owner", {}).get("uid"),
        "commandUid": event.get("command_uid"),
        "drill": unmapped.get("drill"),
        "rawDataSha256": event["raw_data_hash"]["value"],
        "msg": event["message"],
    }
    product = metadata["product"]
    return LeefEvent(
        vendor=product["vendor_name"],
        product=product["name"],
        version=metadata["version"],
        event_id=metadata["event_code"],
        attributes={key: str(value) for key, value in said.items() if value is not None},
    )
