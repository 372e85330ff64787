"""What operators ask a service: does it live, is it ready and if not why, and its metrics."""

import asyncio
import re

import httpx2
import pytest

from shared.telemetry import metrics
from tests.web.conftest import Kit


async def well() -> str | None:
    return None


async def test_ready_names_each_check_with_its_reason(client: httpx2.AsyncClient, kit: Kit) -> None:
    kit.health.check("postgres", well)
    kit.health.ok("consumer")
    answer = await client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"consumer": {"ok": True, "reason": None}, "postgres": {"ok": True, "reason": None}},
    }
    kit.health.fail("consumer", "Kafka cannot be reached")
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"]["consumer"] == {"ok": False, "reason": "Kafka cannot be reached"}
    assert (await client.get("/health/live")).status_code == 200
    kit.health.ok("consumer")
    assert (await client.get("/health/ready")).status_code == 200


async def test_a_probe_that_raises_is_a_reason_without_details(client: httpx2.AsyncClient, kit: Kit) -> None:
    async def broken() -> str | None:
        raise ConnectionRefusedError("postgres://user:secret@host refused")

    kit.health.check("postgres", broken)
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"]["postgres"]["reason"] == "ConnectionRefusedError"


async def test_a_probe_that_hangs_is_a_reason(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs() -> str | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr("shared.telemetry.health._CHECK_SECONDS", 0.01)
    kit.health.check("postgres", hangs)
    assert "no answer within" in str((await kit.health.ready())["postgres"])


async def test_a_vendor_that_is_away_makes_a_service_unready_but_not_unable_to_answer(
    client: httpx2.AsyncClient, kit: Kit
) -> None:
    kit.health.check("database", well, serving=True)
    with kit.providers.to("mail", "send") as call:
        call.away("the mail server cannot be reached")
    answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert "the mail server cannot be reached; since 20" in answer.json()["checks"]["provider_mail"]["reason"]
    assert (await client.get("/health/ready?exclude=providers")).status_code == 200
    serving = await client.get("/health/serving")
    assert (serving.status_code, serving.json()["checks"]) == (200, {"database": {"ok": True, "reason": None}})
    with kit.providers.to("mail", "send"):
        pass
    assert (await client.get("/health/ready")).status_code == 200


async def test_without_its_database_a_service_serves_nobody(client: httpx2.AsyncClient, kit: Kit) -> None:
    async def gone() -> str | None:
        return "the database cannot be reached"

    kit.health.check("database", gone, serving=True)
    answer = await client.get("/health/serving")
    assert (answer.status_code, answer.json()["status"]) == (503, "not_serving")


async def test_what_is_asked_for_the_metrics_and_cannot_be_said_is_not_a_number(
    client: httpx2.AsyncClient, kit: Kit
) -> None:
    waiting = 3.0

    async def count() -> float:
        if waiting < 0:
            raise ConnectionRefusedError
        return waiting

    kit.gauges.ask(metrics.OUTBOX_PENDING, count)
    assert "lostphone_outbox_pending 3.0" in (await client.get("/metrics")).text
    waiting = -1
    assert "lostphone_outbox_pending NaN" in (await client.get("/metrics")).text


async def test_metrics_count_requests_by_route_and_never_by_id(client: httpx2.AsyncClient) -> None:
    await client.get("/cases/0192f0c1-planted-id")
    await client.get("/nowhere/planted-path")
    text = (await client.get("/metrics")).text
    assert re.search(r'lostphone_http_requests_total\{method="GET",route="/cases/\{code\}",status="409"\} [1-9]', text)
    assert "planted" not in text


def test_every_metric_has_a_meaning_and_the_prefix() -> None:
    families = list(metrics.REGISTRY.collect())
    assert len(families) >= 25
    for family in families:
        assert family.name.startswith("lostphone_")
        assert family.documentation.endswith(".")
        assert not {"id", "incident", "person", "subject"} & {
            label for sample in family.samples for label in sample.labels
        }
