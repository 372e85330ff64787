"""Microsoft Entra ID: the token endpoint of each tenant, and the two calls of Graph that ending sessions needs."""

import secrets
import time
from datetime import UTC, datetime
from urllib.parse import parse_qs

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox import kept
from sandbox.companies import companies
from sandbox.part import Part, read

_TOKEN_LIFE_SECONDS = 3599


class User(BaseModel):
    """One account. `valid_from` is what a read answers once `visible_at` (Unix time) has passed."""

    id: str = Field(pattern=r"^[A-Za-z0-9-]{1,80}$")
    tenant: str
    name: str
    valid_from: datetime = datetime(2026, 4, 1, tzinfo=UTC)
    pending: datetime | None = None
    visible_at: float = 0.0


class State(BaseModel):
    """What the tenants keep."""

    users: dict[str, User] = {}


class Settings(BaseModel):
    """How the part behaves."""

    lag_seconds: float = Field(0.0, ge=0, le=600, description="From a revocation until a read shows it.")


class Entra:
    """Login and Graph of every tenant of people.yaml at one address."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._path = part.folder / "state.json"
        self._state = kept.load(self._path, State)
        self._settings = Settings()
        self._tokens: dict[str, tuple[str, float]] = {}
        self._tenants = {company.entra_tenant for company in companies().organisations.values()}
        for organisation, person in companies().everyone():
            tenant = companies().organisations[organisation].entra_tenant
            self._state.users.setdefault(person.account, User(id=person.account, tenant=tenant, name=person.email))

    def application(self) -> ASGIApp:
        routes = [
            Route("/{tenant}/oauth2/v2.0/token", self._give_token, methods=["POST"]),
            Route("/v1.0/users/{user}/revokeSignInSessions", self._revoke, methods=["POST"]),
            Route("/v1.0/users/{user}", self._show, methods=["GET"]),
            Route("/_settings", self._set, methods=["GET", "PUT"]),
            Route("/_users", self._put_user, methods=["POST"]),
            Route("/_tokens", self._end_tokens, methods=["DELETE"]),
        ]
        return self._part.application(routes, _graph_error)

    async def _give_token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        tenant, ours = request.path_params["tenant"], companies().entra_application
        if tenant not in self._tenants:
            return _login_error(400, "invalid_request", 90002, "Tenant not found.")
        if form.get("grant_type") != "client_credentials":
            return _login_error(400, "unsupported_grant_type", 70003, "The grant type is not supported.")
        if form.get("client_id") != ours.client_id:
            return _login_error(400, "unauthorized_client", 700016, "Application was not found in the directory.")
        if not secrets.compare_digest(form.get("client_secret", ""), ours.client_secret):
            return _login_error(401, "invalid_client", 7000215, "Invalid client secret provided.")
        token = secrets.token_urlsafe(40)
        self._tokens[token] = (tenant, time.time() + _TOKEN_LIFE_SECONDS)
        return JSONResponse(
            {
                "token_type": "Bearer",
                "expires_in": _TOKEN_LIFE_SECONDS,
                "ext_expires_in": _TOKEN_LIFE_SECONDS,
                "access_token": token,
            }
        )

    async def _revoke(self, request: Request) -> Response:
        user = self._user(request)
        self._settle(user)
        # Graph keeps whole seconds, so a read right after may answer a moment before the call.
        user.pending = datetime.now(UTC).replace(microsecond=0)
        user.visible_at = time.time() + self._settings.lag_seconds
        self._settle(user)
        kept.keep(self._path, self._state)
        return JSONResponse({"@odata.context": _context("Edm.Boolean"), "value": True})

    async def _show(self, request: Request) -> Response:
        user = self._user(request)
        self._settle(user)
        facts = {
            "id": user.id,
            "userPrincipalName": user.name,
            "signInSessionsValidFromDateTime": user.valid_from.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        # Graph leaves this property out unless $select names it.
        asked = request.query_params.get("$select", "id,userPrincipalName").split(",")
        shown = {name: value for name, value in facts.items() if name in asked}
        return JSONResponse({"@odata.context": _context("users/$entity"), **shown})

    async def _set(self, request: Request) -> Response:
        if request.method == "PUT":
            self._settings = await read(request, Settings)
        return JSONResponse(self._settings.model_dump())

    async def _put_user(self, request: Request) -> Response:
        user = await read(request, User)
        self._state.users[user.id] = user
        self._tenants.add(user.tenant)
        kept.keep(self._path, self._state)
        return JSONResponse(user.model_dump(mode="json"), 201)

    async def _end_tokens(self, _: Request) -> Response:
        self._tokens.clear()
        return Response(status_code=204)

    def _user(self, request: Request) -> User:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        tenant, until = self._tokens.get(token, ("", 0.0))
        if until <= time.time():
            raise HTTPException(401, "Access token is empty or has expired.")
        wanted = request.path_params["user"]
        for user in self._state.users.values():
            if user.tenant == tenant and wanted in (user.id, user.name):
                return user
        raise HTTPException(404, f"Resource '{wanted}' does not exist.")

    def _settle(self, user: User) -> None:
        if user.pending is not None and user.visible_at <= time.time():
            user.valid_from, user.pending = user.pending, None


_CODES = {400: "BadRequest", 401: "InvalidAuthenticationToken", 403: "Authorization_RequestDenied"}


def _graph_error(status: int, message: str) -> Response:
    inner = {"date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "request-id": secrets.token_hex(16)}
    code = _CODES.get(status, "Request_ResourceNotFound" if status == 404 else "UnknownError")
    return JSONResponse({"error": {"code": code, "message": message, "innerError": inner}}, status)


def _login_error(status: int, error: str, number: int, text: str) -> Response:
    return JSONResponse(
        {"error": error, "error_description": f"AADSTS{number}: {text}", "error_codes": [number]}, status
    )


def _context(what: str) -> str:
    return f"https://graph.microsoft.com/v1.0/$metadata#{what}"
