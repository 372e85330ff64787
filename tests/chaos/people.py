"""Calls to the services as the people of the sandbox make them, by somebody who does not give up.

A call whose answer was lost is made again: a person would tap the button once more. What the service then says is held
against what is true: `act` returns once the thing is so, however often it took.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import orjson

from lostphone.status import Status

type Case = dict[str, Any]
_PAUSE_SECONDS = 0.5
_CALL_SECONDS = 30.0
_TRY_AGAIN = frozenset({401, 408, 429})


class RefusedError(Exception):
    """The service understood and said no."""

    def __init__(self, method: str, path: str, status: int, body: Any) -> None:
        code = body.get("code") if isinstance(body, dict) else None
        super().__init__(f"{method} {path}: HTTP {status} {code or ''} {orjson.dumps(body).decode()[:400]}")
        self.status = status
        self.code = code


class TooLateError(Exception):
    """What was waited for has not come."""


class People:
    """Everybody who acts, over one connection pool. `calls` counts what was asked, `again` what had to be repeated."""

    def __init__(self, status: Status, http: httpx2.AsyncClient) -> None:
        self._status = status
        self._http = http
        self._tokens: dict[str, str] = {}
        self.calls = 0
        self.again = 0
        self.statuses: Counter[int] = Counter()
        """Answers that were no help, by status."""

    async def call(
        self,
        service: str,
        who: str | None,
        method: str,
        path: str,
        *,
        until: float,
        key: str | None = None,
        **body: Any,
    ) -> Any:
        """The answer of a call that was understood. Raises `RefusedError`; `TooLateError` after `until`."""
        last = "never tried"
        while time.monotonic() < until:
            self.calls += 1
            try:
                headers = {"Accept-Language": "en"} | ({"Idempotency-Key": key} if key else {})
                if who is not None:
                    headers["Authorization"] = f"Bearer {await self._token(who)}"
                answer = await self._http.request(
                    method, f"{self._status.http[service]}{path}", headers=headers, timeout=_CALL_SECONDS, **body
                )
            except (httpx2.HTTPError, OSError) as error:
                last = type(error).__name__
            else:
                if answer.is_success:
                    return orjson.loads(answer.content) if answer.content else {}
                if answer.status_code < 500 and answer.status_code not in _TRY_AGAIN:
                    raise RefusedError(method, path, answer.status_code, _json(answer))
                self.statuses[answer.status_code] += 1
                last = f"HTTP {answer.status_code}: {answer.text[:200]}"
            self.again += 1
            await asyncio.sleep(_PAUSE_SECONDS)
        raise TooLateError(f"{method} {service}{path} as {who}: {last}")

    async def _token(self, who: str) -> str:
        """A token for a person of people.yaml, or, of the form `organisation/sub`, for any employee."""
        if who not in self._tokens:
            organisation, _, sub = who.rpartition("/")
            asked: dict[str, object] = {"sub": sub, "expires_in": 24 * 3600}
            if organisation:
                asked["claims"] = {
                    "organisation": organisation,
                    "roles": ["employee"],
                    "name": "試験 太郎",
                    "locale": "ja",
                }
            said = await self._http.post(
                f"{self._status.sandbox['identity']}/_token", json=asked, timeout=_CALL_SECONDS
            )
            self._tokens[who] = str(said.raise_for_status().json()["access_token"])
        return self._tokens[who]


def _json(answer: httpx2.Response) -> Any:
    try:
        return orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        return answer.text[:200]


async def until_true[T](ask: Callable[[], Awaitable[T]], what: str, until: float, pause: float = 0.5) -> T:
    """The first answer that is true. Raises `TooLateError` that names `what`."""
    while not (answer := await ask()):
        if time.monotonic() > until:
            raise TooLateError(what)
        await asyncio.sleep(pause)
    return answer
