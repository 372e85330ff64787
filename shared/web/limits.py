"""Bounds on what a request may take: bytes, seconds, and how often."""

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.telemetry import metrics
from shared.web.problem import Problem, refuse
from shared.web.source import source_of

MAX_BODY_BYTES = 2 * 1024 * 1024
REQUEST_SECONDS = 30.0
ANSWER_SECONDS = 300.0
_DRAINED_BYTES = 16 * 1024 * 1024
_DRAIN_SECONDS = 5.0


class BodyLimit:
    """413 for a body over the limit, by its declared length or while it is read.

    `larger` names paths, as regular expressions, whose bodies may be longer: those take a file, after they know whose.
    """

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._limit = limit
        self._larger = [(re.compile(path), size) for path, size in (larger or {}).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = next((size for path, size in self._larger if path.fullmatch(scope["path"])), self._limit)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > limit:
            if int(declared[:20]) <= _DRAINED_BYTES and not _asks_first(scope):
                await _drain(receive)
            await refuse(_too_large(limit), scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                if message.get("more_body"):
                    await _drain(receive)
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)


def _asks_first(scope: Scope) -> bool:
    """Whether the client waits for a word before it sends the body."""
    return any(name == b"expect" for name, _ in scope["headers"])


async def _drain(receive: Receive) -> None:
    """Read on and keep nothing, for a while: whoever still sends when the connection ends never sees the answer."""
    left = _DRAINED_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            more = True
            while more and left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)


class Deadline:
    """503 when the answer has not begun after so many seconds, a slow body included; what has begun to be sent, to a
    client that reads slowly, is broken off after `ANSWER_SECONDS`.

    `slower` names paths, as regular expressions, whose work takes longer.
    """

    def __init__(
        self, app: ASGIApp, seconds: float = REQUEST_SECONDS, slower: Mapping[str, float] | None = None
    ) -> None:
        self._app = app
        self._seconds = seconds
        self._slower = [(re.compile(path), limit) for path, limit in (slower or {}).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False
        seconds = next((limit for path, limit in self._slower if path.fullmatch(scope["path"])), self._seconds)
        try:
            async with asyncio.timeout(seconds) as deadline:

                async def started(message: Message) -> None:
                    nonlocal begun
                    if not begun:
                        begun = True
                        deadline.reschedule(asyncio.get_running_loop().time() + ANSWER_SECONDS)
                    await send(message)

                await self._app(scope, receive, started)
        except TimeoutError:
            if begun or not deadline.expired():
                raise
            await refuse(_too_slow(), scope, receive, send)


class Bucket:
    """Tokens that come back with time, in the memory of this process."""

    def __init__(self, size: float, per_second: float, now: float) -> None:
        self._size = size
        self._per_second = per_second
        self._tokens = size
        self._then = now

    def full(self, now: float) -> bool:
        """Whether nothing was taken lately."""
        self._refill(now)
        return self._tokens >= self._size

    def take(self, now: float) -> float:
        """Take one token: 0 when there was one, else the seconds until there will be."""
        self._refill(now)
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0

    def _refill(self, now: float) -> None:
        self._tokens = min(self._size, self._tokens + (now - self._then) * self._per_second)
        self._then = now


@dataclass(frozen=True)
class Budget:
    """What all sources together may send; twice, for once it is used up, those who sent nothing lately have their own.

    Without that, a flood from many addresses would lock out the one honest sender whom the door is for.
    """

    burst: int
    per_minute: float


class RateLimit:
    """A token bucket for each source, and one for all together; a dependency for public forms.

        intake_limit = RateLimit(burst=5, per_minute=10, overall=Budget(300, 300))
        @app.post("/report", dependencies=[Depends(intake_limit)])

    The source of a request is the caller's address (of IPv6, the /64 network); behind a reverse proxy that the settings
    name, the address that the proxy saw. Answers 429 with Retry-After.
    """

    def __init__(
        self,
        *,
        burst: int,
        per_minute: float,
        overall: Budget | None = None,
        max_keys: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._per_second = per_minute / 60
        self._max_keys = max_keys
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._overall = [Bucket(overall.burst, overall.per_minute / 60, clock()) for _ in range(2)] if overall else []

    async def __call__(self, request: Request) -> None:
        wait = self.take(source_of(request.client.host if request.client else None))
        if wait > 0:
            metrics.HTTP_LIMITED.labels(route=getattr(request.scope.get("route"), "path", "other")).inc()
            raise too_many(wait)

    def take(self, key: str) -> float:
        """Take one token: 0 when there was one, else the seconds until there will be."""
        now = self._clock()
        bucket = self._buckets.pop(key, None) or Bucket(self._burst, self._per_second, now)
        self._buckets[key] = bucket
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        newcomer = bucket.full(now)
        return bucket.take(now) or self._take_overall(now, newcomer=newcomer)

    def _take_overall(self, now: float, *, newcomer: bool) -> float:
        if not self._overall:
            return 0.0
        shared, reserve = self._overall
        wait = shared.take(now)
        return reserve.take(now) if wait and newcomer else wait


def too_many(wait: float) -> Problem:
    """429 that says when to try again, and how else to reach the desk."""
    seconds = math.ceil(wait)
    return Problem(
        429,
        "too_many_requests",
        ja=f"送信回数が多すぎます。{seconds}秒後にもう一度お試しください。お急ぎの場合は電話でご連絡ください。",
        en=f"Too many requests. Please try again in {seconds} seconds, or call if it is urgent.",
        headers={"Retry-After": str(seconds)},
    )


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
