"""The HTTP API of a vendor where one signs in for a while, first and whenever the vendor says that it is over."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import orjson

from services.mdm_actions.providers import ProviderUnavailableError

type SignIn = Callable[[], Awaitable[tuple[Mapping[str, str], timedelta]]]
"""Headers that let one in, and how long they do."""

_OVER = datetime.min.replace(tzinfo=UTC)


class VendorApi:
    """`name` is how people know the vendor; `sign_in` raises what the adapter raises."""

    def __init__(self, http: httpx2.AsyncClient, name: str, sign_in: SignIn) -> None:
        self._http = http
        self._name = name
        self._sign_in = sign_in
        self._headers: Mapping[str, str] = {}
        self._until = _OVER

    async def call(self, method: str, url: str) -> httpx2.Response:
        """The answer, whatever its status. Raises `ProviderUnavailableError` when there is none."""
        answer = await self._send(method, url)
        if answer.status_code == httpx2.codes.UNAUTHORIZED:
            # A token can end before its time.
            self._until = _OVER
            answer = await self._send(method, url)
        return answer

    async def probe(self) -> None:
        """Sign in, which costs and changes nothing. Raises like every call."""
        try:
            await self._sign_in_anew()
        except httpx2.HTTPError as error:
            raise ProviderUnavailableError(f"{self._name} cannot be reached") from error

    async def _send(self, method: str, url: str) -> httpx2.Response:
        try:
            if datetime.now(UTC) >= self._until:
                await self._sign_in_anew()
            return await self._http.request(method, url, headers=self._headers)
        except httpx2.HTTPError as error:
            raise ProviderUnavailableError(f"{self._name} cannot be reached") from error

    async def _sign_in_anew(self) -> None:
        began = datetime.now(UTC)
        self._headers, life = await self._sign_in()
        self._until = began + life / 2

    def document(self, answer: httpx2.Response) -> dict[str, Any]:
        """The JSON object of an answer. Raises `ProviderUnavailableError` when it is none."""
        try:
            said = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            said = None
        if not isinstance(said, dict):
            raise ProviderUnavailableError(f"{self._name} answered something else than an object")
        return said

    def words(self, answer: httpx2.Response, *names: str) -> list[str]:
        """These members of an answer to a sign-in. Raises `ProviderUnavailableError` when one is no text."""
        said = self.document(answer)
        found = [said.get(name) for name in names]
        if not all(isinstance(word, str) for word in found):
            raise ProviderUnavailableError(f"{self._name} gave no token")
        return [str(word) for word in found]
