"""SORACOM: lines whose SIM is managed by its API.

A change answers at once with the SIM as it stands then; the reading is nevertheless taken a second time.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import orjson

from services.mdm_actions.providers import LineAction, LineReading, ProviderRefusedError, ProviderUnavailableError
from shared.events.payload import Assurance

_SIM_ID = re.compile(r"[A-Za-z0-9]{1,40}")
_TOKEN_LIFE = timedelta(hours=1)
_TARGET: dict[LineAction, str] = {"suspend": "suspended", "deactivate": "inactive", "activate": "active"}
_OPEN = {"active", "ready", "standby"}
_STOPPED = {"inactive", "suspended", "terminated"}


class Soracom:
    """One SORACOM operator account."""

    def __init__(self, http: httpx2.AsyncClient, url: str, auth_key_id: str, auth_key: str) -> None:
        self._http = http
        self._url = url.rstrip("/")
        self._keys = {"authKeyId": auth_key_id, "authKey": auth_key}
        self._headers: dict[str, str] = {}
        self._headers_until = datetime.min.replace(tzinfo=UTC)

    async def change(self, sim_id: str, action: LineAction) -> LineReading:
        before = await self.read_back(sim_id)
        if before.word == _TARGET[action]:
            return before
        answer = await self._call("POST", f"/sims/{_safe(sim_id)}/{action}")
        if answer.status_code == httpx2.codes.BAD_REQUEST and action == "suspend":
            # Not every plan knows "suspended"; "inactive" stops data on all of them.
            return await self.change(sim_id, "deactivate")
        self._check(answer)
        after = await self.read_back(sim_id)
        if after.active != (action == "activate"):
            raise ProviderUnavailableError(f"the SIM still reads {after.word}")
        return after

    async def read_back(self, sim_id: str) -> LineReading:
        answer = await self._call("GET", f"/sims/{_safe(sim_id)}")
        self._check(answer)
        word = str(_json(answer).get("status")).lower()
        if word not in _OPEN | _STOPPED:
            # Neither open nor stopped may be claimed of it.
            raise ProviderUnavailableError("SORACOM gave a status of the SIM that is not known")
        return LineReading(word in _OPEN, word, Assurance.API_READBACK, datetime.now(UTC))

    async def _call(self, method: str, path: str) -> httpx2.Response:
        answer = await self._send(method, path)
        if answer.status_code == httpx2.codes.UNAUTHORIZED:
            # A token can end before its time.
            self._headers_until = datetime.min.replace(tzinfo=UTC)
            answer = await self._send(method, path)
        return answer

    async def _send(self, method: str, path: str) -> httpx2.Response:
        try:
            return await self._http.request(method, self._url + path, headers=await self._authenticated())
        except httpx2.HTTPError as error:
            raise ProviderUnavailableError("SORACOM cannot be reached") from error

    async def _authenticated(self) -> dict[str, str]:
        now = datetime.now(UTC)
        if now >= self._headers_until:
            asked = self._keys | {"tokenTimeoutSeconds": int(_TOKEN_LIFE.total_seconds())}
            answer = await self._http.post(f"{self._url}/auth", json=asked)
            self._check(answer)
            said = _json(answer)
            if not isinstance(said.get("apiKey"), str) or not isinstance(said.get("token"), str):
                raise ProviderUnavailableError("SORACOM gave no token")
            self._headers = {"X-Soracom-API-Key": said["apiKey"], "X-Soracom-Token": said["token"]}
            self._headers_until = now + _TOKEN_LIFE / 2
        return self._headers

    def _check(self, answer: httpx2.Response) -> None:
        match answer.status_code:
            case 404:
                raise ProviderRefusedError("sim_not_found")
            case 401 | 403:
                raise ProviderRefusedError("carrier_refused_our_key")
            case 400 | 409:
                raise ProviderRefusedError("change_not_allowed")
            case status if status >= 300:
                raise ProviderUnavailableError(f"SORACOM answered HTTP {status}")


def _safe(sim_id: str) -> str:
    if not _SIM_ID.fullmatch(sim_id):
        raise ProviderRefusedError("sim_id_malformed")
    return sim_id


def _json(answer: httpx2.Response) -> dict[str, Any]:
    try:
        said = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise ProviderUnavailableError("SORACOM answered something else than an object")
    return said
