"""One part of the sandbox: an HTTP application with a journal and faults.

What the outside would call is recorded and may fail on request. Paths that begin with `/_` are the test's own
controls, as no vendor has them, and are neither recorded nor made to fail.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.faults import Fault, Faults
from sandbox.journal import Journal

_log = logging.getLogger(__name__)

MAX_BODY = 4_000_000

type Endpoint = Callable[[Request], Awaitable[Response]]


class Part:
    """A part as it runs: its folder, journal, faults and application."""

    def __init__(
        self,
        name: str,
        data_dir: Path,
        *,
        secrets: Iterable[str] = (),
        kept_headers: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.folder = data_dir / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(self.folder / "journal.jsonl", secrets=frozenset(secrets))
        self.faults = Faults()
        self._kept_headers = tuple(name.lower() for name in kept_headers)
        self.running: AbstractAsyncContextManager[object] = nullcontext()
        """Entered before the part listens, left after it stopped."""

    def application(
        self, routes: Sequence[BaseRoute], refusal: Callable[[int, str], Response] | None = None
    ) -> ASGIApp:
        """The whole application. `refusal` shapes the answer to an unknown path or method as the vendor would."""
        own = [
            Route("/health/ready", self._ready),
            Route("/_journal", self._read_journal),
            Route("/_faults", self._change_faults, methods=["GET", "POST", "DELETE"]),
        ]

        async def refuse(_: Request, error: Exception) -> Response:
            status = error.status_code if isinstance(error, HTTPException) else 500
            detail = error.detail if isinstance(error, HTTPException) else "error"
            return refusal(status, detail) if refusal else JSONResponse({"message": detail}, status)

        app = Starlette(routes=[*own, *routes], exception_handlers={HTTPException: refuse})
        return _Recorded(app, self.journal, self.faults, self._kept_headers)

    async def _ready(self, _: Request) -> Response:
        return JSONResponse({"part": self.name, "ready": True})

    async def _read_journal(self, request: Request) -> Response:
        after = request.query_params.get("after", "0")
        entries = self.journal.entries(int(after) if after.isdecimal() else 0)
        return JSONResponse({"part": self.name, "entries": entries})

    async def _change_faults(self, request: Request) -> Response:
        match request.method:
            case "POST":
                self.faults.add(await read(request, Fault))
            case "DELETE":
                self.faults.clear()
        return JSONResponse([fault.model_dump() for fault in self.faults.waiting()])


async def read[T: BaseModel](request: Request, model: type[T]) -> T:
    """The body of a control call. Raises HTTP 400 with what is wrong in it."""
    try:
        return model.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise HTTPException(HTTPStatus.BAD_REQUEST, problems) from error


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object; an empty one when it is something else."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


class _Recorded:
    """Writes every call into the journal before its answer leaves, and shows the faults that wait."""

    def __init__(self, app: ASGIApp, journal: Journal, faults: Faults, kept_headers: tuple[str, ...]) -> None:
        self._app = app
        self._journal = journal
        self._faults = faults
        self._kept_headers = kept_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(("/_", "/health/")):
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        fault = self._faults.take(f"{scope['method']} {scope['path']}")
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        answer = await self._answer(scope, body, fault)
        lost = fault is not None and fault.kind in ("drop", "lose_answer")
        self._record(scope, body, answer, fault)
        for message in _cut(answer) if lost else answer:
            await send(message)

    async def _answer(self, scope: Scope, body: bytes | None, fault: Fault | None) -> list[Message]:
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        async def replay() -> Message:
            return {"type": "http.request", "body": body or b"", "more_body": False}

        if body is None:
            await JSONResponse({"message": "too large"}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)(scope, replay, keep)
        elif fault is not None and fault.kind == "answer":
            await JSONResponse({"message": fault.text}, fault.status)(scope, replay, keep)
        elif fault is None or fault.kind != "drop":
            try:
                await self._app(scope, replay, keep)
            except Exception:  # noqa: BLE001 - its caller was answered 500; the call still belongs into the journal
                _log.exception("%s %s failed", scope["method"], scope["path"])
        return answer

    def _record(self, scope: Scope, body: bytes | None, answer: list[Message], fault: Fault | None) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        said: dict[str, object] = {"status": None, "body": None}
        if answer:
            kind = dict(answer[0].get("headers", ())).get(b"content-type", b"").decode("latin-1")
            whole = b"".join(message.get("body", b"") for message in answer[1:])
            said = {"status": answer[0]["status"], "body": _readable(whole, kind)}
        self._journal.write(
            scope["method"],
            scope["path"],
            query=dict(parse_qsl(scope["query_string"].decode("latin-1"))),
            headers={name: headers[name] for name in self._kept_headers if name in headers},
            fault=fault.kind if fault else None,
            body=_readable(body or b"", headers.get("content-type", "")),
            answer=said,
        )


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when it is larger than any vendor's client sends."""
    whole = bytearray()
    while True:
        message = await receive()
        whole += message.get("body", b"")
        if len(whole) > MAX_BODY:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(whole)


def _cut(answer: list[Message]) -> list[Message]:
    """An answer that promises a body and never brings it: the server closes the connection on it."""
    status = answer[0]["status"] if answer else 200
    return [{"type": "http.response.start", "status": status, "headers": [(b"content-length", b"1")]}]


def _readable(body: bytes, kind: str) -> object:
    if not body:
        return None
    if "json" in kind:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            return body.decode("utf-8", "replace")
    if "x-www-form-urlencoded" in kind:
        return dict(parse_qsl(body.decode("utf-8", "replace")))
    if "html" in kind:
        return f"a page of {len(body)} bytes"
    return body.decode("utf-8", "replace") if kind.startswith("text/") else f"{len(body)} bytes"
