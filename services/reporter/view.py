"""What people are shown of a case, as data: the API answers it, the pages lay it out.

Personal values are opened from the vault for those who may see them, each opening on record with who and why.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from pydantic import BaseModel

from services.reporter import store
from services.reporter.devices import Device, devices_of, find_device
from services.reporter.domain import assessment, desk, wipe
from services.reporter.domain.incident import Incident, Proposal, RefusedError, Track
from services.reporter.intake import ANONYMOUS
from services.reporter.police import police_text
from shared.events.mdm_actions import DeviceFacts
from shared.events.payload import Answer
from shared.messaging import Unit, Units
from shared.vault import Vault
from shared.web import Acting

_CONTACT_FACTS = ("callback", "holder_name", "phone_hint", "place_detail", "circumstances")
_SHOWN_TO_REPORTER = {
    "lostphone.device-lost.v1": "reported",
    "lostphone.report-verified.v1": "verified",
    "lostphone.alert-acknowledged.v1": "acknowledged",
    "lostphone.incident-triaged.v1": "triaged",
    "lostphone.sessions-revoked.v1": "sessions_revoked",
    "lostphone.device-locked.v1": "locked",
    "lostphone.device-located.v1": "located",
    "lostphone.wipe-sent.v1": "wipe_sent",
    "lostphone.wipe-confirmed.v1": "wipe_confirmed",
    "lostphone.carrier-suspended.v1": "line_suspended",
    "lostphone.carrier-resumed.v1": "line_resumed",
    "lostphone.police-report-filed.v1": "police_filed",
    "lostphone.facility-contacted.v1": "facility_contacted",
    "lostphone.device-recovered.v1": "recovered",
    "lostphone.incident-closed.v1": "closed",
    "lostphone.incident-reopened.v1": "reopened",
    "lostphone.incident-cancelled.v1": "cancelled",
}
"""Event → what the reporter reads. Where the phone is, and who decided what, is not theirs to see."""


class Views:
    """Reads cases for people."""

    def __init__(self, units: Units, vault: Vault, links: Mapping[str, str], public_url: str, zone: ZoneInfo) -> None:
        self._units = units
        self._vault = vault
        self._links = links
        self._public_url = public_url.rstrip("/")
        self._zone = zone

    async def queue(
        self, acting: Acting, *, ended: bool | None, limit: int, after: str | None = None
    ) -> list[dict[str, Any]]:
        """Cases of the person's organisation, newest first, without personal values; `after` is the last of the page
        before."""
        async with self._units.begin() as unit:
            found = await store.queue(
                unit.connection, acting.person.organisation, ended=ended, limit=limit, after=after
            )
            devices = await devices_of(unit.connection, found)
            now = unit.now
        return [
            self._summary(incident, device.facts if device is not None else None, now)
            for incident in found
            for device in (devices.get(incident.facts.device or ""),)
        ]

    def _summary(self, incident: Incident, device: DeviceFacts | None, now: datetime) -> dict[str, Any]:
        waiting = [p for p in incident.proposals.values() if wipe.awaits_approval(p, incident, now)]
        due = [duty.due for duty in incident.open_duties if duty.due is not None]
        return {
            "incident": incident.id,
            "status": incident.status.value,
            "severity": incident.severity,
            "drill": incident.drill,
            "door": incident.door.value,
            "verified": incident.verified,
            "acknowledged": any(alert.acknowledged_at for alert in incident.alerts.values()),
            "reported_at": incident.reported_at,
            "noticed_at": incident.facts.noticed_at,
            "cause": incident.facts.cause.value,
            "asset_tag": device.asset_tag if device is not None else None,
            "model": device.model if device is not None else None,
            "found_claimed": incident.found_claimed_at is not None and incident.recovered is None,
            "wipe": incident.wipe.state,
            "waiting_proposals": len(waiting),
            "open_duties": len(incident.open_duties),
            "next_due": min(due, default=None),
        }

    async def case(self, incident_id: str, acting: Acting, *, with_contact: bool) -> dict[str, Any]:
        """One case with everything that is known. Raises `RefusedError` when the organisation has no such case."""
        async with self._units.begin() as unit:
            incident = await store.load(unit.connection, incident_id, acting.person.organisation)
            if incident is None:
                raise RefusedError("incident_unknown")
            device = await find_device(unit.connection, incident.facts.device, incident.organisation)
            told = await store.reports(unit.connection, incident.id)
            entries = await store.entries(unit.connection, incident.id)
            others = await store.others_open(unit.connection, incident)
            opened = await self._contact(unit, incident, told, acting) if with_contact else {}
            now = unit.now
        return self._summary(incident, device.facts if device else None, now) | {
            "organisation": incident.organisation,
            "decision_version": incident.decision_version,
            "verified_at": incident.verified_at,
            "verified_by": incident.verified_by,
            "triaged_at": incident.triaged_at,
            "device": _device(device),
            "facts": _plain(incident.facts),
            "unknown": _unknown(incident),
            "contact": {name: opened.get(getattr(incident.facts, name) or "") for name in _CONTACT_FACTS}
            if with_contact
            else None,
            "reports": [_report(report, opened, with_contact=with_contact) for report in told],
            "tracks": _tracks(incident, opened),
            "wipe": _track(incident.wipe),
            "proposals": [proposal(found, incident, now) for found in incident.proposals.values()],
            "assessments": [_plain(version) for version in incident.assessments],
            "assessment_prefill": _plain(assessment.prefill(incident, now)),
            "reassess": incident.reassess,
            "police": [_plain(report) for report in incident.police],
            "facilities": [_plain(contact) for contact in incident.facilities],
            "duties": [_plain(duty) | {"ended": duty.ended} for duty in incident.duties.values()],
            "alerts": [{"alert": alert_id, **_plain(alert)} for alert_id, alert in incident.alerts.items()],
            "notices": [_plain(batch) for batch in incident.notices.values()],
            "disclosure": _plain(incident.published) if incident.published else None,
            "prevention": [_plain(action) for action in incident.prevention.values()],
            "recovered": _plain(incident.recovered) if incident.recovered else None,
            "written_off": incident.written_off,
            "found_claimed_at": incident.found_claimed_at,
            "ended_at": incident.ended_at,
            "outcome": incident.outcome,
            "brought_back": incident.brought_back,
            "others_open": others,
            "missing_for_closing": desk.missing_for_closing(incident) if incident.ended is None else [],
            "entries": [_entry(entry) for entry in entries],
            "now": now,
            "links": self._case_links(incident),
        }

    def _case_links(self, incident: Incident) -> dict[str, str]:
        links = {"self": f"{self._public_url}/incidents/{incident.id}"}
        if "audit" in self._links:
            links["timeline"] = f"{self._links['audit'].rstrip('/')}/incidents/{incident.id}"
        if "notifier" in self._links:
            base = self._links["notifier"].rstrip("/")
            links |= {"duties": f"{base}/incidents/{incident.id}/duties", "alerts": f"{base}/alerts"}
        return links

    async def _contact(
        self, unit: Unit, incident: Incident, told: Iterable[store.Told], acting: Acting
    ) -> Mapping[str, str]:
        reports = list(told)
        wanted = {
            *(getattr(incident.facts, name) for name in _CONTACT_FACTS),
            *(report.reporter_name for report in reports),
            *(getattr(report.facts, name) for report in reports for name in _CONTACT_FACTS),
            incident.tracks.locate.position,
            *(contact.name for contact in incident.facilities),
        } - {None}
        return await self._vault.open_many(
            unit.connection,
            sorted(digest for digest in wanted if digest),
            organisation=incident.organisation,
            actor=acting.actor,
            reason=f"case page {incident.id}",
        )

    async def receipt(self, told: store.Told) -> dict[str, Any]:
        """What the one who reported sees: what happened so far, what to do now, text for the police."""
        async with self._units.begin() as unit:
            incident = await store.load(unit.connection, told.incident, told.organisation)
            if incident is None:
                raise RefusedError("receipt_unknown")
            entries = await store.entries(unit.connection, incident.id)
            device = await find_device(unit.connection, incident.facts.device, incident.organisation)
            police = await self._police(unit, incident, device) if told.trusted else None
        happened = [
            {"what": _SHOWN_TO_REPORTER[entry.type], "at": entry.at}
            for entry in entries
            if entry.type in _SHOWN_TO_REPORTER and (told.trusted or entry.at >= told.reported_at)
        ]
        if not told.trusted:
            # Whoever sent an emergency report learns about the case only when the desk knows them.
            happened = [{"what": "reported", "at": told.reported_at}]
        return {
            "incident": incident.id,
            "status": incident.status.value if told.trusted else "reported",
            "verified": told.trusted,
            "drill": incident.drill,
            "reported_at": told.reported_at,
            "report": told.number,
            "happened": happened,
            "todo": _todo(incident, told),
            "asked": _asked(incident, told),
            "police_text": police,
            "found_claimed_at": incident.found_claimed_at if told.trusted else None,
            "open": incident.ended is None or not told.trusted,
        }

    async def _police(self, unit: Unit, incident: Incident, device: Device | None) -> dict[str, str]:
        facts = incident.facts
        identifiers = device.facts.identifiers if device is not None else {}
        wanted: dict[str, str] = {
            name: identifiers[name] for name in ("imei", "serial", "marks", "phone_number") if name in identifiers
        }
        if facts.place_detail is not None:
            wanted["place_detail"] = facts.place_detail
        opened: Mapping[str, str] = {}
        if wanted:
            opened = await self._vault.open_many(
                unit.connection,
                list(wanted.values()),
                organisation=incident.organisation,
                actor=ANONYMOUS,
                reason=f"text for the police {incident.id}",
            )
        values = {name: opened[digest] for name, digest in wanted.items() if digest in opened}
        return police_text(facts, device.facts if device is not None else None, values, self._zone)


def proposal(found: Proposal, incident: Incident, now: datetime) -> dict[str, Any]:
    """One proposal to wipe, with what became of it."""
    standing = wipe.standing(found, incident, now)
    awaits = wipe.awaits_approval(found, incident, now)
    state = wipe.describe(found)
    return {
        "nonce": found.statement.nonce,
        "statement": orjson.loads(found.statement.canonical()),
        "proposed": _plain(found.proposed),
        "proposer": found.proposer,
        "proposed_at": found.proposed_at,
        "reason": found.reason,
        "approvals": [_plain(approval) for approval in found.approvals],
        "state": standing if state == "proposed" and standing is not None else state,
        "awaits_approval": awaits,
        "proof": found.outcome.proof.value,
        "at": found.outcome.at,
        "live": found.live,
        "withdrawable": wipe.withdrawable(found),
        "end_reason": found.end_reason or found.outcome.reason,
    }


def _plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump()


def _track(track: Track) -> dict[str, Any]:
    return _plain(track)


def _tracks(incident: Incident, opened: Mapping[str, str]) -> dict[str, Any]:
    tracks = _plain(incident.tracks)
    tracks["locate"]["where"] = _where(opened.get(incident.tracks.locate.position or ""))
    return tracks


def _where(position: str | None) -> dict[str, Any] | None:
    """The position as mdm_actions laid it into the vault, or whatever else lies there as text."""
    if position is None:
        return None
    try:
        found = orjson.loads(position)
        return {
            "latitude": float(found["latitude"]),
            "longitude": float(found["longitude"]),
            "at": datetime.fromisoformat(found["at"]),
        }
    except (ValueError, KeyError, TypeError):
        return {"text": position}


def _device(device: Device | None) -> dict[str, Any] | None:
    if device is None:
        return None
    facts = device.facts
    return {
        "device": device.device,
        "asset_tag": facts.asset_tag,
        "platform": facts.platform,
        "model": facts.model,
        "colour": facts.colour,
        "ownership": facts.ownership.value,
        "supervised": facts.supervised.value,
        "holder": facts.holder,
        "line": facts.line.line if facts.line is not None else None,
        "carrier": facts.line.carrier if facts.line is not None else None,
        "mdm": facts.mdm,
        "retired": device.retired,
    }


def _report(report: store.Told, opened: Mapping[str, str], *, with_contact: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "number": report.number,
        "door": report.door,
        "reported_as": report.reported_as,
        "reporter": report.reporter,
        "trusted": report.trusted,
        "reported_at": report.reported_at,
        "facts": _plain(report.facts),
    }
    if with_contact:
        shown["person"] = report.vault_person
        shown["reporter_name"] = opened.get(report.reporter_name or "")
        shown["contact"] = {name: opened.get(getattr(report.facts, name) or "") for name in _CONTACT_FACTS}
    return shown


def _entry(entry: store.Entry) -> dict[str, Any]:
    return {"event": entry.event_id, "type": entry.type, "actor": entry.actor, "at": entry.at, "data": entry.data}


_ASKED = (
    "noticed_at",
    "last_seen_from",
    "cause",
    "place",
    "passcode_set",
    "passcode_attached",
    "data_items",
    "circumstances",
)


def _unknown(incident: Incident) -> list[str]:
    """Questions that nobody has answered yet."""
    return [name for name in _ASKED if getattr(incident.facts, name) in (None, [], "unknown", Answer.UNKNOWN)]


def _asked(incident: Incident, told: store.Told) -> list[str]:
    facts = incident.facts if told.trusted or told.number == 1 else told.facts
    return [name for name in _ASKED if getattr(facts, name) in (None, [], "unknown", Answer.UNKNOWN)]


def _todo(incident: Incident, told: store.Told) -> list[str]:
    """What the reporter can do now, as codes."""
    if incident.ended is not None and told.trusted:
        return []
    if incident.recovered is not None and told.trusted:
        return ["hand_in"]
    todo = [] if told.trusted else ["expect_call"]
    if told.trusted and not incident.police and incident.facts.place.value not in ("home", "office", "abroad"):
        todo.append("police")
    if (
        told.trusted
        and not incident.facilities
        and incident.facts.place.value in ("taxi", "train", "bus", "restaurant", "shop", "hotel", "aircraft")
    ):
        todo.append("ask_place")
    if _asked(incident, told):
        todo.append("answer_more")
    return [*todo, "do_not_chase", "say_when_found"]
