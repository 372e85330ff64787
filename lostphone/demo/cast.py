"""The people of the story, and their calls to the services."""

from dataclasses import dataclass
from pathlib import Path

import httpx2

from lostphone import identity
from lostphone.approvers import person_ref, sandbox_key_file
from lostphone.client import Client
from lostphone.installation import Installation
from lostphone.status import Status
from sandbox.companies import companies

ORGANISATION = "acme-kk"
HOLDER, COLLEAGUE = "acme-sato", "acme-suzuki"
DESK, APPROVER = "acme-tanaka", "acme-mori"
PRIVACY, EXECUTIVE = "acme-kato", "acme-ito"
PR, OPERATOR, AUDITOR = "acme-nakamura", "acme-operator", "acme-auditor"
DEVICE_TAG = "ACME-0001"


@dataclass(frozen=True)
class Cast:
    """Everybody at the sandbox's company, signed in."""

    status: Status
    installation: Installation

    def to(self, service: str, sub: str) -> Client:
        """A client of one service for one person."""
        return Client(self.status.http[service], self.token(sub))

    def token(self, sub: str) -> str:
        """That person's bearer token."""
        return identity.token(self.status.sandbox["identity"], sub)

    def key_file(self, sub: str) -> Path:
        """The key with which that person signs."""
        return sandbox_key_file(self.installation.data_dir, sub)

    def names(self) -> dict[str, str]:
        """Person reference → name and `sub`, to show who acted: events carry references alone."""
        return {
            person_ref(self.installation.vault_key_file, organisation, person.sub): person.name
            for organisation, person in companies().everyone()
        }

    def sandbox(self, part: str, method: str, path: str, body: object = None) -> httpx2.Response:
        """A call to a part of the sandbox itself."""
        answer = httpx2.request(method, f"{self.status.sandbox[part]}{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer
