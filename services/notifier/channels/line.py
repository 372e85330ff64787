"""LINE by the Messaging API: pushes to friends of the company's account, with retry keys.

A 200 means accepted, not read. After a 5xx, or without an answer, the message may have been delivered all the same. The
same retry key is answered 409 for a day and delivers nothing a second time (developers.line.biz, Retry failed API
requests).
"""

import asyncio
import importlib
from typing import Any

import aiohttp

from services.notifier.channels.message import Message, Outcome, Result, legible

_SECONDS = 10.0
_LIBRARY = "linebot.v3.messaging"
"""Loaded with the first message: its hundreds of models take longer than the whole rest of the service."""


class Line:
    """The LINE channel of one organisation. Close it at the end."""

    repeats_safely = True

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._client: Any = None

    async def send(self, message: Message) -> Result:
        library: Any = await asyncio.to_thread(importlib.import_module, _LIBRARY)
        if self._client is None:
            self._client = library.AsyncApiClient(library.Configuration(host=self._url, access_token=self._token))
        api = library.AsyncMessagingApi(self._client)
        request = library.PushMessageRequest(to=message.to, messages=[library.TextMessage(text=message.text)])
        try:
            answer: Any = await api.push_message(request, x_line_retry_key=message.key, _request_timeout=_SECONDS)
            sent = str(answer.sent_messages[0].id)
        except library.ApiException as error:
            return _refused(error)
        except aiohttp.ClientConnectorError:
            return Result(Outcome.FAILED, reason="line_not_reached", again=True, away=True)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Result(Outcome.UNCERTAIN, reason=f"no_answer_{type(error).__name__.lower()[:40]}", again=True)
        except (ValueError, TypeError, AttributeError):
            # Said with 200, and not what LINE says: a page of some proxy. Nobody knows whether LINE was asked.
            return Result(Outcome.UNCERTAIN, reason="answer_unreadable", again=True)
        return Result(Outcome.ACCEPTED, provider_id=legible(sent))

    async def probe(self) -> str | None:
        headers = {"Authorization": f"Bearer {self._token}"}
        limit = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.get(f"{self._url}/v2/bot/info", headers=headers) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"LINE cannot be reached: {type(error).__name__}"
        if status in (401, 403):
            return "LINE refuses the channel access token"
        return f"LINE answered HTTP {status}" if status >= 500 else None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def _refused(error: Any) -> Result:
    """What the `ApiException` of the library means."""
    status = int(error.status or 0)
    match status:
        case 409:
            accepted = error.headers.get("x-line-accepted-request-id") if error.headers else None
            return Result(Outcome.ACCEPTED, provider_id=accepted)
        case 400 | 404:
            return Result(Outcome.BOUNCED, reason=f"line_{status}")
        case 401 | 403:
            return Result(Outcome.FAILED, reason=f"line_{status}")
        case _ if status >= 500:
            return Result(Outcome.UNCERTAIN, reason=f"line_{status}", again=True)
        case _:
            return Result(Outcome.FAILED, reason=f"line_{status}", again=True)
