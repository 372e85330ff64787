"""SORACOM: lines whose SIM is managed by its API.

A change answers at once with the SIM as it stands then; the reading is nevertheless taken a second time.
"""

import re
from datetime import UTC, datetime, timedelta

import httpx2

from services.mdm_actions.providers import LineAction, LineReading, ProviderRefusedError, ProviderUnavailableError
from services.mdm_actions.vendor_api import VendorApi
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
        self._api = VendorApi(http, "SORACOM", self._sign_in)

    async def probe(self) -> None:
        await self._api.probe()

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
        word = str(self._api.document(answer).get("status")).lower()
        if word not in _OPEN | _STOPPED:
            # Neither open nor stopped may be claimed of it.
            raise ProviderUnavailableError("SORACOM gave a status of the SIM that is not known")
        return LineReading(word in _OPEN, word, Assurance.API_READBACK, datetime.now(UTC))

    async def _call(self, method: str, path: str) -> httpx2.Response:
        return await self._api.call(method, self._url + path)

    async def _sign_in(self) -> tuple[dict[str, str], timedelta]:
        asked = self._keys | {"tokenTimeoutSeconds": int(_TOKEN_LIFE.total_seconds())}
        answer = await self._http.post(f"{self._url}/auth", json=asked)
        self._check(answer)
        key, token = self._api.words(answer, "apiKey", "token")
        return {"X-Soracom-API-Key": key, "X-Soracom-Token": token}, _TOKEN_LIFE

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
