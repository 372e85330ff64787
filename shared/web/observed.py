"""Around every request: trace, log line, metrics, security headers, and an answer where the code broke."""

import logging
import time

from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.telemetry import continue_trace, logger, metrics
from shared.web import problem
from shared.web.problem import route_of

_LOG = logger(__name__)
_SILENT = ("/health/", "/metrics", "/static/")
_QUIET = ("/webhooks/",)
"""Polls of every phone, every second: worth a line when something is wrong with one."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _policy(form_action: str) -> str:
    """Nothing but our own files; no inline script or style, no frames."""
    return (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; "
        f"connect-src 'self'; form-action 'self' {form_action}; base-uri 'none'; frame-ancestors 'none'"
    )


class Observed:
    """The outermost layer. A query string is never logged: it may hold a receipt code."""

    def __init__(self, app: ASGIApp, form_action: str) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": _policy(form_action),
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "same-origin",
            "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0
        method = scope["method"] if scope["method"] in _METHODS else "other"

        async def headed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(message, scope["path"])
                metrics.HTTP_SECONDS.labels(method=method, route=route_of(scope)).observe(time.perf_counter() - begun)
            await send(message)

        with continue_trace(Headers(scope=scope).get("traceparent"), method, SpanKind.SERVER) as step:
            try:
                await self._app(scope, receive, headed)
            except Exception as error:  # noqa: BLE001 - the last place where a bug can still become an answer
                if status:
                    _LOG.error("answer broken off", method=method, route=route_of(scope), exc_info=error)
                else:
                    await problem.refuse(problem.of_failure(Request(scope), error), scope, receive, headed)
            step.update_name(f"{method} {route_of(scope)}")
            metrics.HTTP_REQUESTS.labels(method=method, route=route_of(scope), status=str(status)).inc()
            if not scope["path"].startswith(_SILENT):
                milliseconds = round((time.perf_counter() - begun) * 1000, 1)
                level = logging.DEBUG if scope["path"].startswith(_QUIET) and 0 < status < 400 else logging.INFO
                _LOG.log(
                    level, "request", method=method, route=route_of(scope), status=status, milliseconds=milliseconds
                )

    def _add_headers(self, message: Message, path: str) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in self._headers.items():
            headers.setdefault(name, value)
        # The sheet may be kept, and is asked for again each time: pages of a new release need its own.
        headers.setdefault("Cache-Control", "no-cache" if path.startswith("/static/") else "no-store")
