"""Forms come from our own pages: a hidden field that only they can hold, and no request from another site.

A form that a browser can send by itself (urlencoded, multipart, plain text) must come from this origin, and with a
sign-in it needs the field. Without one it has nobody's rights to misuse, and a browser that keeps no cookies must get
through the emergency door all the same. Other unsafe requests that ride on a cookie must come from this origin. A
bearer token is proof enough, and webhooks prove themselves.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.responses import Response

from shared.web.identity import Identity
from shared.web.problem import Problem

FIELD = "csrf_token"
SEED_COOKIE = "lostphone_csrf"
WEBHOOK_PREFIX = "/webhooks/"
MAX_FIELDS = 200
MAX_FILES = 1
_SAFE = ("GET", "HEAD", "OPTIONS")
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")


def guard(identity: Identity) -> Callable[[Request], Awaitable[None]]:
    """The dependency that `create_app` puts before every route."""

    async def check(request: Request) -> None:
        if request.method in _SAFE or request.url.path.startswith(WEBHOOK_PREFIX):
            return
        if request.headers.get("authorization", "")[:7].lower() == "bearer ":
            return
        if _from_elsewhere(request) and (_is_form(request) or identity.session_cookie in request.cookies):
            raise _refused()
        if _is_form(request) and identity.has_session(request) and not await _has_field(identity, request):
            raise _refused()

    return check


def seed(request: Request) -> str:
    """This browser's seed: the cookie, or a fresh one that `remember` must send along with the page."""
    found = request.cookies.get(SEED_COOKIE) or getattr(request.state, "csrf_seed", None)
    if not found:
        found = secrets.token_urlsafe(24)
        request.state.csrf_seed = found
    return found


def remember(identity: Identity, request: Request, answer: Response) -> None:
    """Leave a seed that was made for this page in the browser."""
    fresh = getattr(request.state, "csrf_seed", None)
    if fresh is not None:
        answer.set_cookie(SEED_COOKIE, fresh, path="/", httponly=True, samesite="lax", secure=identity.secure)


async def _has_field(identity: Identity, request: Request) -> bool:
    known = request.cookies.get(SEED_COOKIE)
    if not known:
        return False  # without a look at the body, which anybody may have sent
    form = await request.form(max_fields=MAX_FIELDS, max_files=MAX_FILES)
    sent = form.get(FIELD)
    if isinstance(sent, str) and hmac.compare_digest(sent.encode(), identity.csrf_token(request, known).encode()):
        return True
    await form.close()
    return False


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").split(";")[0].strip().lower() in _FORMS


def _from_elsewhere(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host", "")


def _refused() -> Problem:
    return Problem(
        403,
        "form_expired",
        ja="フォームの有効期限が切れたか、別のサイトから送信されました。ページを開き直して、もう一度送信してください。",
        en="The form has expired or came from another site. Please open the page again and send it once more.",
    )
