"""Access tokens for scripts, the demo and tests, as a sign-in at the sandbox's OpenID provider would give."""

from typing import Any

import httpx2


async def bearer(
    http: httpx2.AsyncClient,
    identity: str,
    sub: str,
    *,
    claims: dict[str, Any] | None = None,
    client_id: str = "lostphone",
    expires_in: int = 3600,
) -> str:
    """The token of a person of people.yaml, or of anybody when `claims` say who. `identity` is the part's address."""
    wanted = {"sub": sub, "claims": claims, "client_id": client_id, "expires_in": expires_in}
    answer = await http.post(f"{identity}/_token", json=wanted)
    answer.raise_for_status()
    return str(answer.json()["access_token"])
