"""Bounds on what a request may take: bytes, seconds, and how often."""

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.telemetry import metrics
from shared.web.problem import Problem, answer

MAX_BODY_BYTES = 2 * 1024 * 1024
REQUEST_SECONDS = 30.0


class BodyLimit:
    """413 for a body over the limit, by its declared length or while it is read."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            await answer(Request(scope), _too_large(self._limit))(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._limit:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)


class Deadline:
    """503 when the answer has not begun after so many seconds; a stream that has begun may go on."""

    def __init__(self, app: ASGIApp, seconds: float = REQUEST_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds) as deadline:

                async def started(message: Message) -> None:
                    deadline.reschedule(None)
                    await send(message)

                await self._app(scope, receive, started)
        except TimeoutError:
            if not deadline.expired():
                raise
            await answer(Request(scope), _too_slow())(scope, receive, send)


class RateLimit:
    """A token bucket for each key, in the memory of this process; a dependency for public forms.

        intake_limit = RateLimit(burst=5, per_minute=10)
        @app.post("/report", dependencies=[Depends(intake_limit)])

    The key of a request is the caller's address (of IPv6, the /64 network). Answers 429 with Retry-After.
    """

    def __init__(
        self,
        *,
        burst: int,
        per_minute: float,
        max_keys: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._per_second = per_minute / 60
        self._max_keys = max_keys
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, request: Request) -> None:
        wait = self.take(_address(request))
        if wait > 0:
            metrics.HTTP_LIMITED.labels(route=getattr(request.scope.get("route"), "path", "other")).inc()
            seconds = math.ceil(wait)
            raise Problem(
                429,
                "too_many_requests",
                ja=f"送信回数が多すぎます。{seconds}秒後にもう一度お試しください。お急ぎの場合は電話でご連絡ください。",
                en=f"Too many requests. Please try again in {seconds} seconds, or call if it is urgent.",
                headers={"Retry-After": str(seconds)},
            )

    def take(self, key: str) -> float:
        """Take one token: 0 when there was one, else the seconds until there will be."""
        now = self._clock()
        tokens, then = self._buckets.pop(key, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - then) * self._per_second)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._per_second


def _address(request: Request) -> str:
    host = request.client.host if request.client else "unknown"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host


def _too_large(limit: int) -> Problem:
    mib = limit / 1024 / 1024
    return Problem(
        413,
        "too_large",
        ja=f"送信されたデータが大きすぎます（上限 {mib:g} MiB）。",
        en=f"What was sent is too large; at most {mib:g} MiB.",
        headers={"Connection": "close"},
    )


def _too_slow() -> Problem:
    return Problem(
        503,
        "too_slow",
        ja="時間内に処理できませんでした。もう一度お試しください。",
        en="This took too long. Please try again.",
        headers={"Retry-After": "5"},
    )
