"""A reporter as it runs, with its HTTP on loopback, and a way to tell it what other services would."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox.tokens import bearer
from services.reporter.app import build
from services.reporter.settings import Settings
from shared.events import Received
from shared.events.payload import Payload
from shared.events.wipe import Step, WipeStatement, sign
from shared.service import open_kit
from tests.stack.installed import Installed
from tests.stack.service import Running, Someone, free_port, serving, settings_of

DESK, LEAD, APPROVER, PRIVACY = "security_desk", "incident_lead", "approver", "privacy_officer"


@dataclass
class Reporter(Running[Settings]):
    """The service, and the people and services around it."""

    identity: str
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)

    async def someone(self, organisation: str, *roles: str, sub: str = "", name: str = "佐藤 未来") -> Someone:
        """A person with a fresh `sub`, or with this one."""
        claims = {"organisation": organisation, "roles": ["employee", *roles], "name": name, "locale": "ja"}
        token = await bearer(self.http, self.identity, sub or secrets.token_hex(8), claims=claims)
        return Someone(self.http, token)

    def nobody(self) -> Someone:
        """Somebody who did not sign in."""
        return Someone(self.http, "")

    async def hear(self, payload: Payload, subject: str, organisation: str, *, drill: bool = False) -> Received:
        """Have the service hear an event, as its consumer would hand it over."""
        received = self.record(payload, subject, organisation, drill=drill)
        await self.hear_again(received)
        return received

    async def told(self, subject: str) -> list[tuple[str, dict[str, Any]]]:
        """Events that wait in the outbox for this subject: short type and data, in order."""
        return [(name, data) for name, _, data in await self.outbox(subject)]

    def sign(self, step: Step, statement: dict[str, Any], who: str) -> dict[str, Any]:
        """A person's signature with a key that only the test holds."""
        key = self.keys.setdefault(who, Ed25519PrivateKey.generate())
        return sign(step, WipeStatement.model_validate(statement), who, key).model_dump(mode="json")

    async def phone(self, organisation: str, *, holder: str | None = None, number: str = "", **facts: Any) -> str:
        """A phone of the inventory, registered as mdm_actions would; its device id."""
        from shared.events.mdm_actions import DeviceRegistered
        from shared.vault import DataClass

        device = str(secrets.token_hex(16))
        device = f"{device[:8]}-{device[8:12]}-{device[12:16]}-{device[16:20]}-{device[20:]}"
        values = {
            "phone_number": number or f"0901{secrets.randbelow(10**7):07d}",
            "imei": f"35{secrets.randbelow(10**13):013d}",
            "serial": secrets.token_hex(6).upper(),
            "marks": "赤いストラップ",
        }
        async with self.kit.units.begin() as unit:
            digests = await self.kit.vault.put_many(
                unit.connection,
                organisation=organisation,
                person=f"device-{device}",
                data_class=DataClass.SECRET,
                values=values,
            )
        usual = {
            "asset_tag": f"IP-{secrets.token_hex(4)}",
            "platform": "ios",
            "model": "iPhone 16",
            "colour": "black",
            "ownership": "company",
            "holder": holder,
            "identifiers": digests,
        }
        await self.hear(DeviceRegistered.model_validate(usual | facts), f"device-{device}", organisation)
        self.numbers = {**getattr(self, "numbers", {}), device: values}
        return device


@asynccontextmanager
async def reporter_at(installed: Installed, identity: str, **settings: Any) -> AsyncIterator[Reporter]:
    """The service over a fresh database, serving HTTP."""
    port = free_port()
    chosen = Settings(
        **settings_of("reporter", installed, identity, port),
        links={"audit": "http://127.0.0.1:1/", "notifier": "http://127.0.0.1:2"},
        **{"emergency_burst": 200, "emergency_per_minute": 200, "receipt_burst": 500, **settings},
    )
    async with open_kit("reporter", chosen) as kit:
        parts = await build(kit)
        async with (
            serving(parts.app, port) as url,
            httpx2.AsyncClient(base_url=url, timeout=20) as http,
        ):
            yield Reporter(kit, parts, http, installed, url, identity)
