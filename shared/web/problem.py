"""Problem details (RFC 9457) in the reader's language; a page where a browser asks for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared.messaging.outage import is_outage
from shared.telemetry import logger
from shared.web.language import Language, language

MEDIA_TYPE = "application/problem+json"
_LOG = logger(__name__)

_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "pattern": "^urn:lostphone:problem:"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string", "description": "What is wrong and what to do, in the reader's language."},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "The fields that were refused, and why.",
            "items": {
                "type": "object",
                "required": ["field", "code", "ja", "en"],
                "properties": {name: {"type": "string"} for name in ("field", "code", "ja", "en")},
            },
        },
    },
}
_CONTENT = {MEDIA_TYPE: {"schema": _SCHEMA}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Refused, and why (RFC 9457).", "content": _CONTENT},
    "5XX": {"description": "Not now (RFC 9457).", "content": _CONTENT},
}
"""What every operation may answer besides, in OpenAPI."""

type Words = tuple[str, str]
"""Japanese, English."""


class Problem(Exception):  # noqa: N818 - the name of the thing in RFC 9457
    """Raised anywhere in a request: becomes an `application/problem+json` answer, or a page for a browser.

    `code` is the machine word (`type` is `urn:lostphone:problem:<code>`); `ja` and `en` say to the person who can act
    what is wrong and what to do. `extra` members go into the answer as they are; `headers` is taken out of them.
    """

    def __init__(
        self, status: int, code: str, *, ja: str, en: str, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(f"{status} {code}: {en}")
        self.status = status
        self.code = code
        self.words: Words = (ja, en)
        self.headers = headers or {}
        self.extra = extra

    def detail(self, wanted: Language) -> str:
        """The sentence in one language."""
        return self.words[0 if wanted == "ja" else 1]


def answer(request: Request, problem: Problem) -> Response:
    """The JSON answer."""
    wanted = language(request)
    document = {
        **problem.extra,
        "type": f"urn:lostphone:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail(wanted),
        "instance": request.url.path,
    }
    return Response(
        orjson.dumps(document, default=str),
        problem.status,
        headers={"Content-Language": wanted, "Vary": "Accept, Accept-Language, Cookie", **problem.headers},
        media_type=MEDIA_TYPE,
    )


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer where no route does, as the application answers in its routes: with a page for a browser."""
    request = Request(scope)
    response: Response = request.app.state.respond(request, problem)
    await response(scope, receive, send)


def wants_page(request: Request) -> bool:
    """Whether a browser is asking: it names text/html and not JSON first."""
    accept = request.headers.get("accept", "")
    html, json = accept.find("text/html"), accept.find("json")
    return html >= 0 and (json < 0 or html < json) and not request.url.path.startswith("/health")


_HTTP_WORDS: dict[int, Words] = {
    400: ("リクエストを読み取れません。", "The request cannot be read."),
    401: ("サインインが必要です。", "Sign-in is needed."),
    403: ("この操作は許可されていません。", "This is not allowed."),
    404: ("見つかりません。", "There is nothing here."),
    405: ("この方法では利用できません。", "This method is not supported here."),
    413: ("送信されたデータが大きすぎます。", "What was sent is too large."),
    415: ("この形式は受け付けられません。", "This media type is not accepted."),
}


def of_http(error: HTTPException) -> Problem:
    """A problem for what the framework refuses by itself."""
    ja, en = _HTTP_WORDS.get(error.status_code, ("処理できませんでした。", "This could not be done."))
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return Problem(error.status_code, code, ja=ja, en=en, headers=dict(error.headers or {}))


@dataclass(frozen=True)
class Field:
    """One field that cannot be taken, and why; never what was typed into it."""

    name: str
    code: str
    ja: str
    en: str

    def why(self, wanted: Language) -> str:
        """The reason in one language."""
        return self.ja if wanted == "ja" else self.en


def of_validation(error: RequestValidationError) -> Problem:
    """422 that names each field and why it was refused."""
    return invalid(refused_fields(error))


def refused_fields(error: RequestValidationError | ValidationError) -> list[Field]:
    """The fields that a model refused, at most 50."""
    return [Field(_field(item), str(item["type"]), *_why(dict(item))) for item in error.errors()[:50]]


def invalid(fields: Sequence[Field]) -> Problem:
    """422 about these fields."""
    names_ja = "、".join(f"{field.name}（{field.ja}）" for field in fields)
    names_en = "; ".join(f"{field.name} ({field.en})" for field in fields)
    return Problem(
        422,
        "invalid_input",
        ja=f"入力を確認してください: {names_ja}",
        en=f"Please check what was entered: {names_en}",
        errors=[{"field": field.name, "code": field.code, "ja": field.ja, "en": field.en} for field in fields],
    )


def of_failure(request: Request, error: Exception) -> Problem:
    """500, or 503 when something that this service needs is away. The answer has nothing of the traceback, which stands
    in the log."""
    if is_outage(error):
        what = type(error).__name__
        _LOG.warning("request not served", method=request.method, route=route_of(request.scope), error=what)
        return Problem(
            503,
            "unavailable",
            ja="ただいま処理できません。少し待ってからもう一度お試しください。",
            en="This cannot be done at the moment. Please try again in a few seconds.",
            headers={"Retry-After": "5"},
        )
    _LOG.error("request failed", method=request.method, route=route_of(request.scope), exc_info=error)
    return Problem(
        500,
        "internal_error",
        ja="内部エラーが発生しました。担当者がログを確認します。もう一度お試しください。",
        en="Something went wrong here. The log has the details; please try again.",
    )


def route_of(scope: Scope) -> str:
    """The template of the path, so that neither metrics nor logs hold ids or codes."""
    return getattr(scope.get("route"), "path", "other")


def _field(item: Any) -> str:
    # Where JSON breaks off, the number of a character stands in the place of a name.
    location = item["loc"] if item["type"] != "json_invalid" else ()
    parts = [str(part) for part in location if part not in ("body", "query", "path", "header", "cookie")]
    return ".".join(part[:80] for part in parts[:12]) or "body"


_REASONS: dict[str, Words] = {
    "missing": ("必須項目です", "is required"),
    "string_too_short": ("{min_length}文字以上で入力してください", "needs at least {min_length} characters"),
    "string_too_long": ("{max_length}文字以内で入力してください", "takes at most {max_length} characters"),
    "string_pattern_mismatch": ("形式が正しくありません", "has the wrong form"),
    "enum": ("選択肢から選んでください", "must be one of {expected}"),
    "literal_error": ("選択肢から選んでください", "must be one of {expected}"),
    "int_parsing": ("整数を入力してください", "must be a whole number"),
    "int_type": ("整数を入力してください", "must be a whole number"),
    "bool_parsing": ("はい/いいえで答えてください", "must be true or false"),
    "greater_than_equal": ("{ge}以上にしてください", "must be at least {ge}"),
    "less_than_equal": ("{le}以下にしてください", "must be at most {le}"),
    "timezone_aware": ("時差（例: +09:00）を付けてください", "needs an offset such as +09:00"),
    "year_out_of_range": ("1900年から2999年までにしてください", "must lie between 1900 and 2999"),
    "extra_forbidden": ("この項目は受け付けません", "is not a known field"),
    "json_invalid": ("JSONとして読めません", "is not valid JSON"),
}


def _why(item: dict[str, Any]) -> Words:
    kind = str(item["type"])
    facts = {name: value for name, value in item.get("ctx", {}).items() if isinstance(value, int | float | str)}
    if kind in _REASONS:
        try:
            return (_REASONS[kind][0].format(**facts), _REASONS[kind][1].format(**facts))
        except KeyError:
            return ("値が正しくありません", "is not valid")
    if kind.startswith("date_"):
        return ("2026-11-24のような日付にしてください", "must be a day such as 2026-11-24")
    if kind.startswith(("datetime", "time")):
        return ("日時の形式が正しくありません", "must be a date and time such as 2026-11-24T23:40:00+09:00")
    if kind == "value_error":
        return ("値が正しくありません", "is not valid")
    return ("値が正しくありません", "is not valid")
