"""Calls to the services over HTTP, as the person whose token is given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx2
import orjson

from lostphone import running
from lostphone.screen import CouldNotError, SaidNoError, language

_TIMEOUT_SECONDS = 30.0
_CALL_SIGN: Final = "lostphone-cli"


class Client:
    """One service, as one person. Raises `CouldNotError` for what cannot be a token."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"Accept": "application/json", "User-Agent": _CALL_SIGN}
        if token is not None:
            if not token.isascii() or not token.isprintable():
                raise CouldNotError(
                    "トークンに使えない文字が含まれています(改行など)。",
                    "The token holds letters that no token has, such as the end of a line.",
                )
            headers["Authorization"] = f"Bearer {token}"
        # Asked for by name: of a language that is only accepted, the person's own goes first.
        self._http = httpx2.Client(
            base_url=url.rstrip("/"), headers=headers, params={"lang": language()}, timeout=_TIMEOUT_SECONDS
        )

    def get(self, path: str, **query: str) -> Any:
        """The JSON answer. Raises `SaidNoError` when the service says no, `CouldNotError` when it cannot answer."""
        return self._decode(lambda: self._http.get(path, params=query))

    def post(self, path: str, body: Any, **query: str) -> Any:
        """Post JSON."""
        return self._decode(lambda: self._http.post(path, json=body, params=query))

    def post_text(self, path: str, text: str, media_type: str, **query: str) -> Any:
        """Post a document that is not JSON."""
        headers = {"Content-Type": f"{media_type}; charset=utf-8"}
        return self._decode(lambda: self._http.post(path, content=text.encode(), headers=headers, params=query))

    def post_for_file(self, path: str, body: Any) -> bytes:
        """Post JSON; the answer is a file."""
        return self._answer(lambda: self._http.post(path, json=body)).content

    def _decode(self, call: Callable[[], httpx2.Response]) -> Any:
        answer = self._answer(call)
        return orjson.loads(answer.content) if answer.content else {}

    def _answer(self, call: Callable[[], httpx2.Response]) -> httpx2.Response:
        try:
            answer = call()
        except httpx2.HTTPError as error:
            raise CouldNotError(
                f"{self._http.base_url} に接続できません。lostphone status で確認してください。",
                f"{self._http.base_url} cannot be reached ({type(error).__name__}). See lostphone status.",
            ) from error
        if answer.is_success:
            return answer
        detail = _detail(answer)
        if answer.status_code == httpx2.codes.UNAUTHORIZED or answer.is_server_error:
            raise CouldNotError(detail, detail)
        raise SaidNoError(detail, detail)


def _detail(answer: httpx2.Response) -> str:
    """What the service says, in the reader's language, with its code."""
    try:
        problem = orjson.loads(answer.content)
        return f"{problem['detail']} ({problem['code']}, HTTP {answer.status_code})"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"


def connect(
    service: str, *, data_dir: Path, url: str | None, token: str | None, who: str | None, role: str | None
) -> Client:
    """A client for a service: of the address and token given, else of the running embedded installation.

    There, `who` names a person of the sandbox, and without it the first one with `role` is taken; no role: no token.
    """
    if url is not None and (token is not None or role is None):
        return Client(url, token)
    status = running.running(data_dir)
    if status is None:
        raise CouldNotError(
            "動作中の環境がありません。lostphone up で起動するか、--url と LOSTPHONE_TOKEN を指定してください。",
            "No installation runs here. Start one with lostphone up, or give --url and LOSTPHONE_TOKEN.",
        )
    if token is None and role is not None:
        # The embedded stack's own identity provider signs in whom it is asked to.
        from lostphone import identity  # noqa: PLC0415 - only here is the sandbox needed

        token = identity.token(status.sandbox["identity"], who or identity.someone(role))
    return Client(url or status.http[service], token)
