"""Thousands of requests from a few addresses; the honest reporter comes from another one, and gets in."""

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from shared.telemetry.logs import configure_logs
from shared.web import Budget, RateLimit, create_app
from shared.web.connections import Places
from tests.requests.running import Service, service_at
from tests.stack.installed import Installed

_DEFAULTS = {
    "emergency_burst": 10,
    "emergency_per_minute": 5,
    "emergency_overall_burst": 300,
    "receipt_burst": 60,
    "receipt_per_minute": 60,
}
_FLOOD = [f"127.0.0.{number}" for number in range(2, 6)]
_HONEST = "127.0.0.77"
_EACH = 250 if os.environ.get("LOSTPHONE_FUZZ_EXAMPLES") else 45
"""Requests of each of the 24 clients of the flood."""
_HEAD = b"POST /v1/emergency-reports HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"


def _report(organisation: str, words: str = "黒いiPhone") -> dict[str, str]:
    return {
        "organisation": organisation,
        "reported_as": "holder",
        "holder_name": "鈴木 健",
        "phone": words,
        "callback": "03-1234-5678",
    }


def _from(address: str, url: str) -> httpx2.AsyncClient:
    transport = httpx2.AsyncHTTPTransport(local_address=address)
    return httpx2.AsyncClient(base_url=url, transport=transport, timeout=60)


@pytest.fixture
async def door(installed: Installed, issuer: str, tmp_path: Path) -> AsyncIterator[Service]:
    """A reporter with the limits that it has out of the box."""
    configure_logs("requests", "ERROR")
    async with service_at("reporter", installed, issuer, tmp_path, organisations=["acme-kk"], **_DEFAULTS) as service:
        yield service


async def test_a_flood_of_good_and_bad_reports_does_not_lock_the_honest_out(door: Service) -> None:
    statuses: Counter[int] = Counter()

    async def flood(address: str, shift: int) -> None:
        bodies: list[dict[str, Any]] = [
            {"json": _report("acme-kk", f"phone {shift}")},
            {"content": b"{" * 5000, "headers": {"Content-Type": "application/json"}},
            {"json": {"organisation": "acme-kk", "phone": "x" * 5000}},
            {"content": b"\xff" * 300_000},
        ]
        async with _from(address, door.url) as http:
            for number in range(_EACH):
                answer = await http.post("/v1/emergency-reports", **bodies[(number + shift) % len(bodies)])
                statuses[answer.status_code] += 1

    async with asyncio.TaskGroup() as flooding:
        for address in _FLOOD:
            for shift in range(6):
                flooding.create_task(flood(address, shift))
        while sum(statuses.values()) < 300:  # noqa: ASYNC110 - until the flood is at its height
            await asyncio.sleep(0.02)
        async with _from(_HONEST, door.url) as http:
            begun = time.monotonic()
            page = await http.get("/emergency")
            answer = await http.post("/v1/emergency-reports", json=_report("acme-kk"))
            waited = time.monotonic() - begun
            receipt = await http.get(f"/v1/receipts/{answer.json().get('receipt_code')}")

    assert page.status_code == 200
    assert answer.status_code == 201, answer.text
    assert receipt.json()["status"] == "reported"
    assert waited < 10, waited
    assert not [status for status in statuses if status >= 500], statuses
    assert statuses[201] <= len(_FLOOD) * (_DEFAULTS["emergency_burst"] + 5 * 5)
    assert set(statuses) == {201, 413, 422, 429}


@asynccontextmanager
async def _connected(url: str, address: str = "127.0.0.2") -> AsyncIterator[tuple[Any, Any]]:
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        async with asyncio.timeout(30):
            yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _is_cut_off(reader: Any) -> None:
    """Returns when the other side has ended the connection."""
    with suppress(ConnectionError):
        while await reader.read(1000):
            pass


async def test_who_holds_every_connection_gives_one_up_to_whoever_comes_from_elsewhere(
    installed: Installed, issuer: str, tmp_path: Path
) -> None:
    places = Places(most=40, head_seconds=60)
    async with service_at("reporter", installed, issuer, tmp_path, places, organisations=["acme-kk"]) as door:
        async with AsyncExitStack() as held:
            for number in range(60):
                await held.enter_async_context(_connected(door.url, _FLOOD[number % 4]))
            async with _from(_HONEST, door.url) as http:
                answer = await http.post("/v1/emergency-reports", json=_report("acme-kk"))
        assert answer.status_code == 201


async def test_a_head_that_does_not_come_to_its_end_is_cut_off(
    installed: Installed, issuer: str, tmp_path: Path
) -> None:
    async with service_at("reporter", installed, issuer, tmp_path, Places(head_seconds=0.5)) as door:
        for sent in (b"", b"GET / HTTP/1.1\r\nHost:"):
            async with _connected(door.url) as (reader, writer):
                writer.write(sent)
                await _is_cut_off(reader)
        # Between two requests of one connection as well.
        async with _connected(door.url) as (reader, writer):
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.write(b"GET /health")
            await _is_cut_off(reader)


async def test_a_head_without_bounds_is_refused(door: Service) -> None:
    async with _connected(door.url) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 40_000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    ("length", "body"),
    [
        (b"Content-Length: 3000000", b"x" * 3_000_000),
        (b"Transfer-Encoding: chunked", (b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 50 + b"0\r\n\r\n"),
    ],
    ids=["declared", "chunked"],
)
async def test_who_sends_a_body_that_is_too_long_to_its_end_is_told_so(
    door: Service, length: bytes, body: bytes
) -> None:
    async with _connected(door.url) as (reader, writer):
        writer.write(_HEAD.replace(b"Content-Length: 100", length) + b"\r\n" + body)
        await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")


async def test_a_body_that_does_not_come_is_answered_after_the_deadline(
    installed: Installed, issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(create_app.__kwdefaults__, "request_seconds", 0.5)
    async with (
        service_at("reporter", installed, issuer, tmp_path) as door,
        _connected(door.url) as (reader, writer),
    ):
        writer.write(_HEAD + b"\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 503")


async def test_a_webhook_whose_body_does_not_come_holds_no_place_as_long_as_an_import_may(
    installed: Installed, issuer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(create_app.__kwdefaults__, "request_seconds", 0.5)
    nanomdm = {
        "nanomdm_url": "http://127.0.0.1:1",
        "nanomdm_dsn": SecretStr("postgresql://nobody@127.0.0.1:1/nowhere"),
        "nanomdm_api_key": SecretStr("any"),
        "nanomdm_webhook_key": SecretStr("shared"),
    }
    async with (
        service_at("mdm_actions", installed, issuer, tmp_path, **nanomdm) as door,
        _connected(door.url) as (reader, writer),
    ):
        writer.write(_HEAD.replace(b"/v1/emergency-reports", b"/webhooks/nanomdm") + b"\r\n{")
        assert (await asyncio.wait_for(reader.readline(), 30)).startswith(b"HTTP/1.1 503")


async def test_the_address_is_that_of_the_connection_unless_a_named_proxy_says_otherwise(
    installed: Installed, issuer: str, tmp_path: Path
) -> None:
    async def statuses(door: Service, *forwarded: str) -> Counter[int]:
        async with _from("127.0.0.2", door.url) as http:
            return Counter(
                [
                    (
                        await http.post(
                            "/v1/emergency-reports",
                            json=_report("acme-kk"),
                            headers={"X-Forwarded-For": address},
                        )
                    ).status_code
                    for address in forwarded
                ]
            )

    pretended = [f"198.51.100.{number}" for number in range(14)]
    limits = {**_DEFAULTS, "emergency_per_minute": 0.001, "organisations": ["acme-kk"]}
    async with service_at("reporter", installed, issuer, tmp_path, **limits) as door:
        assert await statuses(door, *pretended) == {201: 10, 429: 4}
    async with service_at("reporter", installed, issuer, tmp_path, trusted_proxies=["127.0.0.2"], **limits) as door:
        assert await statuses(door, *pretended) == {201: 14}
        # What a client itself put before the proxy's word does not count.
        assert await statuses(door, *(f"{address}, 203.0.113.9" for address in pretended)) == {201: 10, 429: 4}


def test_when_all_together_have_sent_too_much_a_newcomer_has_a_budget_of_its_own() -> None:
    now = 0.0
    limit = RateLimit(burst=10, per_minute=5, overall=Budget(50, 50), clock=lambda: now)
    passed = sum(limit.take(f"flood-{number % 8}") == 0 for number in range(4000))
    assert passed <= 8 * 10
    assert limit.take("honest") == 0
    many = sum(limit.take(f"bot-{number}") == 0 for number in range(4000))
    assert many <= 100
    now = 60.0
    assert limit.take("honest") == 0


async def test_receipt_codes_cannot_be_guessed(door: Service) -> None:
    async with _from(_HONEST, door.url) as http:
        code = (await http.post("/v1/emergency-reports", json=_report("acme-kk"))).json()["receipt_code"]
    assert re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{5}-){3}[0-9A-HJKMNP-TV-Z]{5}", code)  # 20 letters of 5 bits
    near = [code[:-1] + letter for letter in "0123456789ABCDEFGHJKMNPQRSTVWXYZ" if letter != code[-1]]
    async with _from("127.0.0.2", door.url) as http:
        answers = [await http.get(f"/v1/receipts/{guess}") for guess in near * 3]
        assert {answer.status_code for answer in answers} == {404, 429}
        assert len({answer.json()["detail"] for answer in answers if answer.status_code == 404}) == 1
        assert (await http.get(f"/v1/receipts/{code}")).status_code == 429
    async with _from(_HONEST, door.url) as http:
        assert (await http.get(f"/v1/receipts/{code}")).status_code == 200
