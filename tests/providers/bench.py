"""The tools of the adapters' suites: waiting on a condition, phones to command, networks that lose answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx2

from services.mdm_actions.domain.command import Kind, State
from services.mdm_actions.mdm.nanomdm import NanoMDM
from services.mdm_actions.providers import DeviceOrder, MobileDeviceManagement, Outcome


async def eventually[T](ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool], within: float = 40.0) -> T:
    """What `ask` answers once it holds; fails with the last answer when it never does."""
    deadline = time.monotonic() + within
    while not holds(said := await ask()):
        assert time.monotonic() < deadline, f"still {said!r} after {within} s"
        await asyncio.sleep(0.02)
    return said


def an_order(kind: Kind, message: str = "お拾いの方はご連絡ください / Please call us") -> DeviceOrder:
    return DeviceOrder(uuid4(), kind, message)


class LosesAnswers(httpx2.AsyncBaseTransport):
    """A network over which everything arrives and no answer comes back."""

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self._inner.handle_async_request(request)
        await answer.aread()
        raise httpx2.ReadError("the answer was lost", request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass
class Webhooks:
    """What NanoMDM posted: body and signature, in the order of arrival."""

    received: list[tuple[bytes, str | None]] = field(default_factory=list)


@dataclass
class Bench:
    """A real NanoMDM, its adapter, and phones of the sandbox that talk to it."""

    devices: NanoMDM
    url: str
    api_key: str
    webhook_key: str
    database: asyncpg.Pool
    http: httpx2.AsyncClient
    phones_url: str
    webhooks: Webhooks
    phones: list["Phone"] = field(default_factory=list)

    async def phone(self, **facts: Any) -> "Phone":
        """A phone that enrolled just now."""
        wanted = {"serial": f"T{uuid4().hex[:11].upper()}", "position": {"latitude": 35.6, "longitude": 139.7}, **facts}
        answer = await self.http.post(f"{self.phones_url}/phones", json=wanted)
        assert answer.status_code == 201, answer.text
        self.phones.append(Phone(answer.json()["udid"], self))
        return self.phones[-1]

    async def rest(self) -> None:
        """No phone of this test asks for work any more."""
        while self.phones:
            await self.phones.pop().tell("offline")


@dataclass
class Phone:
    """One phone of the sandbox, by remote control."""

    udid: str
    bench: Bench

    async def tell(self, what: str) -> dict[str, Any]:
        """offline, online, enrol or leave."""
        return await self._call("POST", f"/{what}")

    async def behave(self, **behaviour: Any) -> dict[str, Any]:
        return await self._call("PUT", "/behaviour", behaviour)

    async def state(self) -> dict[str, Any]:
        return await self._call("GET", "")

    async def obeyed(self) -> list[str]:
        """The request types that reached it, in order."""
        return [done["request_type"] for done in (await self.state())["history"]]

    async def order(self, kind: Kind) -> UUID:
        """Enqueue a command; its id."""
        order = an_order(kind)
        await self.bench.devices.enqueue(self.udid, order)
        return order.command

    async def outcome(self, command: UUID, holds: Callable[[Outcome], bool]) -> Outcome:
        """The command's outcome once it holds."""
        return await outcome_of(self.bench.devices, self.udid, command, holds)

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = await self.bench.http.request(
            method, f"{self.bench.phones_url}/phones/{self.udid}{path}", json=body or {}
        )
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said


async def outcome_of(
    devices: MobileDeviceManagement, udid: str, command: UUID, holds: Callable[[Outcome], bool]
) -> Outcome:
    """The outcome of a command that the server has, once it holds."""
    outcome = await eventually(lambda: devices.outcome(udid, command), lambda said: said is not None and holds(said))
    assert outcome is not None
    return outcome


def ended(outcome: Outcome) -> bool:
    return outcome.state not in (State.QUEUED, State.DEFERRED)
