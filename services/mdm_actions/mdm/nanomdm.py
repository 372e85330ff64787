"""NanoMDM: Apple devices. Commands go in over HTTP; what became of them is read from its PostgreSQL database.

NanoMDM has no call to read or withdraw a command. Its webhook is sent once and never again, so `outcome` asks the
view `view_queue`, and `disarm` takes the row out of the queue. Its times carry no zone: NanoMDM's sessions must keep
UTC (`-storage-dsn "...?timezone=UTC"`), which is how they are read here.
"""

import base64
import hmac
import plistlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import batched
from typing import Any, TypeGuard
from uuid import UUID
from xml.parsers.expat import ExpatError

import asyncpg
import httpx2
import orjson

from services.mdm_actions.domain.command import Kind, State
from services.mdm_actions.providers import (
    DeviceOrder,
    Outcome,
    Position,
    Presence,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from shared.events.payload import YEARS
from shared.postgres import Together

_UDID = re.compile(r"[A-Za-z0-9-]{1,80}")
"""No comma: NanoMDM would take `a,b` for two devices."""

_AROUND_THE_EARTH = 40_100_000
"""Metres."""

_PUSHED_AT_ONCE = 100
"""Devices; their ids stand in a path, which may not grow for ever."""
_REQUEST_TYPES: dict[Kind, str] = {
    Kind.LOST_MODE: "EnableLostMode",
    Kind.LOCK: "DeviceLock",
    Kind.LOCATE: "DeviceLocation",
    Kind.PLAY_SOUND: "PlayLostModeSound",
    Kind.WIPE: "EraseDevice",
    Kind.UNLOCK: "DisableLostMode",
}

_REASONS = {
    12021: "command_not_supported",
    12067: "not_in_lost_mode",
    12068: "location_unknown",
    12069: "unlock_failed",
    12078: "invalid_in_lost_mode",
}
"""Apple's MCMDMErrorDomain."""

_NO_ANSWER = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_OUTCOME = """
SELECT id, command_uuid, active, status, result, result_updated_at AT TIME ZONE 'UTC' AS at
FROM view_queue WHERE id = ANY ($1) AND command_uuid = ANY ($2)
"""

_LOOK = """
SELECT e.enabled,
       e.last_seen_at AT TIME ZONE 'UTC' AS last_seen,
       d.authenticate_at AT TIME ZONE 'UTC' AS enrolled_at
FROM enrollments e JOIN devices d ON d.id = e.device_id WHERE e.id = $1
"""

# NotNow is no answer: the command would be handed out again.
_DISARM = """
UPDATE enrollment_queue q SET active = false WHERE q.id = $1 AND q.command_uuid = $2 AND q.active
AND NOT EXISTS (SELECT 1 FROM command_results r
                WHERE r.id = q.id AND r.command_uuid = q.command_uuid AND r.status <> 'NotNow')
"""


class NanoMDM:
    """One NanoMDM server with PostgreSQL storage."""

    def __init__(self, http: httpx2.AsyncClient, url: str, api_key: str, database: asyncpg.Pool) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._auth = ("nanomdm", api_key)
        self._database = database
        self._outcomes = Together(self._read_outcomes)

    async def probe(self) -> None:
        await self._one("SELECT 1")
        answer = await self._call("GET", "/version")
        if answer.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
            raise ProviderUnavailableError(f"NanoMDM answered HTTP {answer.status_code}")

    async def look(self, udid: str) -> Presence:
        row = await self._one(_LOOK, udid)
        if row is None:
            return Presence(enrolled=False)
        return Presence(enrolled=row["enabled"], last_seen=row["last_seen"], enrolled_at=row["enrolled_at"])

    async def enqueue(self, udid: str, order: DeviceOrder) -> None:
        body = plistlib.dumps({"CommandUUID": _name(order.command), "Command": _command(order)})
        answer = await self._call("PUT", f"/v1/enqueue/{_safe(udid)}", content=body)
        said = _json(answer)
        if answer.status_code == httpx2.codes.OK:
            if said.get("command_uuid") != _name(order.command):
                raise ProviderUnavailableError("something else than NanoMDM answered")
            return
        parts = [said, *_objects(said.get("status"))]
        refused = next((str(part["command_error"]) for part in parts if part.get("command_error")), "")
        if "already exists" in refused or "duplicate key" in refused:
            return
        if "foreign key" in refused:
            raise ProviderRefusedError("device_not_enrolled")
        if answer.status_code == httpx2.codes.UNAUTHORIZED:
            raise ProviderRefusedError("server_refused_our_key")
        if refused or answer.status_code < httpx2.codes.INTERNAL_SERVER_ERROR:
            raise ProviderUnavailableError(f"NanoMDM did not take the command: HTTP {answer.status_code}")
        if not any("push_error" in part for part in parts):
            raise ProviderUnavailableError(f"NanoMDM answered HTTP {answer.status_code}")
        # 500 with nothing but a push error: queued all the same, for when the device connects by itself.

    async def outcome(self, udid: str, command: UUID) -> Outcome | None:
        row = await self._outcomes.of((udid, _name(command)))
        if row is None:
            return None
        match row["status"]:
            case None | "NotNow" if not row["active"]:
                # Enrolling again clears the queue without a word; our own disarming looks the same from here.
                return Outcome(State.SUPERSEDED, reason="dropped_from_queue")
            case None:
                return Outcome(State.QUEUED)
            case status:
                return read_report(status, row["result"].encode(), row["at"])

    async def disarm(self, udid: str, command: UUID) -> bool:
        try:
            done: str = await self._database.execute(_DISARM, udid, _name(command))
        except _NO_ANSWER as error:
            raise ProviderUnavailableError("NanoMDM's database cannot be reached") from error
        return done == "UPDATE 1"

    async def wake(self, udids: Sequence[str]) -> None:
        for some in batched(udids, _PUSHED_AT_ONCE):
            await self._call("GET", f"/v1/push/{','.join(map(_safe, some))}")

    async def _call(self, method: str, path: str, content: bytes | None = None) -> httpx2.Response:
        try:
            return await self._http.request(method, self._url + path, content=content, auth=self._auth)
        except httpx2.HTTPError as error:
            raise ProviderUnavailableError("NanoMDM cannot be reached") from error

    async def _read_outcomes(self, asked: list[tuple[str, str]]) -> dict[tuple[str, str], asyncpg.Record]:
        udids, commands = zip(*asked, strict=True)
        rows = await self._rows(_OUTCOME, list(udids), list(commands))
        return {(row["id"], row["command_uuid"]): row for row in rows}

    async def _one(self, query: str, *values: str) -> asyncpg.Record | None:
        rows = await self._rows(query, *values)
        return rows[0] if rows else None

    async def _rows(self, query: str, *values: str | list[str]) -> list[asyncpg.Record]:
        try:
            return await self._database.fetch(query, *values)
        except _NO_ANSWER as error:
            raise ProviderUnavailableError("NanoMDM's database cannot be reached") from error


def _name(command: UUID) -> str:
    return str(command)


def _safe(udid: str) -> str:
    if not _UDID.fullmatch(udid):
        raise ProviderRefusedError("device_id_malformed")
    return udid


def _command(order: DeviceOrder) -> dict[str, Any]:
    command: dict[str, Any] = {"RequestType": _REQUEST_TYPES[order.kind]}
    if order.kind in (Kind.LOST_MODE, Kind.LOCK):
        command["Message"] = order.message
    if order.kind is Kind.WIPE:
        # Apple's default removes the eSIM, and with it the way to reach the phone; the line ends later, at the carrier.
        # ReturnToService and clearing the Activation Lock are never set: they would hand the finder a working phone.
        command["PreserveDataPlan"] = True
    return command


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        said = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def _objects(said: object) -> list[dict[str, Any]]:
    return [value for value in said.values() if isinstance(value, dict)] if isinstance(said, dict) else []


def read_report(status: str, raw: bytes, at: datetime) -> Outcome:
    """What a device's report says about its command. An unreadable result is still an answer."""
    try:
        result = plistlib.loads(raw)
    except (plistlib.InvalidFileException, ExpatError, ValueError):
        result = {}
    match status:
        case "Acknowledged" if result.get("MessageResult") == "NoPasscodeSet":
            # DeviceLock: the screen went dark, and opens to anybody's touch.
            return Outcome(State.FAILED, at, reason="no_passcode_set", evidence=raw)
        case "Acknowledged":
            return Outcome(State.SUCCEEDED, at, position=_position(result, at), evidence=raw)
        case "NotNow":
            return Outcome(State.DEFERRED, at, reason="device_cannot_now")
        case "CommandFormatError":
            return Outcome(State.FAILED, at, reason="command_format", evidence=raw)
        case _:
            return Outcome(State.FAILED, at, reason=_reason(result), evidence=raw)


def _reason(result: dict[str, Any]) -> str:
    chain = result.get("ErrorChain") or [{}]
    code = chain[0].get("ErrorCode") if isinstance(chain, list) and isinstance(chain[0], dict) else None
    if isinstance(code, int) and abs(code) < 2**31:
        return _REASONS.get(code, f"device_error_{code}")
    return "device_error"


def _position(result: dict[str, Any], at: datetime) -> Position | None:
    latitude, longitude = result.get("Latitude"), result.get("Longitude")
    if not _is_within(latitude, -90, 90) or not _is_within(longitude, -180, 180):
        return None
    accuracy = result.get("HorizontalAccuracy")
    # A negative accuracy says that it is not known.
    radius = round(accuracy) if _is_within(accuracy, 0, _AROUND_THE_EARTH) else None
    return Position(float(latitude), float(longitude), radius, _moment(result, at))


def _is_within(told: Any, least: int, most: int) -> TypeGuard[float]:
    """What a phone says is whatever somebody made it say: no number at all, none that is finite."""
    return isinstance(told, int | float) and least <= told <= most


def _moment(result: dict[str, Any], otherwise: datetime) -> datetime:
    """When the phone says it was there; `otherwise` when it says nothing that can be a moment."""
    moment = result.get("Timestamp")
    try:
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment)
    except ValueError:
        return otherwise
    if not isinstance(moment, datetime) or moment.year not in YEARS:
        return otherwise
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class ForgedWebhookError(Exception):
    """The body is not signed with the key that NanoMDM and this service share."""


class MalformedWebhookError(Exception):
    """The body is signed but is not an event of NanoMDM."""


@dataclass(frozen=True)
class Heard:
    """One webhook. Every one is a sign of life; some answer a command, some are an enrolment."""

    udid: str
    topic: str
    at: datetime
    command: UUID | None = None
    outcome: Outcome | None = None

    @property
    def enrols(self) -> bool:
        return self.topic == "mdm.Authenticate"


def read_webhook(body: bytes, signature: str | None, key: str) -> Heard:
    """What NanoMDM says happened. Raises `ForgedWebhookError` or `MalformedWebhookError`."""
    expected = base64.b64encode(hmac.new(key.encode(), body, sha256).digest())
    if signature is None or not hmac.compare_digest(signature.encode(), expected):
        raise ForgedWebhookError
    try:
        event = orjson.loads(body)
        at = datetime.fromisoformat(event["created_at"])
        if acknowledged := event.get("acknowledge_event"):
            return _acknowledged(event["topic"], acknowledged, at)
        checkin = event.get("checkin_event") or {}
        return Heard(_device(checkin), str(event["topic"]), at)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedWebhookError from error


def _acknowledged(topic: str, event: dict[str, Any], at: datetime) -> Heard:
    status, name = event["status"], event.get("command_uuid")
    if not name or status == "Idle":
        return Heard(_device(event), topic, at)
    raw = base64.b64decode(event["raw_payload"])
    return Heard(_device(event), topic, at, UUID(name), read_report(status, raw, at))


def _device(event: dict[str, Any]) -> str:
    return str(event.get("udid") or event.get("ids", {}).get("id") or event.get("enrollment_id") or "")
