"""The carrier: SORACOM's API for SIMs, with its states, its tokens that end, and its answers.

Written from the vendor's OpenAPI file; the codes of errors are the sandbox's own.
"""

import secrets
import time
from typing import Annotated, Any, Literal
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox import kept
from sandbox.companies import companies, fleet
from sandbox.part import Part, json_object, read

type Status = Literal["ready", "active", "inactive", "standby", "suspended", "terminated"]
type Action = Literal["activate", "deactivate", "suspend", "set_to_standby", "enable_termination", "terminate"]

_LEADS_TO: dict[str, Status] = {
    "activate": "active",
    "deactivate": "inactive",
    "suspend": "suspended",
    "set_to_standby": "standby",
    "terminate": "terminated",
}
_CAN_COME_FROM: dict[str, frozenset[Status]] = {
    "activate": frozenset({"ready", "active", "inactive", "standby", "suspended"}),
    "deactivate": frozenset({"ready", "active", "inactive", "standby", "suspended"}),
    "suspend": frozenset({"active", "inactive", "standby", "suspended"}),
    "set_to_standby": frozenset({"ready", "active", "inactive", "standby", "suspended"}),
    "terminate": frozenset({"ready", "active", "inactive", "standby", "suspended"}),
}
_DAY = 86_400


class Change(BaseModel):
    """One entry of a SIM's status history."""

    timestamp: int
    status: Status
    operation: str


class Sim(BaseModel):
    """One SIM."""

    model_config = ConfigDict(extra="forbid")

    sim_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,40}$")]
    organisation: str
    status: Status = "active"
    imsi: str = "440103000000000"
    msisdn: str = "819000000000"
    can_be_suspended: bool = Field(True, description="Not every plan knows the status suspended.")
    termination_enabled: bool = False
    history: list[Change] = []


class State(BaseModel):
    """What the carrier keeps."""

    sims: dict[str, Sim] = {}


class _Session(BaseModel):
    organisation: str | None
    token: str
    until: float


class Carrier:
    """SORACOM for every company of people.yaml."""

    def __init__(self, part: Part, *, with_fleet: bool) -> None:
        self._part = part
        self._path = part.folder / "state.json"
        self._state = kept.load(self._path, State)
        self._sessions: dict[str, _Session] = {}
        operator = companies().soracom_operator
        self._keys: dict[str, tuple[str, str | None]] = {operator.auth_key_id: (operator.auth_key, None)}
        for name, company in companies().organisations.items():
            self._keys[company.soracom.auth_key_id] = (company.soracom.auth_key, name)
        for name, phones in fleet().items() if with_fleet else ():
            for phone in phones:
                msisdn = phone.phone_number.removeprefix("+")
                self._state.sims.setdefault(
                    phone.sim_id,
                    Sim(sim_id=phone.sim_id, organisation=name, msisdn=msisdn, imsi=f"44010{msisdn[-10:]}"),
                )

    def application(self) -> ASGIApp:
        routes = [
            Route("/v1/auth", self._sign_in, methods=["POST"]),
            Route("/v1/sims", self._list, methods=["GET"]),
            Route("/v1/sims/{sim_id}", self._show, methods=["GET"]),
            Route("/v1/sims/{sim_id}/statuses/history", self._history, methods=["GET"]),
            Route("/v1/sims/{sim_id}/{action}", self._change, methods=["POST"]),
            Route("/_sims", self._put_sim, methods=["POST"]),
            Route("/_tokens", self._end_tokens, methods=["DELETE"]),
        ]
        return self._part.application(routes, _error)

    async def _sign_in(self, request: Request) -> Response:
        said = json_object(await request.body())
        key, organisation = self._keys.get(str(said.get("authKeyId")), (None, None))
        if key is None or not secrets.compare_digest(key, str(said.get("authKey"))):
            return _error(401, "Authentication failed.")
        asked = said.get("tokenTimeoutSeconds", _DAY)
        if not isinstance(asked, int) or not 0 < asked <= 2 * _DAY:
            return _error(400, "tokenTimeoutSeconds must be between 1 and 172800.")
        api_key, token = f"api-{secrets.token_urlsafe(24)}", secrets.token_urlsafe(32)
        self._sessions[api_key] = _Session(organisation=organisation, token=token, until=time.time() + asked)
        operator = f"OP{crc32(str(organisation).encode()):010d}"
        return JSONResponse({"apiKey": api_key, "token": token, "operatorId": operator, "userName": "lostphone"})

    async def _list(self, request: Request) -> Response:
        session = self._session(request)
        return JSONResponse([_show(sim) for sim in self._state.sims.values() if _sees(session, sim)])

    async def _show(self, request: Request) -> Response:
        return JSONResponse(_show(self._sim(request)))

    async def _history(self, request: Request) -> Response:
        sim = self._sim(request)
        newest_first = request.query_params.get("sort", "desc") == "desc"
        entries = [{"simId": sim.sim_id, "imsi": sim.imsi, **change.model_dump()} for change in sim.history]
        return JSONResponse(entries[::-1] if newest_first else entries)

    async def _change(self, request: Request) -> Response:
        sim, action = self._sim(request), request.path_params["action"]
        if action == "enable_termination":
            sim.termination_enabled = True
        elif action not in _LEADS_TO:
            return _error(404, "No such operation.")
        else:
            target = leads_to(sim, action)
            if isinstance(target, ValueError):
                return _error(400, str(target))
            if target != sim.status:
                sim.history.append(Change(timestamp=int(time.time() * 1000), status=target, operation=action))
                sim.status = target
        kept.keep(self._path, self._state)
        return JSONResponse(_show(sim))

    async def _put_sim(self, request: Request) -> Response:
        sim = await read(request, Sim)
        self._state.sims[sim.sim_id] = sim
        kept.keep(self._path, self._state)
        return JSONResponse(sim.model_dump(), 201)

    async def _end_tokens(self, _: Request) -> Response:
        self._sessions.clear()
        return Response(status_code=204)

    def _session(self, request: Request) -> _Session:
        session = self._sessions.get(request.headers.get("X-Soracom-API-Key", ""))
        token = request.headers.get("X-Soracom-Token", "")
        if session is None or not secrets.compare_digest(session.token, token) or session.until <= time.time():
            raise HTTPException(401, "Invalid API key or token.")
        return session

    def _sim(self, request: Request) -> Sim:
        session = self._session(request)
        sim = self._state.sims.get(request.path_params["sim_id"])
        if sim is None or not _sees(session, sim):
            raise HTTPException(404, "The SIM does not exist.")
        return sim


def _sees(session: _Session, sim: Sim) -> bool:
    return session.organisation in (None, sim.organisation)


def leads_to(sim: Sim, action: str) -> Status | ValueError:
    """The status after the action, or why it is not allowed."""
    if sim.status not in _CAN_COME_FROM[action]:
        return ValueError(f"A SIM that is {sim.status} cannot {action}.")
    if action == "suspend" and not sim.can_be_suspended:
        return ValueError("The plan of this SIM does not have the status suspended.")
    if action == "terminate" and not sim.termination_enabled:
        return ValueError("Termination is not enabled.")
    return _LEADS_TO[action]


def _show(sim: Sim) -> dict[str, Any]:
    return {
        "simId": sim.sim_id,
        "status": sim.status,
        "speedClass": "s1.4xfast",
        "type": "s1.4xfast",
        "terminationEnabled": sim.termination_enabled,
        "sessionStatus": {"online": sim.status == "active", "imsi": sim.imsi},
        "profiles": {sim.sim_id: {"iccid": sim.sim_id, "subscribers": {sim.imsi: {"msisdn": sim.msisdn}}}},
        "lastModifiedTime": sim.history[-1].timestamp if sim.history else None,
    }


def _error(status: int, message: str) -> Response:
    return JSONResponse({"code": f"SBX{status:04d}", "message": message}, status)
