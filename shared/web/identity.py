"""Who is asking: a bearer token, or the session cookie that signing in by browser leaves.

    person: Annotated[Person, Depends(identity.require(Role.DESK, Role.LEAD))]
    reader: Annotated[Person | None, Depends(identity.optional())]

Claims of the token: `sub`, `organisation`, `roles`, `name`, `locale`. docs/decisions/bearer-tokens.md says which
tokens count.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx2
from fastapi import Request
from pydantic import SecretStr
from starlette.responses import RedirectResponse, Response

from shared.telemetry import logger
from shared.vault.people import People
from shared.web.language import known
from shared.web.oidc import Provider, TokenError
from shared.web.person import Person, Role
from shared.web.problem import Problem
from shared.web.session import (
    SESSION_SECONDS,
    SIGN_IN_SECONDS,
    Seal,
    derive,
    session_key,
)

_LOG = logger(__name__)
_ORGANISATION = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")
CALLBACK_PATH = "/sign-in/callback"


class Settings(Protocol):
    """What of a service's settings concerns signing in."""

    oidc_issuer: str
    oidc_client_id: str
    oidc_client_secret: SecretStr
    session_key_file: Path
    public_url: str


class Identity:
    """Knows the people who sign in at the company's identity provider."""

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        public_url: str,
        session_key: bytes,
        people: People,
        http: httpx2.AsyncClient,
    ) -> None:
        self.provider = Provider(issuer, client_id, client_secret, http)
        self._people = people
        self._seal = Seal(session_key)
        self._csrf_key = derive(session_key, "csrf")
        self._redirect_uri = public_url.rstrip("/") + CALLBACK_PATH
        self.secure = public_url.startswith("https://")

    @property
    def session_cookie(self) -> str:
        """The name of the cookie that holds who is signed in."""
        return self._seal.session_cookie

    @classmethod
    def from_settings(cls, settings: Settings, http: httpx2.AsyncClient, people: People) -> "Identity":
        """Raises `OSError` or `ValueError` when the key for cookies cannot be read."""
        secret = settings.oidc_client_secret
        return cls(
            issuer=settings.oidc_issuer,
            client_id=settings.oidc_client_id,
            client_secret=secret.get_secret_value() if secret else None,
            public_url=settings.public_url,
            session_key=session_key(settings.session_key_file),
            people=people,
            http=http,
        )

    def require(self, *roles: Role) -> Callable[[Request], Awaitable[Person]]:
        """A dependency for `Depends`: the signed-in person, who has one of these roles, or any where none is named.

        Answers 401 without a valid sign-in, 403 without the role.
        """

        async def signed_in(request: Request) -> Person:
            person = await self.person(request)
            if person is None:
                raise _sign_in_needed()
            if roles and person.roles.isdisjoint(roles):
                raise role_needed(roles)
            return person

        return signed_in

    def optional(self) -> Callable[[Request], Awaitable[Person | None]]:
        """A dependency for `Depends`: the signed-in person, or None. A token that does not count is still 401."""
        return self.person

    def has_session(self, request: Request) -> bool:
        """Whether the request carries a sign-in that has not ended, as browsers send along by themselves."""
        return self._session(request) is not None

    async def person(self, request: Request) -> Person | None:
        """Who makes this request; also left in `request.state.person` for pages."""
        header = request.headers.get("authorization", "")
        bearer = header[:7].lower() == "bearer "
        person = await self._bearer(header[7:].strip()) if bearer else self._session(request)
        request.state.person = person
        return person

    async def _bearer(self, token: str) -> Person:
        try:
            return self._of_claims(await self.provider.verify(token))
        except TokenError as error:
            _LOG.info("bearer token refused", why=str(error))
            raise Problem(
                401,
                "token_invalid",
                ja="アクセストークンが無効か、期限切れです。",
                en=f"The bearer token does not count: {error}.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            ) from error

    def _session(self, request: Request) -> Person | None:
        content = self._seal.open(self.session_cookie, request.cookies.get(self.session_cookie))
        if content is None:
            return None
        return Person(
            ref=content["ref"],
            organisation=content["organisation"],
            roles=frozenset(Role(role) for role in content["roles"]),
            locale=known(content["locale"]),
            name=content["name"],
        )

    def _of_claims(self, claims: dict[str, Any]) -> Person:
        organisation, subject, roles = claims.get("organisation"), claims.get("sub"), claims.get("roles", [])
        if not isinstance(organisation, str) or not _ORGANISATION.match(organisation):
            raise TokenError("the claim organisation is missing or malformed")
        if not isinstance(subject, str) or not isinstance(roles, list):
            raise TokenError("the claim sub or roles is malformed")
        name = claims.get("name")
        return Person(
            ref=self._people.ref(organisation, subject),
            organisation=organisation,
            roles=frozenset(Role(role) for role in roles if role in Role),
            locale=known(claims.get("locale")),
            name=name[:100] if isinstance(name, str) else "",
        )

    # Signing in by browser: authorization code with PKCE, state and nonce.

    async def begin(self, request: Request) -> Response:
        """Send the browser to the provider. `next` is a path here."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        url = await self.provider.authorization_url(
            redirect_uri=self._redirect_uri, state=state, nonce=nonce, challenge=challenge
        )
        answer = RedirectResponse(url, 303)
        pending = {
            "state": state,
            "nonce": nonce,
            "verifier": verifier,
            "next": local_path(request.query_params.get("next")),
        }
        self._set(answer, self._seal.sign_in_cookie, pending, SIGN_IN_SECONDS)
        return answer

    async def complete(self, request: Request) -> Response:
        """The provider sent the browser back: check, open the session, go on to where the person wanted."""
        pending = self._seal.open(self._seal.sign_in_cookie, request.cookies.get(self._seal.sign_in_cookie))
        state, code = request.query_params.get("state", ""), request.query_params.get("code")
        if pending is None or not hmac.compare_digest(pending["state"].encode(), state.encode()):
            raise _sign_in_failed("this browser did not begin the sign-in, or more than ten minutes ago")
        if not code:
            raise _sign_in_failed("the provider answered without a code")
        try:
            claims = await self.provider.redeem(
                code, redirect_uri=self._redirect_uri, verifier=pending["verifier"], nonce=pending["nonce"]
            )
            person = self._of_claims(claims)
        except TokenError as error:
            raise _sign_in_failed(str(error)) from error
        answer = RedirectResponse(pending["next"], 303)
        content = {
            "ref": person.ref,
            "organisation": person.organisation,
            "roles": sorted(person.roles),
            "locale": person.locale,
            "name": person.name,
        }
        self._set(answer, self.session_cookie, content, SESSION_SECONDS)
        answer.delete_cookie(self._seal.sign_in_cookie, path="/")
        _LOG.info("signed in", person=person.ref, organisation=person.organisation, roles=sorted(person.roles))
        return answer

    def end(self) -> Response:
        """Sign out here. The session at the company's provider is the provider's."""
        answer = RedirectResponse("/signed-out", 303)
        answer.delete_cookie(self.session_cookie, path="/", httponly=True, samesite="lax", secure=self.secure)
        return answer

    def _set(self, answer: Response, name: str, content: dict[str, Any], seconds: int) -> None:
        answer.set_cookie(
            name,
            self._seal.close(name, content, seconds=seconds),
            max_age=seconds,
            path="/",
            httponly=True,
            samesite="lax",
            secure=self.secure,
        )

    def csrf_token(self, request: Request, seed: str) -> str:
        """What a form must send back: bound to the browser's `seed` cookie and to who is signed in."""
        person = self._session(request)
        bound = f"{seed}\n{person.organisation}\n{person.ref}" if person is not None else seed
        return hmac.digest(self._csrf_key, bound.encode(), "sha256").hex()


def local_path(wanted: str | None) -> str:
    """Where to go after sign-in: only a path on this host; anything else becomes `/`."""
    if not wanted or len(wanted) > 500 or not wanted.startswith("/") or wanted.startswith(("//", "/\\")):
        return "/"
    return wanted if wanted.isprintable() and "\\" not in wanted else "/"


def sign_in_path(request: Request) -> str:
    """The link that signs in and comes back to this page."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"/sign-in?{urlencode({'next': here if request.method == 'GET' else '/'})}"


def _sign_in_needed() -> Problem:
    return Problem(
        401,
        "sign_in_needed",
        ja="サインインが必要です。",
        en="Sign-in is needed.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def role_needed(roles: Sequence[Role]) -> Problem:
    """403 that names the roles, one of which would do."""
    names = ", ".join(sorted(roles))
    return Problem(
        403,
        "role_needed",
        ja=f"この操作には次のいずれかの役割が必要です: {names}",
        en=f"This needs one of these roles: {names}.",
        roles=sorted(roles),
    )


def _sign_in_failed(why: str) -> Problem:
    _LOG.info("sign-in failed", why=why)
    return Problem(
        400,
        "sign_in_failed",
        ja="サインインを完了できませんでした。もう一度お試しください。",
        en=f"The sign-in could not be completed ({why}). Please try again.",
    )
