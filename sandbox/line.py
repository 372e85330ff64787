"""The LINE Messaging API: pushing a message to one person, with retry keys that make a repeat harmless."""

import re
import secrets
import time
from http import HTTPStatus
from uuid import UUID, uuid4

import orjson
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sandbox import kept
from sandbox.companies import companies
from sandbox.part import Part, json_object, read

_USER = re.compile(r"U[0-9a-f]{32}")
_DAY = 86_400
_MOST_MESSAGES = 5
_LONGEST_TEXT = 5000


class Accepted(BaseModel):
    """A push that was accepted under a retry key."""

    request_id: str
    sent: list[dict[str, str]]
    until: float


class State(BaseModel):
    """What LINE remembers: retry keys, by channel, for a day."""

    accepted: dict[str, Accepted] = {}


_UNKNOWN = "Authentication failed. Confirm that the access token in the authorization header is valid."


class Refusal(BaseModel):
    """How pushes to one person are answered from now on; 200 lifts it."""

    to: str
    status: int = Field(ge=200, le=599)
    message: str = Field("The API rate limit has been exceeded. Try again later.", max_length=200)


class Line:
    """The API for the channels of people.yaml."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._path = part.folder / "state.json"
        self._state = kept.load(self._path, State)
        self._messages = part.folder / "messages"
        self._messages.mkdir(exist_ok=True)
        self._refusals: dict[str, Refusal] = {}
        self._channels = {company.line_channel_token: name for name, company in companies().organisations.items()}

    def application(self) -> ASGIApp:
        routes = [
            Route("/v2/bot/message/push", self._push, methods=["POST"]),
            Route("/v2/bot/info", self._introduce, methods=["GET"]),
            Route("/_recipients", self._refuse, methods=["POST"]),
            Route("/_messages", self._show, methods=["GET"]),
        ]
        return self._part.application(routes)

    def _channel(self, request: Request) -> str | None:
        return self._channels.get(request.headers.get("Authorization", "").removeprefix("Bearer "))

    async def _introduce(self, request: Request) -> Response:
        channel = self._channel(request)
        if channel is None:
            return _answer(401, _UNKNOWN)
        return JSONResponse({"displayName": channel, "chatMode": "bot", "markAsReadMode": "auto"})

    async def _push(self, request: Request) -> Response:
        channel = self._channel(request)
        if channel is None:
            return _answer(401, _UNKNOWN)
        key = request.headers.get("X-Line-Retry-Key")
        if key is not None and not _is_uuid(key):
            return _answer(400, "The retry key is invalid")
        if key and (before := self._state.accepted.get(f"{channel}/{key}")) and before.until > time.time():
            return _answer(
                409,
                "The retry key is already accepted",
                {"x-line-accepted-request-id": before.request_id},
                sentMessages=before.sent,
            )
        said = json_object(await request.body())
        if problem := _problem(said):
            return _answer(400, problem)
        if refusal := self._refusals.get(said["to"]):
            return _answer(refusal.status, refusal.message)
        return self._accept(channel, key, said)

    def _accept(self, channel: str, key: str | None, said: dict[str, object]) -> Response:
        request_id = str(uuid4())
        messages = said["messages"]
        count = len(messages) if isinstance(messages, list) else 0
        sent = [{"id": str(secrets.randbits(58)), "quoteToken": secrets.token_urlsafe(12)} for _ in range(count)]
        if key:
            self._state.accepted[f"{channel}/{key}"] = Accepted(
                request_id=request_id, sent=sent, until=time.time() + _DAY
            )
            kept.keep(self._path, self._state)
        message = {"channel": channel, "to": said["to"], "messages": messages, "request_id": request_id}
        kept.write(self._messages / f"{time.time_ns()}.json", orjson.dumps(message, option=orjson.OPT_INDENT_2))
        headers = {"x-line-request-id": request_id}
        return JSONResponse({"sentMessages": sent}, headers=headers)

    async def _refuse(self, request: Request) -> Response:
        refusal = await read(request, Refusal)
        self._refusals.pop(refusal.to, None)
        if refusal.status != HTTPStatus.OK:
            self._refusals[refusal.to] = refusal
        return JSONResponse(refusal.model_dump())

    async def _show(self, request: Request) -> Response:
        to = request.query_params.get("to")
        all_messages = [orjson.loads(path.read_bytes()) for path in sorted(self._messages.glob("*.json"))]
        return JSONResponse([message for message in all_messages if to in (None, message["to"])])


def _problem(said: dict[str, object]) -> str | None:
    if not isinstance(said.get("to"), str) or not _USER.fullmatch(str(said["to"])):
        return "The property, 'to', in the request body is invalid (line: -, column: -)"
    messages = said.get("messages")
    if not isinstance(messages, list) or not 1 <= len(messages) <= _MOST_MESSAGES:
        return "Size must be between 1 and 5"
    for message in messages:
        text = message.get("text") if isinstance(message, dict) else None
        if isinstance(message, dict) and message.get("type") != "text":
            continue
        if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_TEXT:
            return "A message (messages[0]) in the request body is invalid"
    return None


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def _answer(status: int, message: str, headers: dict[str, str] | None = None, **more: object) -> Response:
    said = {"message": message, **more}
    return JSONResponse(said, status, headers={"x-line-request-id": str(uuid4()), **(headers or {})})
