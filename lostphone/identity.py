"""Tokens of the sandbox's identity provider: in the embedded stack the command line signs in as anybody."""

import httpx2

from lostphone.screen import CouldNotError
from sandbox.companies import companies


def someone(role: str) -> str:
    """The `sub` of the first person of the sandbox with this role; `employee` is everyone's."""
    return next(person.sub for _, person in companies().everyone() if role == "employee" or role in person.roles)


def token(issuer: str, sub: str, *, life_seconds: int = 3600) -> str:
    """A bearer token as a sign-in of this person would give. Raises `CouldNotError`."""
    try:
        said = httpx2.post(f"{issuer}/_token", json={"sub": sub, "expires_in": life_seconds}, timeout=10)
    except httpx2.HTTPError as error:
        raise CouldNotError(
            "サンドボックスの認証サーバーに接続できません。lostphone status を確認してください。",
            "The sandbox's identity provider cannot be reached. See lostphone status.",
        ) from error
    if said.status_code != httpx2.codes.OK:
        raise CouldNotError(
            f"サンドボックスに {sub} という人はいません(sandbox/people.yaml)。",
            f"Nobody in the sandbox is called {sub} (sandbox/people.yaml).",
        )
    return str(said.json()["access_token"])
