"""The company's OpenID provider: the PyPI package `oidc-provider-mock`, with access tokens that are JWTs.

The package signs ID tokens with its key and hands out opaque access tokens. Its token generator and its key are set
here, so that both kinds of token carry the same claims, verify with the same published key, and outlive a restart.
A browser signs in by the package's form; tests and the command line ask `POST /_token`.
"""

import asyncio
import os
import secrets
import time
from pathlib import Path
from typing import Any

import flask
import oidc_provider_mock
import orjson
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from werkzeug.test import EnvironBuilder, run_wsgi_app

from sandbox import kept
from sandbox.companies import companies
from sandbox.part import Part, read

_TOKEN_LIFE_SECONDS = 3600
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]


class Wanted(BaseModel):
    """A request for a token. With `claims`, the person need not be in people.yaml."""

    model_config = ConfigDict(extra="forbid")

    sub: str = Field(min_length=1, max_length=200)
    client_id: str = Field("lostphone", min_length=1, max_length=80)
    claims: dict[str, Any] | None = None
    expires_in: int = Field(_TOKEN_LIFE_SECONDS, description="Seconds; below zero for a token that has ended.")


class Identity:
    """The provider behind its base address, which is also its issuer."""

    def __init__(self, part: Part, url: str) -> None:
        self._part = part
        self._url = url
        self._key = _key(part.folder / "key.json")
        self._claims = {person.sub: person.claims(organisation) for organisation, person in companies().everyone()}
        self._provider = self._build()

    def application(self) -> ASGIApp:
        return self._part.application(
            [Route("/_token", self._give_token, methods=["POST"]), Route("/{path:path}", self._ask, methods=_METHODS)]
        )

    def token(self, wanted: Wanted) -> str:
        """An access token as a sign-in of this person would give. Raises `KeyError` for nobody's `sub`."""
        claims = wanted.claims if wanted.claims is not None else self._claims[wanted.sub]
        return self._sign(wanted.sub, claims, wanted.client_id, wanted.expires_in)

    def _sign(self, sub: str, claims: dict[str, Any], client_id: str, life: int) -> str:
        now = int(time.time())
        said = {
            "iss": self._url,
            "sub": sub,
            "aud": client_id,
            "client_id": client_id,
            "iat": now,
            "exp": now + life,
            "jti": secrets.token_urlsafe(12),
        }
        header = {"alg": "RS256", "typ": "at+jwt", "kid": self._key.kid}
        return jwt.encode(header, {**claims, **said}, self._key)

    def _build(self) -> flask.Flask:
        # The package refuses plain HTTP otherwise; it listens on loopback only.
        os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
        users = [oidc_provider_mock.User(sub=sub, claims=claims) for sub, claims in self._claims.items()]
        # The package's name, since its pages are looked up beside it.
        provider = flask.Flask(oidc_provider_mock.__name__)
        provider.secret_key = secrets.token_bytes(16)
        provider.config["OAUTH2_ACCESS_TOKEN_GENERATOR"] = self._access_token
        oidc_provider_mock.init_app(provider, user_claims=users)

        @provider.before_request
        def use_the_kept_key() -> None:
            flask.g.oidc_provider_mock_storage.jwk = self._key

        return provider

    def _access_token(self, *, client: Any, user: Any, **_: object) -> str:
        return self._sign(user.sub, user.claims, client.id, _TOKEN_LIFE_SECONDS)

    async def _give_token(self, request: Request) -> Response:
        wanted = await read(request, Wanted)
        try:
            token = self.token(wanted)
        except KeyError as error:
            raise HTTPException(404, f"nobody in people.yaml has the sub {wanted.sub}") from error
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": wanted.expires_in})

    async def _ask(self, request: Request) -> Response:
        environ = EnvironBuilder(
            path=request.url.path,
            base_url=self._url,
            query_string=request.url.query,
            method=request.method,
            headers=[(name, value) for name, value in request.headers.items() if name != "host"],
            data=await request.body(),
        ).get_environ()
        body, status, headers = await asyncio.to_thread(run_wsgi_app, self._provider, environ, buffered=True)
        answer = Response(b"".join(body), int(status.split(" ", 1)[0]))
        answer.raw_headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return answer


def _key(path: Path) -> RSAKey:
    if not path.exists():
        made = RSAKey.generate_key(2048, private=True, auto_kid=True)
        kept.write(path, orjson.dumps(made.as_dict(private=True)))
    return RSAKey.import_key(orjson.loads(path.read_bytes()))
