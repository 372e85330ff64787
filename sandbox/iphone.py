"""One simulated iPhone: Apple's MDM protocol as a device speaks it, and what the device does with each command.

Command semantics: apple/device-management, mdm/commands/*.yaml. A command report carries `Mdm-Signature`, a detached
CMS signature by the certificate that was presented at enrolment.
"""

import asyncio
import base64
import plistlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

import httpx2
from pydantic import BaseModel, ConfigDict, Field

from sandbox.certificates import Holder
from sandbox.companies import Position

_TOPIC = "com.apple.mgmt.External.lostphone-sandbox"
_CHECK_IN = "application/x-apple-aspen-mdm-checkin"
_REPORT = "application/xml"

NOT_SUPPORTED = 12021
NOT_IN_LOST_MODE = 12067
LOCATION_UNKNOWN = 12068
_SAYS = {
    NOT_SUPPORTED: "The command is not supported.",
    NOT_IN_LOST_MODE: "The device is not in Lost Mode.",
    LOCATION_UNKNOWN: "The location is unknown.",
}
_SUPERVISED_ONLY = frozenset({"EnableLostMode", "DisableLostMode", "DeviceLocation", "PlayLostModeSound"})

type Status = Literal["Acknowledged", "NotNow", "Error"]


class MdmError(Exception):
    """NanoMDM did not take what the phone said."""


class Behaviour(BaseModel):
    """How a phone departs from doing at once what it is told."""

    model_config = ConfigDict(extra="forbid")

    not_now: int = Field(0, ge=0, le=10_000, description="So many commands are answered NotNow first.")
    errors: dict[str, int] = Field({}, description="Request type to error code, until set otherwise.")
    vanish_on_erase: bool = Field(False, description="Erase without answering, as a real phone may.")
    repeat_reports: bool = Field(False, description="Send each report twice.")
    no_passcode: bool = Field(False, description="Nobody set a passcode: a lock is acknowledged and locks nothing.")
    foreign_certificate: bool = Field(False, description="Sign with a certificate from another authority.")


class Done(BaseModel):
    """One command that reached the phone. Without a status it was obeyed and not answered."""

    time: datetime
    command: str
    request_type: str
    status: Status | None
    error: int | None = None


class State(BaseModel):
    """A phone as it stands, kept over restarts. Its key lies in a file beside."""

    udid: str
    serial: str
    model: str = "iPhone 16"
    supervised: bool = True
    position: Position | None = None
    online: bool = True
    enrolled: bool = False
    erased: bool = False
    lost_mode: bool = False
    message: str | None = None
    sounds: int = 0
    behaviour: Behaviour = Behaviour()
    history: list[Done] = []


type Heard = Callable[[Done, dict[str, Any], dict[str, Any]], None]
"""Told of each command with the phone's answer, before the answer leaves."""


class IPhone:
    """A phone with its certificate, at one NanoMDM server."""

    def __init__(self, state: State, holder: Holder, http: httpx2.AsyncClient, url: str, heard: Heard) -> None:
        self.state = state
        self.holder = holder
        self._http = http
        self._url = f"{url.rstrip('/')}/mdm"
        self._heard = heard
        self._talking = asyncio.Lock()

    async def enrol(self) -> None:
        """Present the certificate, then a push token. Raises `MdmError` or `httpx2.HTTPError`."""
        async with self._talking:
            me = {"UDID": self.state.udid, "Topic": _TOPIC}
            facts = {"SerialNumber": self.state.serial, "DeviceName": self.state.model, "ProductName": "iPhone17,3"}
            await self._put({"MessageType": "Authenticate", **me, **facts}, _CHECK_IN)
            token = {"PushMagic": str(uuid4()), "Token": secrets.token_bytes(32)}
            await self._put({"MessageType": "TokenUpdate", **me, **token}, _CHECK_IN)
            self.state.enrolled = True

    async def leave(self) -> None:
        """Remove the management profile."""
        async with self._talking:
            await self._put({"MessageType": "CheckOut", "UDID": self.state.udid, "Topic": _TOPIC}, _CHECK_IN)
            self.state.enrolled = False

    async def pause(self) -> None:
        """Return when no conversation with the server is under way."""
        async with self._talking:
            return

    async def poll(self) -> int:
        """Ask for commands and obey until there are none, or the phone is erased or offline; how many there were."""
        async with self._talking:
            count, order = 0, await self._put({"UDID": self.state.udid, "Status": "Idle"})
            while order is not None:
                count += 1
                order = await self._carry_out(order)
                if self.state.erased or not self.state.online:
                    break
            return count

    async def _carry_out(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """Obey one command and report; the next command."""
        name, command = str(order["CommandUUID"]), order["Command"]
        status, result = self.obey(command)
        silent = self.state.erased and self.state.behaviour.vanish_on_erase
        chain = result.get("ErrorChain")
        done = Done(
            time=datetime.now(UTC),
            command=name,
            request_type=command["RequestType"],
            status=None if silent else status,
            error=chain[0]["ErrorCode"] if chain else None,
        )
        self.state.history.append(done)
        self._heard(done, command, result)
        if silent:
            return None
        report = {"UDID": self.state.udid, "CommandUUID": name, "Status": status, **result}
        if self.state.behaviour.repeat_reports:
            await self._put(report)
        return await self._put(report)

    def obey(self, command: dict[str, Any]) -> tuple[Status, dict[str, Any]]:
        """What the phone does with a command, and its answer."""
        kind, behaviour = str(command["RequestType"]), self.state.behaviour
        if behaviour.not_now:
            behaviour.not_now -= 1
            return "NotNow", {}
        if kind in behaviour.errors:
            return _error(behaviour.errors[kind])
        if kind in _SUPERVISED_ONLY and not self.state.supervised:
            return _error(NOT_SUPPORTED)
        result = self._obey(kind, command)
        return _error(result) if isinstance(result, int) else ("Acknowledged", result)

    def _obey(self, kind: str, command: dict[str, Any]) -> dict[str, Any] | int:
        """Change the phone; what to say beside "Acknowledged", or an error code."""
        state = self.state
        result: dict[str, Any] | int = {}
        match kind:
            case "EnableLostMode":
                state.lost_mode, state.message = True, command.get("Message") or command.get("PhoneNumber")
            case "DeviceLock":
                result = {"MessageResult": self._message_result()}
                state.message = state.message if state.lost_mode else command.get("Message")
            case "DisableLostMode" | "DeviceLocation" | "PlayLostModeSound" if not state.lost_mode:
                result = NOT_IN_LOST_MODE
            case "DisableLostMode":
                state.lost_mode, state.message = False, None
            case "PlayLostModeSound":
                state.sounds += 1
            case "DeviceLocation":
                result = self._locate()
            case "EraseDevice":
                # Erasing ends lost mode and management; the phone answers once, at most.
                state.lost_mode, state.message, state.erased, state.enrolled = False, None, True, False
            case _:
                result = NOT_SUPPORTED
        return result

    def _message_result(self) -> str:
        if self.state.lost_mode:
            return "DeviceInLostMode"
        return "NoPasscodeSet" if self.state.behaviour.no_passcode else "Success"

    def _locate(self) -> dict[str, Any] | int:
        where = self.state.position
        if where is None:
            return LOCATION_UNKNOWN
        return {
            "Latitude": where.latitude,
            "Longitude": where.longitude,
            "HorizontalAccuracy": where.accuracy_m,
            "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    async def _put(self, said: dict[str, Any], kind: str = _REPORT) -> dict[str, Any] | None:
        content = plistlib.dumps(said)
        signature = base64.b64encode(self.holder.sign(content)).decode()
        headers = {"Content-Type": kind, "Mdm-Signature": signature}
        answer = await self._http.put(self._url, content=content, headers=headers)
        if answer.status_code != httpx2.codes.OK:
            raise MdmError(f"NanoMDM answered HTTP {answer.status_code} to {self.state.serial}")
        return plistlib.loads(answer.content) if answer.content else None


def _error(code: int) -> tuple[Status, dict[str, Any]]:
    text = _SAYS.get(code, "The command failed.")
    link = {
        "ErrorCode": code,
        "ErrorDomain": "MCMDMErrorDomain",
        "LocalizedDescription": text,
        "USEnglishDescription": text,
    }
    return "Error", {"ErrorChain": [link]}
