"""The FastAPI application that every service starts from."""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Literal, Protocol

import orjson
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles

from shared.telemetry import Gauges, Health, metrics
from shared.web import problem
from shared.web.csrf import guard
from shared.web.head import HeadAsGet
from shared.web.identity import CALLBACK_PATH, Identity
from shared.web.language import language
from shared.web.limits import MAX_BODY_BYTES, REQUEST_SECONDS, BodyLimit, Deadline
from shared.web.media_type import understood
from shared.web.observed import Observed
from shared.web.pages import Pages
from shared.web.problem import Problem
from shared.web.text import usable_text

_HERE = Path(__file__).parent


class Settings(Protocol):
    """What of a service's settings concerns its pages."""

    @property
    def links(self) -> Mapping[str, str]:
        """Base addresses of the other services, for links on pages."""


class Kit(Protocol):
    """What of `shared.service.Kit` an application needs."""

    @property
    def settings(self) -> Settings: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def health(self) -> Health: ...
    @property
    def gauges(self) -> Gauges: ...


def create_app(
    kit: Kit,
    *,
    title: str,
    max_body: int = MAX_BODY_BYTES,
    larger: Mapping[str, int] | None = None,
    request_seconds: float = REQUEST_SECONDS,
    slower: Mapping[str, float] | None = None,
    static: Path | None = None,
) -> FastAPI:
    """An application with sign-in, problem details, bounds, health, metrics and security headers.

    Every route is guarded against forged forms, but those under `/webhooks/`, which prove their sender themselves.
    `larger` names paths (regular expressions) that take longer bodies, `slower` those that may take more seconds than
    `request_seconds`. `static` is a folder of the service's own files, served under `/files`.
    """
    app = FastAPI(
        title=f"Lostphone {title}",
        docs_url=None,
        redoc_url=None,
        # Its redirect to the path without the slash names whatever host the request names.
        redirect_slashes=False,
        # `Observed` traces requests; FastAPI's own spans would hold paths and queries, and with them receipt codes.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
        responses=problem.RESPONSES,
        dependencies=[Depends(understood), Depends(guard(kit.identity)), Depends(usable_text)],
    )
    app.state.identity = kit.identity
    app.state.links = kit.settings.links
    pages = Pages(_HERE / "pages", _HERE / "pages" / "words.yaml")
    _answer_problems(app, pages)
    _add_sign_in(app, kit.identity, pages)
    _add_operations(app, kit.health, kit.gauges)
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    if static is not None:
        app.mount("/files", StaticFiles(directory=static), name="files")
    app.add_middleware(HeadAsGet)
    app.add_middleware(BodyLimit, limit=max_body, larger=larger)
    app.add_middleware(Deadline, seconds=request_seconds, slower=slower)
    app.add_middleware(Observed, form_action=kit.identity.provider.issuer)
    return app


def _answer_problems(app: FastAPI, pages: Pages) -> None:
    def respond(request: Request, found: Problem) -> Response:
        if not problem.wants_page(request):
            return problem.answer(request, found)
        template = "sign_in_needed.html" if found.code == "sign_in_needed" else "problem.html"
        detail = found.detail(language(request))
        return pages.render(
            request,
            template,
            status_code=found.status,
            headers=found.headers,
            detail=detail,
            problem=found,
            sent=request.method == "POST",
        )

    app.state.respond = respond

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return respond(request, error)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        found = problem.of_http(error)
        if found.status == HTTPStatus.METHOD_NOT_ALLOWED and (methods := _methods(request)):
            found.headers["Allow"] = ", ".join(methods)
        return respond(request, found)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return respond(request, problem.of_validation(error))


def _methods(request: Request) -> list[str]:
    """With what a path can be asked that was asked otherwise (RFC 9110, 15.5.6): the framework names one route's."""
    asked = [{**request.scope, "method": method} for method in ("GET", "POST", "PUT", "PATCH", "DELETE")]
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    found = [scope["method"] for scope in asked if any(route.matches(scope)[0] is Match.FULL for route in routes)]
    return ["GET", "HEAD", *found[1:]] if "GET" in found else found


def _add_sign_in(app: FastAPI, identity: Identity, pages: Pages) -> None:
    @app.get("/sign-in", include_in_schema=False)
    async def begin(request: Request) -> Response:
        return await identity.begin(request)

    @app.get(CALLBACK_PATH, include_in_schema=False)
    async def complete(request: Request) -> Response:
        return await identity.complete(request)

    @app.post("/sign-out", include_in_schema=False)
    async def end() -> Response:
        return identity.end()

    @app.get("/signed-out", include_in_schema=False)
    async def ended(request: Request) -> Response:
        return pages.render(request, "signed_out.html")


def _add_operations(app: FastAPI, health: Health, gauges: Gauges) -> None:
    @app.get("/health/live", include_in_schema=False)
    async def live() -> Response:
        # A part that cannot go on ends the process: one that answers lives.
        return _json({"status": "live"}, well=True)

    @app.get("/health/ready", include_in_schema=False)
    async def ready(exclude: Literal["providers"] | None = None) -> Response:
        return _checks(await health.ready(providers=exclude is None), "ready")

    @app.get("/health/serving", include_in_schema=False)
    async def serving() -> Response:
        return _checks(await health.serving(), "serving")

    @app.get("/metrics", include_in_schema=False)
    async def expose() -> Response:
        await gauges.measure()
        return Response(metrics.expose(), media_type=metrics.CONTENT_TYPE)


def _checks(checks: Mapping[str, str | None], word: str) -> Response:
    well = not any(checks.values())
    shown = {name: {"ok": reason is None, "reason": reason} for name, reason in checks.items()}
    return _json({"status": word if well else f"not_{word}", "checks": shown}, well=well)


def _json(document: dict[str, object], *, well: bool) -> Response:
    status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(orjson.dumps(document), status, media_type="application/json")
