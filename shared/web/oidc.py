"""The company's identity provider: discovery, keys, tokens (OpenID Connect Core 1.0, RFC 7636, RFC 9207)."""

import asyncio
import base64
import time
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from shared.telemetry import logger
from shared.web.problem import Problem

_LOG = logger(__name__)

ALGORITHMS = ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"]
"""What a token may be signed with; `none` and shared secrets are not among them."""
LEEWAY_SECONDS = 60
_KEYS_SECONDS = 3600
_REFRESH_PAUSE_SECONDS = 5
_AFTER_FAILURE_SECONDS = 30
"""A provider that is away is asked for its keys this often: each request would wait for it."""
_MAX_TOKEN = 16_384


class TokenError(Exception):
    """The token does not count; the message says why, for the log and the developer, without its content."""


class Provider:
    """One issuer and one client of it. Keys are fetched when first needed, and again for a key id not seen before."""

    def __init__(self, issuer: str, client_id: str, client_secret: str | None, http: httpx2.AsyncClient) -> None:
        self.issuer = issuer
        self.client_id = client_id
        self._client_secret = client_secret
        self._http = http
        self._metadata: dict[str, Any] | None = None
        self._keys: KeySet | None = None
        self._keys_at = 0.0
        self._failed_at = float("-inf")
        self._lock = asyncio.Lock()

    async def metadata(self) -> dict[str, Any]:
        """The provider's own description. Raises `Problem` 503 when it cannot be had."""
        if self._metadata is None:
            found = await self._get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self.issuer:
                raise _unavailable(f"the provider calls itself {found.get('issuer')!r}, not {self.issuer!r}")
            self._metadata = found
        return self._metadata

    async def _endpoint(self, name: str) -> str:
        found = (await self.metadata()).get(name)
        if not isinstance(found, str):
            self._metadata = None
            raise _unavailable(f"the provider names no {name}")
        return found

    async def verify(self, token: str, *, nonce: str | None = None) -> dict[str, Any]:
        """The claims of a token that this issuer signed for this client and that is valid now.

        Raises `TokenError` otherwise, and `Problem` 503 when the provider's keys cannot be had.
        """
        if len(token) > _MAX_TOKEN:
            raise TokenError("the token is too long")
        keys = await self._keys_for(token)
        try:
            decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise TokenError(f"the signature does not verify: {type(error).__name__}") from error
        self._check(decoded.claims, nonce)
        return decoded.claims

    def _check(self, claims: dict[str, Any], nonce: str | None) -> None:
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self.issuer},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            registry.validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise TokenError(str(error)) from error
        audience = claims.get("aud")
        if self.client_id not in (audience if isinstance(audience, list) else [audience]):
            raise TokenError("the token is for another audience")
        if claims.get("azp", self.client_id) != self.client_id:
            raise TokenError("the token was given to another client")
        if nonce is not None and claims.get("nonce") != nonce:
            raise TokenError("the token answers another sign-in")

    async def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Where the browser goes to sign in."""
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        endpoint = await self._endpoint("authorization_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def redeem(self, code: str, *, redirect_uri: str, verifier: str, nonce: str) -> dict[str, Any]:
        """The claims of the ID token that the code stands for. Raises `TokenError`, or `Problem` 503."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": self.client_id,
        }
        endpoint = await self._endpoint("token_endpoint")
        # RFC 6749, 2.3.1: both are form-encoded before they go into the header.
        auth = (quote(self.client_id, safe=""), quote(self._client_secret, safe="")) if self._client_secret else None
        try:
            if auth is None:
                answer = await self._http.post(endpoint, data=form, timeout=10)
            else:
                answer = await self._http.post(endpoint, data=form, auth=auth, timeout=10)
        except httpx2.HTTPError as error:
            raise _unavailable(f"no answer from the token endpoint: {type(error).__name__}") from error
        if answer.status_code >= 500:
            raise _unavailable(f"the token endpoint answers {answer.status_code}")
        try:
            token = answer.json()["id_token"]
        except (ValueError, KeyError, TypeError):
            token = None
        if not isinstance(token, str):
            raise TokenError(f"the token endpoint answers {answer.status_code} without an ID token")
        return await self.verify(token, nonce=nonce)

    async def _keys_for(self, token: str) -> KeySet:
        """The provider's keys, fetched anew when old, or when the token names one that is not among them.

        One request at a time waits for the provider; none that comes meanwhile and whose key is known does.
        """
        if self._keys is not None and self._lock.locked() and not _unknown(token, self._keys):
            return self._keys
        async with self._lock:
            if self._keys is None or self._is_due(token, self._keys):
                await self._fetch_keys()
            if self._keys is None:
                raise _unavailable("the provider has no keys")
            return self._keys

    def _is_due(self, token: str, keys: KeySet) -> bool:
        now = time.monotonic()
        age = now - self._keys_at
        old = age > _KEYS_SECONDS or (_unknown(token, keys) and age > _REFRESH_PAUSE_SECONDS)
        return old and now - self._failed_at > _AFTER_FAILURE_SECONDS

    async def _fetch_keys(self) -> None:
        try:
            self._keys = _key_set(await self._get(await self._endpoint("jwks_uri")))
            self._keys_at = time.monotonic()
        except Problem:
            self._failed_at = time.monotonic()
            if self._keys is None:
                raise

    async def _get(self, url: str) -> dict[str, Any]:
        try:
            answer = await self._http.get(url, timeout=10)
            answer.raise_for_status()
            document = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise _unavailable(f"no answer from {url}: {type(error).__name__}") from error
        if not isinstance(document, dict):
            raise _unavailable(f"{url} does not answer with an object")
        return document


def _key_set(document: dict[str, Any]) -> KeySet:
    try:
        return KeySet.import_key_set(document)  # type: ignore[arg-type]
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unavailable(f"the provider's keys cannot be read: {type(error).__name__}") from error


def _unknown(token: str, keys: KeySet) -> bool:
    kid = _kid(token)
    return kid is not None and all(key.kid != kid for key in keys.keys)


def _kid(token: str) -> str | None:
    """The key id that an unverified token names."""
    head = token.split(".", 1)[0]
    try:
        header = orjson.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except ValueError:
        return None
    kid = header.get("kid") if isinstance(header, dict) else None
    return kid if isinstance(kid, str) else None


def _unavailable(why: str) -> Problem:
    _LOG.warning("identity provider not available", why=why)
    return Problem(
        503,
        "identity_provider_unavailable",
        ja="サインインの基盤に接続できません。しばらくしてからもう一度お試しください。",
        en="The identity provider cannot be reached. Please try again in a moment.",
        headers={"Retry-After": "10"},
    )
