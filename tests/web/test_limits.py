"""Bounds: bytes, seconds, and how often."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest
from fastapi import Depends, FastAPI
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.telemetry import metrics
from shared.web import RateLimit


async def test_a_body_over_the_limit_is_413_by_its_length(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/webhooks/mdm", content=b"x" * 10_001)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert (await client.post("/webhooks/mdm", content=b"x" * 10_000)).json() == 10_000


async def test_a_body_without_a_length_is_counted_while_it_is_read(client: httpx2.AsyncClient) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1000

    answer = await client.post("/webhooks/mdm", content=stream())
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("request_seconds", [0.3])
async def test_an_answer_that_does_not_begin_in_time_is_503(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/cases/slow")
    assert (answer.status_code, answer.json()["code"]) == (503, "too_slow")
    assert answer.headers["retry-after"] == "5"


@pytest.mark.parametrize("request_seconds", [0.0])
async def test_a_path_that_is_known_to_take_longer_has_its_own_deadline(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/webhooks/mdm", content=_late())).status_code == 503
    assert (await client.post("/imports/mdm", content=_late())).json() == 2


async def _late() -> AsyncIterator[bytes]:
    yield b"x"
    await asyncio.to_thread(lambda: None)
    yield b"y"


async def test_too_many_requests_are_429_with_a_time_to_wait(app: FastAPI, client: httpx2.AsyncClient) -> None:
    app.add_api_route("/limited", lambda: "ok", dependencies=[Depends(RateLimit(burst=2, per_minute=6))])
    assert [(await client.get("/limited")).status_code for _ in range(3)] == [200, 200, 429]
    answer = await client.get("/limited", headers={"Accept-Language": "en"})
    assert answer.headers["retry-after"] == "10"
    assert "call if it is urgent" in answer.json()["detail"]
    assert metrics.REGISTRY.get_sample_value("lostphone_http_limited_total", {"route": "/limited"}) == 2


def test_each_key_has_its_own_bucket_and_memory_is_bounded() -> None:
    limit = RateLimit(burst=1, per_minute=1, max_keys=3, clock=lambda: 0.0)
    assert [limit.take(key) == 0 for key in ("a", "a", "b", "b")] == [True, False, True, False]
    for number in range(100):
        limit.take(f"key-{number}")
    assert len(limit._buckets) == 3


class Bucket(RuleBasedStateMachine):
    """Over any span, no more passes than the burst and what came back in that span."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.passed: list[float] = []
        self.limit = RateLimit(burst=5, per_minute=60, clock=lambda: self.now)

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        if self.limit.take("key") == 0:
            self.passed.append(self.now)

    @rule()
    def wait_as_told(self) -> None:
        told = self.limit.take("key")
        if told == 0:
            self.passed.append(self.now)
            return
        self.now += told + 1e-6
        assert self.limit.take("key") == 0
        self.passed.append(self.now)

    @invariant()
    def no_span_passes_too_many(self) -> None:
        for first, begin in enumerate(self.passed):
            assert len(self.passed) - first <= 5 + (self.now - begin) + 1e-3


TestBucket = Bucket.TestCase


@given(st.integers(1, 20), st.floats(0.1, 1000))
def test_a_full_bucket_lets_exactly_the_burst_through(burst: int, per_minute: float) -> None:
    limit = RateLimit(burst=burst, per_minute=per_minute, clock=lambda: timedelta(days=1).total_seconds())
    assert [limit.take("k") for _ in range(burst)] == [0.0] * burst
    assert limit.take("k") > 0
