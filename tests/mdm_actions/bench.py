"""The tools of these suites: the service in this process, the reporter's pen, the sandbox's remote control."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sandbox.tokens import bearer
from services.mdm_actions.inventory import device_id
from services.mdm_actions.settings import Settings
from shared.events import Envelope, Event, Received, Signer, find, read
from shared.events.mdm_actions import DeviceLocated
from shared.events.payload import Ownership, Payload
from shared.events.reporter import DeviceLost, WipeRequested
from shared.events.wipe import Step, WipeStatement, sign
from shared.messaging.lease import Holder
from shared.messaging.timer import Timers
from shared.service import Kit, Parts
from tests.stack.installed import Installed

HOUR = timedelta(hours=1)
CALLBACK = "Hq0yqvY3mXkz1h2Z3b4C5d6E7f8G9h0I1j2K3l4M5n6"


async def eventually[T](ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], within: float = 20.0) -> T:
    """What `ask` answers once it holds; fails with the last answer when it never does."""
    deadline = time.monotonic() + within
    while not holds(said := await ask()):
        assert time.monotonic() < deadline, f"still {said!r} after {within} s"
        await asyncio.sleep(0.02)
    return said


@dataclass
class World:
    """Everything outside: a real NanoMDM and the sandbox. `webhooks` is where NanoMDM's words go at the moment."""

    http: httpx2.AsyncClient
    parts: dict[str, str]
    nanomdm_url: str
    nanomdm_dsn: str
    api_key: str
    webhook_key: str
    webhooks: httpx2.AsyncClient | None = None
    phones: list["Phone"] = field(default_factory=list)

    async def phone(self, udid: str, **facts: Any) -> "Phone":
        """A phone that enrolled just now."""
        wanted = {
            "udid": udid,
            "serial": f"T{uuid4().hex[:11].upper()}",
            "position": {"latitude": 35.6595, "longitude": 139.7005, "accuracy_m": 18},
            **facts,
        }
        answer = await self.http.post(f"{self.parts['phones']}/phones", json=wanted)
        assert answer.status_code == 201, answer.text
        self.phones.append(Phone(udid, self))
        return self.phones[-1]

    async def rest(self) -> None:
        """No phone of this test asks for work any more."""
        while self.phones:
            await self.phones.pop().tell("offline")

    async def post(self, part: str, path: str, body: dict[str, Any]) -> None:
        answer = await self.http.post(f"{self.parts[part]}{path}", json=body)
        assert answer.is_success, answer.text

    async def journal(self, part: str, match: str) -> list[dict[str, Any]]:
        """The calls that reached a part and whose method and path hold `match`."""
        answer = await self.http.get(f"{self.parts[part]}/_journal")
        return [call for call in answer.json()["entries"] if match in f"{call['method']} {call['path']}"]


@dataclass
class Phone:
    """One phone of the sandbox, by remote control."""

    udid: str
    world: World

    async def tell(self, what: str) -> None:
        """offline, online, enrol or leave."""
        await self.world.post("phones", f"/phones/{self.udid}/{what}", {})

    async def behave(self, **behaviour: Any) -> None:
        await self.world.post("phones", f"/phones/{self.udid}/behaviour", behaviour)

    async def state(self) -> dict[str, Any]:
        answer = await self.world.http.get(f"{self.world.parts['phones']}/phones/{self.udid}")
        said: dict[str, Any] = answer.json()
        return said

    async def obeyed(self) -> list[str]:
        """The request types that reached it, in order."""
        return [done["request_type"] for done in (await self.state())["history"]]


@dataclass
class Company:
    """One organisation of a test: its people's keys, its tenant, its phones."""

    name: str
    tenant: str = field(default_factory=lambda: str(uuid4()))
    keys: dict[str, Ed25519PrivateKey] = field(
        default_factory=lambda: {name: Ed25519PrivateKey.generate() for name in ("desk", "lead")}
    )
    people: dict[str, str] = field(
        default_factory=lambda: {name: f"person-{secrets.token_hex(16)}" for name in ("desk", "lead")}
    )

    def approvers(self) -> dict[str, Any]:
        """Its part of the approvers' file."""
        return {
            f"{self.name}-{name}": {
                "person": self.people[name],
                "organisation": self.name,
                "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
                "may": ["propose", "approve"],
            }
            for name, key in self.keys.items()
        }

    def row(self, tag: str, **facts: str) -> dict[str, str]:
        """A line of the inventory file for a supervised company phone."""
        return {
            "asset_tag": tag,
            "platform": "ios",
            "model": "iPhone 16",
            "colour": "black",
            "marks": "company seal on the back",
            "serial": f"S{secrets.token_hex(5).upper()}",
            "imei": f"35{secrets.randbelow(10**13):013d}",
            "phone_number": f"+8190{secrets.randbelow(10**8):08d}",
            "ownership": "company",
            "supervised": "yes",
            "holder": f"{tag.lower()}-holder",
            "holder_account": str(uuid4()),
            "mdm": "nanomdm",
            "udid": f"UDID-{secrets.token_hex(8)}",
            "carrier": "soracom",
            "sim_id": f"8981{secrets.randbelow(10**15):015d}",
            "storage_encrypted": "yes",
            "passcode_set": "yes",
            "attempts_limited": "yes",
            "os_version": "26.1",
        } | facts

    def device(self, row: dict[str, str]) -> str:
        return device_id(self.name, row["asset_tag"])

    def order(
        self, incident: str, device: str, *, version: int = 1, drill: bool = False, **facts: Any
    ) -> WipeRequested:
        """An order to wipe that desk and lead signed."""
        now = datetime.now(UTC)
        statement = WipeStatement(
            **{
                "organisation": self.name,
                "incident": incident,
                "device": device,
                "ownership": Ownership.COMPANY,
                "drill": drill,
                "decision_version": version,
                "accept_by": now + 20 * HOUR,
                "valid_until": now + 20 * 24 * HOUR,
                "nonce": secrets.token_hex(16),
            }
            | facts
        )
        return WipeRequested(
            statement=statement,
            proposed=sign(Step.PROPOSE, statement, f"{self.name}-desk", self.keys["desk"]),
            approved=[sign(Step.APPROVE, statement, f"{self.name}-lead", self.keys["lead"])],
        )


def csv_of(rows: list[dict[str, str]]) -> str:
    """An inventory file."""
    header = list(rows[0])
    return "\n".join([",".join(header), *(",".join(row[column] for column in header) for row in rows)])


def new_incident() -> str:
    return f"0192f0c1-0000-7000-8000-{secrets.token_hex(6)}"


def lost(device: str | None, **facts: Any) -> DeviceLost:
    """A signed-in report of a lost phone."""
    return DeviceLost(
        **{
            "door": "signed_in",
            "reported_as": "proxy",
            "device": device,
            "callback": CALLBACK,
            "reported_at": datetime.now(UTC),
        }
        | facts
    )


@dataclass
class Service:
    """mdm_actions in this process, on a real database; events come in signed by the reporter's key."""

    kit: Kit[Settings]
    parts: Parts
    world: World
    installed: Installed
    http: httpx2.AsyncClient
    _sequences: dict[str, int] = field(default_factory=dict)
    said: list[Received] = field(default_factory=list)

    @asynccontextmanager
    async def timers(self) -> AsyncIterator[None]:
        """The timers run inside."""
        holder = Holder(self.installed.dsn("mdm_actions"), "mdm_actions")
        task = asyncio.create_task(Timers(self.kit.units, self.parts.timers, self.kit.health, holder).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def written(self, payload: Payload, incident: str, organisation: str, *, drill: bool = False) -> Received:
        """The reporter's next record about an incident."""
        self._sequences[incident] = sequence = self._sequences.get(incident, 0) + 1
        entry = find(payload.event_type)
        assert entry is not None
        envelope = Envelope(
            id=str(uuid4()),
            source=entry.source,
            type=entry.type,
            subject=incident,
            time=datetime.now(UTC),
            sequence=sequence,
            organisation=organisation,
            actor="service/reporter",
            drill=drill,
        )
        signer = Signer.from_pem("reporter", self.installed.files.key_file("reporter", "event-signing.pem"))
        headers, value = envelope.sign(signer, payload)
        record = Received("lostphone.log.v1", 0, len(self.said), 0, incident.encode(), tuple(headers), value)
        self.said.append(record)
        return record

    async def hear(self, *records: Received) -> None:
        """Take records as the consume loop would: verified, in one unit."""
        async with self.kit.units.begin() as unit:
            await self.parts.sink.take(unit, [read(record, self.installed.keyring) for record in records])

    async def say(self, payload: Payload, incident: str, organisation: str, *, drill: bool = False) -> None:
        """The reporter says it, and this service hears it."""
        await self.hear(self.written(payload, incident, organisation, drill=drill))

    async def lost_phone(self, company: Company, tag: str = "A-1", **facts: str) -> tuple[str, str, Phone]:
        """A phone that is lost, locked and located; incident, device and phone."""
        row = company.row(tag, **facts)
        await self.import_(company, [row])
        phone = await self.world.phone(row["udid"])
        incident, device = new_incident(), company.device(row)
        await self.say(lost(device), incident, company.name)
        await self.told(incident, DeviceLocated)
        return incident, device, phone

    async def events(self, subject: str) -> list[Event]:
        """What this service has told about a subject, in order."""
        rows = await self.kit.pool.fetch(
            "SELECT key, headers, value FROM outbox WHERE key = $1 ORDER BY place", subject
        )
        told = []
        for row in rows:
            headers = tuple((name, data.encode()) for name, data in row["headers"])
            reading = read(Received("log", 0, 0, 0, row["key"].encode(), headers, row["value"]), self.installed.keyring)
            assert isinstance(reading, Event)
            told.append(reading)
        return told

    async def names(self, subject: str) -> list[str]:
        """The names of the events, in order."""
        return [event.entry.name for event in await self.events(subject) if event.entry]

    async def told[P: Payload](self, subject: str, kind: type[P], count: int = 1) -> P:
        """The newest event of this kind once there are `count` of them."""

        async def all_of() -> list[P]:
            events = await self.events(subject)
            return [kind.read(event.value) for event in events if event.envelope.type == kind.event_type]

        return (await eventually(all_of, lambda found: len(found) >= count))[-1]

    async def commands(self, incident: str) -> list[tuple[str, str]]:
        """Kind and state of each command, in order."""
        rows = await self.kit.pool.fetch("SELECT kind, state FROM command WHERE incident = $1 ORDER BY place", incident)
        return [(row["kind"], row["state"]) for row in rows]

    async def until_command(self, incident: str, kind: str, *states: str) -> None:
        """Wait until the newest command of a kind stands in one of the states."""

        async def newest() -> str:
            return next((state for found, state in reversed(await self.commands(incident)) if found == kind), "none")

        await eventually(newest, lambda state: state in states)

    async def ring(self, incident: str, timer: str) -> None:
        """Let a timer's time come now."""
        await self.kit.pool.execute(
            "UPDATE timer SET due_at = now() WHERE subject = $1 AND name LIKE $2", incident, f"{timer}%"
        )
        self.kit.units.timer_wake.set()

    async def waiting(self, incident: str) -> list[str]:
        """The kinds of the timers that are set."""
        rows = await self.kit.pool.fetch(
            "SELECT split_part(name, ':', 1) AS kind FROM timer WHERE subject = $1 ORDER BY 1", incident
        )
        return [row["kind"] for row in rows]

    async def token(self, organisation: str, *roles: str, sub: str = "") -> dict[str, str]:
        """The header of somebody with these roles."""
        sub = sub or f"{organisation}-{'-'.join(roles)}"
        claims = {"organisation": organisation, "roles": ["employee", *roles], "name": "A. Nyone", "locale": "en"}
        token = await bearer(self.world.http, self.world.parts["identity"], sub, claims=claims)
        return {"Authorization": f"Bearer {token}"}

    async def call(
        self, method: str, path: str, organisation: str, *roles: str, sub: str = "", **request: Any
    ) -> httpx2.Response:
        """A request by somebody with these roles."""
        headers = await self.token(organisation, *roles, sub=sub)
        return await self.http.request(method, path, headers=headers, **request)

    async def import_(self, company: Company, rows: list[dict[str, str]], *, apply: bool = True) -> dict[str, Any]:
        """Import an inventory file, and let carrier and identity provider know its lines and accounts."""
        for row in rows if apply else ():
            if row.get("carrier") == "soracom" and row.get("sim_id"):
                sim = {"sim_id": row["sim_id"], "organisation": company.name, "status": "active"}
                await self.world.post("carrier", "/_sims", sim)
            if row.get("holder_account"):
                account = {"id": row["holder_account"], "tenant": company.tenant, "name": "holder"}
                await self.world.post("entra", "/_users", account)
        answer = await self.call(
            "POST",
            f"/v1/inventory/import?apply={str(apply).lower()}",
            company.name,
            "operator",
            content=csv_of(rows).encode(),
        )
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said
