"""Microsoft Entra ID: ending a person's sign-in sessions, and reading back that they ended."""

import re
from datetime import datetime, timedelta
from urllib.parse import quote

import httpx2

from services.mdm_actions.providers import ProviderRefusedError, ProviderUnavailableError
from services.mdm_actions.vendor_api import VendorApi

_SCOPE = "https://graph.microsoft.com/.default"
_LIFE, _LONGEST_LIFE = timedelta(hours=1), timedelta(days=1)
_ACCOUNT = re.compile(r"[A-Za-z0-9._@-]{1,120}")


class Entra:
    """One tenant, as an application with User.RevokeSessions.All and User.Read.All."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        login_url: str,
        graph_url: str,
        *,
        tenant: str,
        client_id: str,
        client_secret: str,
    ) -> None:
        self._http = http
        self._token_url = f"{login_url.rstrip('/')}/{tenant}/oauth2/v2.0/token"
        self._graph_url = graph_url.rstrip("/")
        self._client = {"client_id": client_id, "client_secret": client_secret}
        self._api = VendorApi(http, "Entra ID", self._sign_in)

    async def probe(self) -> None:
        await self._api.probe()

    async def revoke(self, account: str) -> None:
        self._check(await self._call("POST", f"/v1.0/users/{_safe(account)}/revokeSignInSessions"))

    async def valid_from(self, account: str) -> datetime | None:
        answer = await self._call("GET", f"/v1.0/users/{_safe(account)}?$select=id,signInSessionsValidFromDateTime")
        self._check(answer)
        moment = self._api.document(answer).get("signInSessionsValidFromDateTime")
        if not moment:
            return None
        try:
            since = datetime.fromisoformat(moment)
        except (TypeError, ValueError) as error:
            raise ProviderUnavailableError("Entra ID gave a time that cannot be read") from error
        if since.tzinfo is None:
            raise ProviderUnavailableError("Entra ID gave a time without its zone")
        return since

    async def _call(self, method: str, path: str) -> httpx2.Response:
        return await self._api.call(method, self._graph_url + path)

    async def _sign_in(self) -> tuple[dict[str, str], timedelta]:
        form = self._client | {"grant_type": "client_credentials", "scope": _SCOPE}
        answer = await self._http.post(self._token_url, data=form)
        if answer.status_code in (400, 401):
            raise ProviderRefusedError("identity_provider_refused_our_key")
        self._check(answer)
        (token,) = self._api.words(answer, "access_token")
        return {"Authorization": f"Bearer {token}"}, _life(self._api.document(answer).get("expires_in"))

    def _check(self, answer: httpx2.Response) -> None:
        match answer.status_code:
            case 404:
                raise ProviderRefusedError("user_not_found")
            case 401 | 403:
                raise ProviderRefusedError("identity_provider_refused_our_key")
            case 400:
                raise ProviderRefusedError("account_malformed")
            case status if status >= 300:
                raise ProviderUnavailableError(f"Entra ID answered HTTP {status}")


def _life(said: object) -> timedelta:
    """An hour when it is not said how long: a token that ends earlier is refused, and replaced."""
    return min(timedelta(seconds=said), _LONGEST_LIFE) if isinstance(said, int) and 0 < said < 2**31 else _LIFE


def _safe(account: str) -> str:
    if not _ACCOUNT.fullmatch(account):
        raise ProviderRefusedError("account_malformed")
    return quote(account)
