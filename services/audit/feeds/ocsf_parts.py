"""The attributes that are particular to one OCSF class, made from one event. Pure functions of what was told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.audit.feeds.ocsf_classes import (
    CLOSE,
    FAILURE,
    MEDIUM,
    OTHER,
    RESOLVED,
    UNSUPPORTED,
    UPDATE,
)

type Part = dict[str, Any]

_PLATFORMS = {"ios": ("iOS", 301), "ipados": ("iPadOS", 302), "android": ("Android", 201)}
_VENDORS = {"ios": "Apple", "ipados": "Apple"}
_COMPLIANCE = {1: "Pass", 2: "Warning", 3: "Fail"}
_VERDICTS = {1: "False Positive", 2: "True Positive"}
_UNSUPPORTED_REASONS = ("not_supported", "command_not_supported", "not_supervised")


@dataclass(frozen=True, slots=True)
class Told:
    """One event, as the mapping sees it. `facts`: its payload, decoded by the registry's model; empty when the model
    does not take it."""

    id: str
    code: str
    """The event's name in the registry."""
    writer: str
    topic: str
    subject: str
    organisation: str
    actor: str
    drill: bool
    at: datetime
    recorded_at: datetime
    value: bytes
    facts: Mapping[str, Any]
    sequence: int | None = None
    """Its place in the chain of its subject."""
    unmapped: Mapping[str, str] = field(default_factory=dict)
    """What is known beside the payload."""

    def fact(self, path: str) -> Any:
        """A fact by name, or by path inside a part; None when it is not told."""
        found: Any = self.facts
        for name in path.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


def nothing(_: Told) -> Part:
    """No attributes beyond those of every event of the class."""
    return {}


def device(told: Told) -> Part | None:
    """The phone that the event names."""
    uid = told.fact("device") or told.fact("statement.device")
    if uid is None and told.subject.startswith("device-"):
        uid = told.subject.removeprefix("device-")
    if uid is None:
        return None
    phone: Part = {"type_id": 5, "type": "Mobile", "uid": uid}
    if holder := told.fact("holder"):
        phone["owner"] = _user(holder)
    return phone


def _user(reference: str) -> Part:
    return {"uid": reference, "type_id": 1, "type": "User"}


def actor(told: Told) -> Part:
    """Who acted: a person by reference, in a role; a service; or somebody at the emergency door."""
    who, _, role = told.actor.partition("/")
    if who.startswith("person-"):
        return {"user": _user(who), "app_name": told.writer}
    return {"app_name": role if who == "service" and role else told.writer}


def _unknown_phone(told: Told) -> Part:
    return {"type_id": 5, "type": "Mobile", "uid": told.subject}


# Incident Finding


def lost(told: Told) -> Part:
    more: Part = {"is_suspected_breach": False, "priority_id": 3, "priority": "High"}
    if (noticed := told.fact("noticed_at")) is not None:
        more["start_time"] = noticed
    return more


def verdict(verdict_id: int | None) -> Callable[[Told], Part]:
    return lambda _: {} if verdict_id is None else {"verdict_id": verdict_id, "verdict": _VERDICTS[verdict_id]}


def _ticket(uid: str, title: str) -> Part:
    return {"uid": uid, "type_id": 2, "type": "External", "title": title}


def police_tickets(told: Told) -> Part:
    named = (("reception_number", "Reception by the police"), ("acceptance_number", "Acceptance by the police"))
    tickets = [_ticket(number, title) for name, title in named if (number := told.fact(name))]
    return {"tickets": tickets} if tickets else {}


def facility_ticket(told: Told) -> Part:
    reference = told.fact("reference")
    return {"tickets": [_ticket(reference, "Lost-property desk of the place")]} if reference else {}


# Remediation Activity


def _countermeasure(tactic: str, technique: str, uid: str) -> Part:
    measure = {
        "d3f_tactic": {"name": tactic, "uid": f"d3f:{tactic}"},
        "d3f_technique": {"name": technique, "uid": uid},
    }
    return {"countermeasures": [measure]}


def _command(told: Told, *names: str) -> Part:
    """Ties an order to its results. An order that names no command is its own."""
    found = next((value for name in names if (value := told.fact(name))), told.id)
    return {"command_uid": found} | _reason(told)


def _reason(told: Told) -> Part:
    reason = told.fact("reason")
    return {} if reason is None else {"status_code": reason}


def lock(told: Told) -> Part:
    more = _command(told, "command") | _countermeasure("Isolate", "Access Mediation", "D3-AMED")
    return more | ({"status_id": UNSUPPORTED} if told.fact("reason") in _UNSUPPORTED_REASONS else {})


def unlock(told: Told) -> Part:
    return _command(told, "command") | _countermeasure("Restore", "Restore Access", "D3-RA")


def sessions(told: Told) -> Part:
    return _command(told, "command") | _countermeasure("Evict", "Authentication Cache Invalidation", "D3-ANCI")


def wipe(told: Told) -> Part:
    """The nonce of the signed statement names a wipe from proposal to end."""
    return _command(told, "nonce") | _countermeasure("Evict", "Disk Erasure", "D3-DKE")


def wipe_statement(told: Told) -> Part:
    return wipe(told) | _command(told, "statement.nonce")


def wipe_requested(told: Told) -> Part:
    proposer = told.fact("proposed.keyid")
    approvers = [signature["keyid"] for signature in told.fact("approved") or []]
    decisions = [("Dual control: proposal", proposer), *(("Dual control: approval", key) for key in approvers)]
    return wipe_statement(told) | {
        "is_alert": True,
        "action_id": 1,
        "action": "Allowed",
        "disposition_id": 8,
        "disposition": "Approved",
        "policy": {"name": "A wipe needs two people, and both sign", "uid": "two-people", "is_applied": True},
        "authorizations": [
            {"decision": "Granted", "policy": {"name": name, "uid": key}} for name, key in decisions if key
        ],
        "unmapped": {"approved_keyids": approvers, "same_signer": proposer in approvers},
    }


# Device Inventory Info


def inventory(told: Told) -> Part:
    phone = device(told) or _unknown_phone(told)
    platform = told.fact("platform")
    if platform is not None:
        name, type_id = _PLATFORMS.get(platform, (platform, OTHER))
        phone["os"] = {"name": name, "type": name, "type_id": type_id}
    if platform in _VENDORS:
        phone["vendor_name"] = _VENDORS[platform]
    known = {
        "name": told.fact("asset_tag"),
        "model": told.fact("model"),
        "is_personal": told.fact("ownership") == "personal" if told.fact("ownership") else None,
        "is_supervised": _yes_or_no(told.fact("supervised")),
        "is_managed": True if told.fact("mdm") else None,
    }
    return {"device": phone | {name: value for name, value in known.items() if value is not None}}


def snapshot(told: Told) -> Part:
    phone = device(told) or _unknown_phone(told)
    known = {
        "is_supervised": _yes_or_no(told.fact("supervised")),
        "is_managed": _yes_or_no(told.fact("mdm_enrolled")),
    }
    phone |= {name: value for name, value in known.items() if value is not None}
    version = told.fact("os_version")
    return {"device": phone, "unmapped": {"os_version": version} if version else {}}


def located(told: Told) -> Part:
    """The phone, never the position: that lies in the vault."""
    return {"device": device(told) or _unknown_phone(told)} | _reason(told)


def _yes_or_no(answer: str | None) -> bool | None:
    return {"yes": True, "no": False}.get(answer or "")


# Entity Management


def line(*, before: bool, after: bool | None = None) -> Callable[[Told], Part]:
    """The line, working or not, before and after."""

    def entity(told: Told, active: bool) -> Part:
        phone = (device(told) or _unknown_phone(told)) | {"is_mobile_account_active": active}
        uid = told.fact("line") or told.subject
        return {"type_id": 1, "type": "Device", "uid": uid, "name": "mobile subscription", "device": phone}

    def change(told: Told) -> Part:
        changed: Part = {"entity": entity(told, before)} | _reason(told)
        return changed if after is None else changed | {"entity_result": entity(told, after)}

    return change


def retired(told: Told) -> Part:
    phone = device(told) or _unknown_phone(told)
    return {"entity": {"type_id": 1, "type": "Device", "uid": phone["uid"], "device": phone}}


def erased(told: Told) -> Part:
    person = told.fact("person") or told.subject
    held = {"status_id": FAILURE, "status_code": "legal_hold"} if told.fact("on_hold") else {}
    return {"entity": {"type_id": 2, "type": "User", "uid": person, "user": _user(person)}} | held


# Data Security Finding


def leak(told: Told) -> Part:
    version = told.fact("version") or 1
    final = bool(told.fact("final"))
    is_leak = told.fact("leak") not in ("none", None)
    security: Part = {
        "category_id": 1,
        "category": "Personal",
        "data_lifecycle_state_id": 1,
        "data_lifecycle_state": "Data at-Rest",
        "detection_system_id": 3,
        "detection_system": "Mobile Device Management",
        "policy": {"name": "Assessment of a possible leak", "uid": "leak-assessment"},
    }
    if (records := told.fact("records")) is not None:
        security["total"] = records
    more: Part = {
        "is_suspected_breach": is_leak,
        "finding_info": {
            "uid": f"{told.subject}-leak",
            "title": "Lost phone: leak assessment",
            "types": ["Possible leak of personal data"],
            "analytic": _analytic("leak-assessment", version=str(version)),
        },
        "data_security": security,
    }
    if final:
        more |= {"activity_id": CLOSE, "status_id": RESOLVED}
    elif version > 1:
        more |= {"activity_id": UPDATE, "status_id": 2}
    else:
        more["is_alert"] = is_leak
    return more if is_leak else more | {"severity_id": MEDIUM}


# Compliance Finding


def duty(compliance: int | str) -> Callable[[Told], Part]:
    """`compliance`: a status of OCSF, or a wording of ours."""

    def more(told: Told) -> Part:
        status_id = compliance if isinstance(compliance, int) else OTHER
        if told.fact("late"):
            status_id = 3
        status = _COMPLIANCE.get(status_id, str(compliance))
        rule, phase = told.fact("rule") or "unknown", told.fact("phase") or "unknown"
        uid = told.fact("duty") or told.id
        clock = {"duty": uid, "rule": rule, "phase": phase, "due": told.fact("due"), "met": status_id == 1}
        return {
            "finding_info": {
                # A missed deadline is a finding of its own: filing late does not undo it.
                "uid": f"{uid}-overdue" if told.code == "DutyOverdue" else uid,
                "title": f"Duty {rule}, {phase}",
                "types": ["Deadline of a duty to report"],
                "analytic": _analytic(rule),
            },
            "compliance": {"control": f"{rule}, {phase}", "status_id": status_id, "status": status},
            "enrichments": [
                {
                    "name": "metadata.correlation_uid",
                    "value": told.subject,
                    "type": "legal_clock",
                    "provider": told.writer,
                    "data": {name: value for name, value in clock.items() if value is not None},
                }
            ],
        }

    return more


# Detection Finding


def _analytic(uid: str, version: str | None = None) -> Part:
    analytic: Part = {"type_id": 1, "type": "Rule", "uid": uid, "name": uid}
    return analytic | ({"version": version} if version else {})


def _finding(uid: str, rule: str, title: str, kind: str) -> Part:
    return {"finding_info": {"uid": uid, "title": title, "types": [kind], "analytic": _analytic(rule)}}


def detection(rule: str, title: str, kind: str, *, alert: bool) -> Callable[[Told], Part]:
    return lambda told: _finding(told.id, rule, title, kind) | {"is_alert": alert}


def rejected(told: Told) -> Part:
    what = told.fact("what") or "order"
    finding = _finding(told.id, "order-verification", f"Refused: {what}", "Order without authority")
    if what == "wipe":
        tactic = {"name": "Impact", "uid": "TA0040"}
        technique = {"name": "Data Destruction", "uid": "T1485"}
        finding["finding_info"]["attacks"] = [{"tactic": tactic, "technique": technique}]
    policy = {"name": "Orders are verified before they act", "uid": "order-verification", "is_applied": True}
    return finding | {"is_alert": True, "policy": policy} | _denied() | _reason(told)


def _denied() -> Part:
    return {"action_id": 2, "action": "Denied", "disposition_id": 2, "disposition": "Blocked"}


def breaker(told: Told) -> Part:
    uid = f"breaker-{told.subject}"
    finding = _finding(uid, "wipe-breaker", "Wipes stopped by the breaker", "Too many wipes")
    return finding | ({"is_alert": True} | _denied() if told.code == "BreakerOpened" else {})


def integrity(told: Told) -> Part:
    code = told.fact("finding") or "unknown"
    seq = told.fact("seq")
    uid = told.id if seq is None else log_finding(seq)
    return _finding(uid, code, "The log does not add up", "Integrity of the audit log") | {"is_alert": True}


def refused(told: Told) -> Part:
    """A record that acts nowhere. It is no alert by itself: a flood of forged records would be a flood of alerts; the
    IntegrityFinding of the same uid is."""
    seq, reason = told.unmapped["log_seq"], told.unmapped["reason"]
    finding = _finding(log_finding(int(seq)), reason, "A record on the log was refused", "Integrity of the audit log")
    return finding | {"is_alert": False, "status_code": reason} | _denied()


def log_finding(seq: int) -> str:
    """The uid of what is found about one entry of the log."""
    return f"log-entry-{seq}"
