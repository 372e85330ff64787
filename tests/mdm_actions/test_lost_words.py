"""What a network, a crash or a forger does to words about a command changes nothing about what is true."""

import asyncio
import base64
import hmac
from hashlib import sha256
from typing import Any

import httpx2
import orjson

from shared.events.mdm_actions import DeviceLocated, DeviceLocked, MisuseSuspected, SessionsRevoked
from tests.mdm_actions.bench import Company, Service, eventually, lost, new_incident
from tests.mdm_actions.conftest import Serving


async def test_without_any_webhook_the_reconciler_hears_everything(serving: Serving, company: Company) -> None:
    async with serving(webhooks=False) as service, service.timers():
        row = company.row("A-1")
        await service.import_(company, [row])
        await service.world.phone(row["udid"])
        incident = new_incident()
        await service.say(lost(company.device(row)), incident, company.name)
        await service.told(incident, DeviceLocked)
        await service.told(incident, DeviceLocated)


async def test_looks_at_commands_that_nobody_answers_fall_on_the_same_moments(
    serving: Serving, company: Company
) -> None:
    """On multiples of a twentieth of their pause, which is 0.25 s at first here and then 0.2 s."""
    async with serving(webhooks=False) as service, service.timers():
        incidents = [new_incident() for _ in range(3)]
        rows = [company.row(f"A-{number}") for number in range(3)]
        await service.import_(company, rows)
        for row, incident in zip(rows, incidents, strict=True):
            await (await service.world.phone(row["udid"])).tell("offline")
            await service.say(lost(company.device(row)), incident, company.name)

        async def strays() -> list[int]:
            # A look that is under way is leased, and set anew when it ends.
            looks = await service.kit.pool.fetch(
                "SELECT (extract(epoch FROM due_at) * 1000000)::bigint % 2500 AS stray FROM timer "
                "WHERE subject = ANY ($1) AND name LIKE 'watch:%' AND attempt = 0 "
                "AND (payload->>'pause')::float8 = 0.2",
                incidents,
            )
            return [row["stray"] for row in looks]

        assert set(await eventually(strays, lambda found: len(found) >= 3)) == {0}


class _DiesAfterTheCall(httpx2.AsyncBaseTransport):
    """The process ends whenever one of these calls has arrived, before its answer is read."""

    def __init__(self, *matches: str) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._matches = set(matches)
        self.died = asyncio.Event()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await self._inner.handle_async_request(request)
        fatal = {match for match in self._matches if match in request.url.path}
        if fatal:
            await answer.aread()
            await answer.aclose()
            self._matches -= fatal
            if not self._matches:
                self.died.set()
            raise asyncio.CancelledError
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_a_crash_after_the_call_is_settled_by_asking(serving: Serving, company: Company) -> None:
    row = company.row("A-1")
    incident = new_incident()
    async with serving() as service:
        await service.import_(company, [row])
        phone = await service.world.phone(row["udid"])
        await phone.tell("offline")
    dying = _DiesAfterTheCall("/v1/enqueue", "revokeSignInSessions")
    async with httpx2.AsyncClient(transport=dying) as outward, serving(outward=outward, webhooks=False) as service:
        await service.say(lost(company.device(row)), incident, company.name)
        async with service.timers():
            await asyncio.wait_for(dying.died.wait(), 20)
        assert await service.commands(incident) == [("revoke_sessions", "requested"), ("lost_mode", "requested")]
    async with serving() as service, service.timers():
        # The lease of the firings that died ends.
        await service.ring(incident, "send")
        await service.until_command(incident, "lost_mode", "queued")
        await service.told(incident, SessionsRevoked)
        await phone.tell("online")
        await service.told(incident, DeviceLocated)
        assert (await phone.obeyed()).count("EnableLostMode") == 1
        assert len(await service.world.journal("entra", f"{row['holder_account']}/revokeSignInSessions")) == 1
        names = await service.names(incident)
        assert (names.count("SessionsRevoked"), names.count("DeviceLocked")) == (1, 1)


async def test_a_provider_that_is_away_is_tried_again_in_everyones_sight(service: Service, company: Company) -> None:
    row = company.row("A-1", mdm="", udid="", supervised="unknown")
    await service.import_(company, [row])
    await service.world.post(
        "entra", "/_faults", {"kind": "answer", "status": 503, "calls": 1, "match": "revokeSignInSessions"}
    )
    incident = new_incident()
    await service.say(lost(company.device(row)), incident, company.name)

    async def tries() -> list[Any]:
        answer = await service.call("GET", f"/v1/incidents/{incident}/commands", company.name, "security_desk")
        return [command["tries"]["reason"] for command in answer.json()["commands"] if command["tries"]]

    await eventually(tries, lambda reasons: "provider_unavailable" in reasons)
    await service.told(incident, SessionsRevoked)


async def test_webhooks_count_once_signed_and_for_a_command_of_that_phone(service: Service, company: Company) -> None:
    row, other = company.row("A-1"), company.row("A-2")
    await service.import_(company, [row, other])
    phone = await service.world.phone(row["udid"])
    await phone.tell("offline")
    incident = new_incident()
    await service.say(lost(company.device(row)), incident, company.name)
    await service.until_command(incident, "lost_mode", "queued")
    command = await service.kit.pool.fetchval(
        "SELECT command FROM command WHERE incident = $1 AND kind = 'lost_mode'", incident
    )

    def body(udid: str, name: str) -> bytes:
        event = {"status": "Acknowledged", "udid": udid, "command_uuid": name, "raw_payload": ""}
        return orjson.dumps({"topic": "mdm.Connect", "created_at": "2026-11-24T15:00:00Z", "acknowledge_event": event})

    async def post(content: bytes, key: str = service.world.webhook_key) -> int:
        signature = base64.b64encode(hmac.new(key.encode(), content, sha256).digest()).decode()
        answer = await service.http.post("/webhooks/nanomdm", content=content, headers={"X-Hmac-Signature": signature})
        return answer.status_code

    assert await post(body(row["udid"], command), key="another key") == 401
    assert await post(b"{}") == 422
    assert await post(body(other["udid"], command)) == 204
    assert await post(body(row["udid"], "00000000-0000-4000-8000-000000000000")) == 204
    assert ("lost_mode", "queued") in await service.commands(incident)
    unknown = await service.kit.pool.fetchval("SELECT count(*) FROM webhook WHERE NOT known AND command IS NOT NULL")
    assert unknown == 2

    for _ in range(3):
        assert await post(body(row["udid"], command)) == 204
    await service.told(incident, DeviceLocked)
    assert (await service.names(incident)).count("DeviceLocked") == 1
    assert await service.kit.pool.fetchval("SELECT count(*) FROM webhook WHERE known") == 1


async def test_a_lost_phone_that_leaves_management_is_a_sign_of_misuse(service: Service, company: Company) -> None:
    row = company.row("A-1")
    await service.import_(company, [row])
    phone = await service.world.phone(row["udid"])
    incident = new_incident()
    await service.say(lost(company.device(row)), incident, company.name)
    await service.told(incident, DeviceLocated)
    await phone.tell("leave")
    assert (await service.told(incident, MisuseSuspected)).signal == "left_management"
