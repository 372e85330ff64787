"""The SIEM feed: what is recorded, as OCSF. Pure functions; the same entry gives the same bytes in the same version,
always.

    record = ocsf_of_entry(row, version)           # an entry of the timeline
    record = ocsf_of_own(envelope, value, version) # an event that audit writes itself and that is not on the log

`time` is the first key of the text: Splunk takes the first one it finds. `metadata.uid` is the event's id, by which a
repeat is known; `raw_data_hash` is the SHA-256 of the record's value, as it lies in the log and in the topic of its
type; `unmapped` is flat and holds strings. No value out of the vault is at hand here, and commitments stay inside.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any

import asyncpg
import orjson
from pydantic import ValidationError

from services.audit.domain.finding import INSTALLATION, LOG_SUBJECT
from services.audit.domain.leaf import Kind, Opened, open_leaf
from services.audit.feeds.ocsf_classes import (
    DATA_SECURITY,
    ENTITY,
    INCIDENT,
    INVENTORY,
    OBSERVED,
    OTHER,
    SEVERITIES,
)
from services.audit.feeds.ocsf_parts import Part, Told, actor, device
from services.audit.feeds.ocsf_table import REFUSED, ROWS, Row
from services.audit.feeds.ocsf_text import MAX_TEXT, neutral
from services.audit.feeds.ocsf_versions import OcsfVersion, attestation, event_before, in_version
from shared.events import Envelope, EventType, find
from shared.events.contracts.topics import OCSF_TOPIC
from shared.events.reporter import IncidentClosed
from shared.messaging.kafka import OutgoingRecord
from shared.telemetry import metrics

type EntryRow = Mapping[str, Any] | asyncpg.Record
"""An entry with the columns that the feeder reads."""

ZONE = timezone(timedelta(hours=9))
"""Every time for people is written in Japan's time with its offset; every number is UTC."""
LATE = timedelta(minutes=5)
"""What is recorded later than this after it was said is marked."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_MS = 4_102_444_800_000
"""The year 2100."""
_MAX_INNER = 64
_CONTENT_TYPE = [("content-type", b"application/json")]
_CLAIMS = ("ce_type", "ce_source", "ce_keyid")
_PLAIN = re.compile(r"[A-Za-z0-9._/-]{1,120}")


def ocsf_of_entry(row: EntryRow, version: OcsfVersion, opened: Opened | None = None) -> OutgoingRecord | None:
    """The record of one entry of the timeline; None for what is left out (`ocsf_table.LEFT_OUT`), and for a type that
    this version does not know. `opened`: its leaf, where that is open already."""
    opened = opened or open_leaf(row["leaf"], row["detached"])
    kind = row["kind"]
    if kind == Kind.EVENT and (entry := find(row["event_type"])) is not None:
        return _record(_event(row, opened, entry), ROWS[entry.name], version, _attested(row, opened))
    if kind in REFUSED:
        return _record(_refused(row, opened), REFUSED[kind], version, _attested(row, opened))
    return None


def ocsf_of_own(envelope: Envelope, value: bytes, version: OcsfVersion, *, seal: bytes | None = None) -> OutgoingRecord:
    """The record of an event that audit writes itself. `seal`: the leaf hash of the seal that `TimelineSealed` tells.
    Raises `KeyError` for one that is not in the table."""
    entry = find(envelope.type)
    if entry is None:
        raise KeyError(envelope.type)
    facts = _facts(entry, value)
    told = Told(
        id=envelope.id,
        code=entry.name,
        writer=entry.writer,
        topic=entry.type,
        subject=envelope.subject,
        organisation=envelope.organisation,
        actor=envelope.actor,
        drill=envelope.drill,
        at=envelope.time,
        recorded_at=envelope.time,
        value=value,
        facts=facts,
        # The seal stands in the chain behind all of the incident's entries.
        sequence=facts.get("entries") if entry.name == "TimelineSealed" else None,
        unmapped={"causation_id": envelope.causationid} if envelope.causationid else {},
    )
    return _record(told, ROWS[entry.name], version, _sealed(envelope, facts, seal))


def _attested(row: EntryRow, opened: Opened) -> Part:
    """What stands outside every chain has a hash and nothing before it."""
    prev = opened.header.get("prev")
    before = None if prev is None else event_before(prev, row["before_id"], row["before_type"])
    return attestation(row["leaf_hash"], row["subject"], before)


def _sealed(envelope: Envelope, facts: Mapping[str, Any], seal: bytes | None) -> Part | None:
    """A seal stands behind the event that closed the incident, which is its cause."""
    if seal is None or "head" not in facts:
        return None
    before = event_before(facts["head"], envelope.causationid, IncidentClosed.event_type)
    return attestation(seal, envelope.subject, before)


def _event(row: EntryRow, opened: Opened, entry: EventType) -> Told:
    payload = opened.payload()
    beside = {"log_seq": str(row["seq"]), "log_leaf": row["leaf_hash"].hex()}
    if cause := opened.attribute("causationid"):
        beside["causation_id"] = cause
    return Told(
        id=row["event_id"],
        code=entry.name,
        writer=entry.writer,
        topic=entry.type,
        subject=row["subject"],
        organisation=row["organisation"],
        actor=opened.attribute("actor") or "",
        drill=(opened.attribute("drill") or "").lower() == "true",
        at=datetime.fromisoformat(opened.attribute("time") or ""),
        recorded_at=_kafka_time(opened),
        value=opened.value or b"",
        facts=_facts(entry, payload or b""),
        sequence=row["n"],
        unmapped=beside,
    )


def _refused(row: EntryRow, opened: Opened) -> Told:
    """Of a record that nobody vouches for only its place is believed; what it claims to be is marked as a claim."""
    claims = {f"claimed_{name[3:]}": _claim(data) for name, data in opened.headers if name in _CLAIMS}
    return Told(
        id=row["leaf_hash"].hex(),
        code=f"Record{row['kind'].capitalize()}",
        writer="audit",
        topic=row["topic"],
        subject=LOG_SUBJECT,
        organisation=INSTALLATION,
        actor="service/audit",
        drill=False,
        at=_kafka_time(opened),
        recorded_at=_kafka_time(opened),
        value=opened.value or b"",
        facts={},
        unmapped={
            "log_seq": str(row["seq"]),
            "log_leaf": row["leaf_hash"].hex(),
            "reason": str(opened.header.get("reason", "")),
            "topic": row["topic"],
            "partition": str(row["partition"]),
            "offset": str(row["kafka_offset"]),
        }
        | claims,
    )


def _claim(data: bytes | None) -> str:
    """What a forger wrote is shown only where it looks like what a service writes: it may be anything."""
    text = (data or b"").decode(errors="replace")
    return text if _PLAIN.fullmatch(text) else "malformed"


def _kafka_time(opened: Opened) -> datetime:
    """Kafka's timestamp, which a producer may have set to anything."""
    return _EPOCH + timedelta(milliseconds=min(max(opened.header["ts"], 0), _MAX_MS))


def _facts(entry: EventType, value: bytes) -> dict[str, Any]:
    """The payload as its model takes it. A service's later version may write what this one cannot decode: then the
    event is told without its facts."""
    try:
        return entry.model.read(value).model_dump(mode="json", exclude_none=True)
    except ValidationError:
        metrics.OCSF_FAILURES.labels(entry.name).inc()
        return {}


def _record(told: Told, row: Row, version: OcsfVersion, attested: Part | None) -> OutgoingRecord:
    event = in_version(_document(told, row), version, attested)
    return OutgoingRecord(OCSF_TOPIC, told.subject.encode(), _CONTENT_TYPE, _neutral_json(event))


def _document(told: Told, row: Row) -> Part:
    """The OCSF event as 1.8.0 has it, with `time` first."""
    more = row.more(told)
    event = _classified(row, more) | {"message": _message(told, row)}
    event |= {
        "time_dt": _written(told.at),
        "timezone_offset": int(ZONE.utcoffset(None).total_seconds() // 60),
        "metadata": _metadata(told, row),
    }
    if row.event_class not in (ENTITY, INVENTORY) and (phone := device(told)) is not None:
        event["device"] = phone
    event |= {"actor": actor(told)}
    if row.event_class is INCIDENT:
        event |= _incident(told)
    if row.event_class is DATA_SECURITY:
        event |= {"assignee_group": _DESK}
    event |= {name: value for name, value in more.items() if name not in event and name != "unmapped"}
    event["unmapped"] = _unmapped(told, row, more)
    event |= {
        "raw_data_hash": {
            "algorithm_id": 3,
            "algorithm": "SHA-256",
            "value": hashlib.sha256(told.value).hexdigest(),
        },
        "raw_data_size": len(told.value),
    }
    whole = {"time": _milliseconds(told.at)} | _timed(event)
    observables = list(_observables(whole))
    return whole | {"observables": observables} if observables else whole


_DESK = {"name": "Security desk", "uid": "security_desk"}


def _incident(told: Told) -> Part:
    finding = {"uid": told.subject, "title": "A phone was lost", "types": ["Lost or stolen device"]}
    return {"finding_info_list": [finding], "assignee_group": _DESK}


def _classified(row: Row, more: Part) -> Part:
    """Numbers with their captions. A status of ours has number 99 and our wording."""
    known = row.event_class
    activity = more.get("activity_id", row.activity)
    severity = more.get("severity_id", row.severity)
    status = more.get("status_id", row.status_id)
    return {
        "class_uid": known.uid,
        "class_name": known.name,
        "category_uid": known.category_uid,
        "category_name": known.category_name,
        "activity_id": activity,
        "activity_name": known.activities[activity],
        "type_uid": known.uid * 100 + activity,
        "type_name": f"{known.name}: {known.activities[activity]}",
        "severity_id": severity,
        "severity": SEVERITIES[severity],
        "status_id": status,
        "status": str(row.status) if status == OTHER else known.statuses[status],
    }


def _message(told: Told, row: Row) -> str:
    return f"Drill: {row.message}" if told.drill else row.message


def _metadata(told: Told, row: Row) -> Part:
    metadata: Part = {
        "version": OcsfVersion.V1_8.value,
        "profiles": list(row.event_class.profiles),
        "uid": told.id,
        "correlation_uid": told.subject,
        "event_code": told.code,
        "tenant_uid": told.organisation,
        "log_name": told.topic,
        "log_format": "json",
        "log_provider": told.writer,
        "original_time": _written(told.at),
        "logged_time": _milliseconds(told.recorded_at),
        "logged_time_dt": _written(told.recorded_at),
        "product": {
            "name": "Lostphone",
            "vendor_name": "Lostphone",
            "uid": "lostphone",
            "feature": {"name": told.writer},
        },
    }
    if told.sequence is not None:
        metadata["sequence"] = told.sequence
    if told.drill:
        metadata["labels"] = ["drill"]
    return metadata


def _unmapped(told: Told, row: Row, more: Part) -> dict[str, str]:
    beside = {
        "actor_role": told.actor.partition("/")[2] or None,
        "drill": told.drill,
        "recorded_late": told.recorded_at - told.at > LATE,
    }
    kept: dict[str, str] = {}
    for path in row.keep:
        _flatten(path.replace(".", "_"), told.fact(path), kept)
    for name, value in (*more.get("unmapped", {}).items(), *told.unmapped.items(), *beside.items()):
        _flatten(name, value, kept)
    return kept


def _flatten(name: str, value: Any, into: dict[str, str]) -> None:
    """Columns of strings is what stores make of `unmapped`."""
    if isinstance(value, Mapping):
        for key, inner in islice(value.items(), _MAX_INNER):
            into[f"{name}_{key}"] = _text(inner)
    elif value is not None:
        into[name] = _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    if isinstance(value, Mapping):
        return ":".join(_text(item) for item in value.values())
    return str(value)


def _timed(event: Part) -> Part:
    """A start that is written becomes the pair of number and text that the profile `datetime` asks for."""
    if "start_time" not in event:
        return event
    start = datetime.fromisoformat(event.pop("start_time"))
    return event | {"start_time": _milliseconds(start), "start_time_dt": _written(start)}


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _written(moment: datetime) -> str:
    if not 1 < moment.year < 9999:
        # The first and the last day of the calendar are not in every zone.
        return moment.isoformat(timespec="milliseconds")
    return moment.astimezone(ZONE).isoformat(timespec="milliseconds")


def _neutral_json(event: Part) -> bytes:
    data = orjson.dumps(event)
    # Nearly every event is short plain ASCII, and JSON spells out what is not printable: nothing to look at again.
    plain = data.isascii() and b"\\" not in data and b"\x7f" not in data
    if plain and max(map(len, data.split(b'"'))) <= MAX_TEXT:
        return data
    return orjson.dumps(_neutral(event))


def _neutral(value: Any) -> Any:
    if isinstance(value, str):
        return neutral(value)
    if isinstance(value, dict):
        return {neutral(key): _neutral(inner) for key, inner in value.items()}
    return [_neutral(inner) for inner in value] if isinstance(value, list) else value


def _observables(event: Part) -> Iterator[Part]:
    for path, (type_id, caption) in OBSERVED.items():
        found: Any = event
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None:
            yield {"name": path, "type_id": type_id, "type": caption, "value": found}
