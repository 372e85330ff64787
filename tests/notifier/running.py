"""A notifier as it runs, with its HTTP and timers, the sandbox's mail, LINE and pager, and a way to tell it events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sandbox.companies import companies
from sandbox.config import Config
from sandbox.playing import playing
from sandbox.tokens import bearer
from services.notifier.app import build
from services.notifier.settings import Settings
from shared.events import Received
from shared.events.payload import Payload
from shared.messaging.lease import Holder
from shared.messaging.timer import Timers
from shared.service import open_kit
from tests.stack.installed import Installed
from tests.stack.service import Running, Someone, free_port, serving, settings_of

LINE_TOKEN = companies().organisations["acme-kk"].line_channel_token
PEOPLE = {
    "desk": ["security_desk"],
    "lead": ["incident_lead"],
    "privacy": ["privacy_officer"],
    "executive": ["executive"],
    "pr": ["disclosure_owner"],
    "auditor": ["auditor"],
    "employee": [],
}


async def until[T](look: Callable[[], Awaitable[T]], what: str, seconds: float = 60) -> T:
    """What `look` finds, once it finds something; fail with `what` when it does not in time."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := await look()):  # noqa: ASYNC110 - conditions lie in databases and journals
                await asyncio.sleep(0.03)
            return found
    except TimeoutError:
        pytest.fail(f"not within {seconds} s: {what}")


@dataclass
class Outside:
    """The sandbox around the service."""

    addresses: dict[str, str]
    http: httpx2.AsyncClient

    async def journal(self, part: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = (await self.http.get(f"{self.addresses[part]}/_journal")).json()["entries"]
        return entries

    async def mails(self, to: str | None = None) -> list[dict[str, Any]]:
        """Mails that arrived, whole."""
        query = {"to": to} if to else {}
        kept = (await self.http.get(f"{self.addresses['mail']}/_messages", params=query)).json()
        return [(await self.http.get(f"{self.addresses['mail']}/_messages/{mail['id']}")).json() for mail in kept]

    async def pushes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.http.get(f"{self.addresses['line']}/_messages")).json()
        return found

    async def alerts(self, pager: str) -> list[dict[str, Any]]:
        query = {"pager": pager}
        found: list[dict[str, Any]] = (await self.http.get(f"{self.addresses['alerts']}/_alerts", params=query)).json()
        return found

    async def refuse(self, part: str, body: dict[str, Any]) -> None:
        answer = await self.http.post(f"{self.addresses[part]}/_recipients", json=body)
        assert answer.status_code == 200, answer.text

    async def fault(self, part: str, **fault: Any) -> None:
        answer = await self.http.post(f"{self.addresses[part]}/_faults", json=fault)
        assert answer.status_code == 200, answer.text


@asynccontextmanager
async def outside(folder: Path) -> AsyncIterator[Outside]:
    """Identity provider, mail, LINE and pager."""
    parts = ("identity", "mail", "smtp", "line", "alerts")
    config = Config(data_dir=folder, ports=dict.fromkeys(parts, 0), fleet=False)
    async with playing(config) as addresses, httpx2.AsyncClient(timeout=10) as http:
        yield Outside(addresses, http)


@dataclass
class Notifier(Running[Settings]):
    """The service, and the people and services around it."""

    outside: Outside
    organisation: str
    _people: dict[tuple[str, str], Someone] = field(default_factory=dict)

    async def someone(self, role: str, organisation: str | None = None, *, sub: str = "") -> Someone:
        """A person of an organisation in one role; the same person each time."""
        organisation = organisation or self.organisation
        key = (organisation, sub or role)
        if key not in self._people:
            claims = {
                "organisation": organisation,
                "roles": ["employee", *PEOPLE[role]],
                "name": "佐藤 未来",
                "locale": "ja",
            }
            identity = self.outside.addresses["identity"]
            token = await bearer(self.outside.http, identity, f"{organisation}-{sub or role}", claims=claims)
            self._people[key] = Someone(self.http, token)
        return self._people[key]

    async def published(self, incident: str, details: Mapping[str, Any]) -> str:
        """Draft a disclosure, have two people approve it and issue it; its path."""
        pr = await self.someone("pr")
        drafted = await pr.post(f"/v1/incidents/{incident}/disclosures", details, expect=201)
        path = f"/v1/disclosures/{drafted['disclosure']}"
        for role in ("privacy", "executive"):
            await (await self.someone(role)).post(f"{path}/approve", {"text": drafted["text"]})
        await pr.post(f"{path}/contact-desk-check")
        await pr.post(f"{path}/issue")
        return path

    async def hear(
        self, subject: str, *payloads: Payload, organisation: str | None = None, drill: bool = False
    ) -> list[Received]:
        """Have the service hear events, as its consumer would hand them over."""
        records = [
            self.record(payload, subject, organisation or self.organisation, drill=drill) for payload in payloads
        ]
        for received in records:
            await self.hear_again(received)
        return records

    async def said(self, subject: str, kind: str | None = None) -> list[dict[str, Any]]:
        """The data of events in the outbox for this subject, with their type and actor, in order."""
        return [
            {"type": name, "actor": headers["ce_actor"], "drill": headers["ce_drill"], **data}
            for name, headers, data in await self.outbox(subject)
            if kind in (None, name)
        ]

    async def heard_of(self, subject: str, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait for that many events of a kind."""

        async def look() -> list[dict[str, Any]] | None:
            found = await self.said(subject, kind)
            return found if len(found) >= count else None

        return await until(look, f"{count} × {kind} of {subject}") or []

    async def until_no_timer(self, subject: str, kind: str) -> None:
        """Wait until the timers of a kind have fired."""
        left = "SELECT NOT EXISTS (SELECT FROM timer WHERE subject = $1 AND split_part(name, ':', 1) = $2)"
        await until(lambda: self.kit.pool.fetchval(left, subject, kind), f"the end of {kind} of {subject}")

    async def fire(self, subject: str, kind: str) -> None:
        """Bring forward the timers of a kind, as if their moment had come. One that is firing keeps its lease."""
        await self.kit.pool.execute(
            "UPDATE timer SET due_at = now() WHERE subject = $1 AND split_part(name, ':', 1) = $2 AND attempt = 0",
            subject,
            kind,
        )
        self.kit.units.timer_wake.set()


@asynccontextmanager
async def notifier_at(
    installed: Installed, around: Outside, organisation: str, *, timers: bool = True, **settings: Any
) -> AsyncIterator[Notifier]:
    """The service over this test's database, serving HTTP and firing timers."""
    port = free_port()
    alerts = around.addresses["alerts"].replace("http://", "json://")
    chosen = Settings(
        **settings_of("notifier", installed, around.addresses["identity"], port),
        links={"reporter": "http://127.0.0.1:1"},
        rules_dir=Path(__file__).parents[2] / "rules",
        **{
            "smtp_host": "127.0.0.1",
            "smtp_port": int(around.addresses["smtp"].rpartition(":")[2]),
            "smtp_security": "none",
            "mail_senders": {"*": "notice@acme.example"},
            "line_url": around.addresses["line"],
            "line_channel_tokens": {organisation: LINE_TOKEN},
            "alert_urls": {"*": [f"{alerts}/{{organisation}}/{{role}}"]},
            **settings,
        },
    )
    async with open_kit("notifier", chosen) as kit:
        parts = await build(kit)
        holder = Holder(installed.dsn("notifier"), "notifier")
        kinds = {"unbroken": parts.unbroken, "calendar": parts.calendar}
        firing = Timers(kit.units, parts.timers, kit.health, holder, **kinds)
        task = asyncio.create_task(firing.run()) if timers else None
        try:
            async with (
                serving(parts.app, port) as url,
                httpx2.AsyncClient(base_url=url, timeout=20) as http,
            ):
                yield Notifier(kit, parts, http, installed, url, around, organisation)
        finally:
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
