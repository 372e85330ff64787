"""Everything that an installation must keep to itself: passwords, keys and tokens, in the forms they are kept in."""

import json
from pathlib import Path

from lostphone.installation import Installation
from sandbox.companies import companies
from tests.secure.conftest import Guarded

_SHORTEST = 16


def hidden(guarded: Guarded) -> dict[str, str]:
    """Name → secret. What is public about keys is not among them."""
    return {
        **{f"password {name}": password for name, password in guarded.installation.passwords.items()},
        **_of_keys(guarded.installation),
        **_of_vendors(),
        "auditor's token": guarded.status.log.bearer,
    }


def _of_keys(installation: Installation) -> dict[str, str]:
    found = {}
    for file in sorted((installation.data_dir / "keys").rglob("*")):
        if file.is_file():
            found |= {f"{file.name} {number}": text for number, text in enumerate(_secrets_in(file))}
    return found


def _secrets_in(file: Path) -> list[str]:
    text = file.read_text()
    if file.name == "vault-keys.json":
        kept = json.loads(text)
        return [kept["root"], *kept["keys"].values()]
    if "PRIVATE KEY-----" in text:
        body = text.partition("PRIVATE KEY-----\n")[2].partition("-----END")[0]
        # The first line of a PEM names the algorithm and is the same for all keys of a kind.
        lines = body.split()
        return [max(lines[-2:], key=len)] if len(lines) > 1 else [lines[0][-_SHORTEST * 2 :]]
    return [text.strip()] if file.suffix == ".key" else []


def _of_vendors() -> dict[str, str]:
    world = companies()
    return {
        "carrier's key": world.soracom_operator.auth_key,
        "identity provider's secret": world.entra_application.client_secret,
        **{f"LINE token of {name}": company.line_channel_token for name, company in world.organisations.items()},
    }
