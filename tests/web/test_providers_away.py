"""A vendor is away from a call in vain until one that succeeds; meanwhile it takes no room from the others."""

import asyncio
from contextlib import suppress

import pytest

from shared.telemetry import Health, ProviderAwayError, ProviderCalls, metrics

CHECK = "provider_soracom"


class RefusedError(Exception):
    """The vendor said no."""


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def calls(health: Health) -> ProviderCalls:
    return ProviderCalls(health)


def in_vain(calls: ProviderCalls, provider: str = "soracom", organisation: str | None = None) -> None:
    with suppress(ConnectionError), calls.to(provider, "suspend_line", organisation) as call:
        call.away("SORACOM cannot be reached")
        raise ConnectionError


async def test_readiness_says_since_when_and_how_often_until_a_call_succeeds(
    calls: ProviderCalls, health: Health
) -> None:
    in_vain(calls)
    in_vain(calls)
    reason = (await health.ready())[CHECK] or ""
    assert reason.startswith("SORACOM cannot be reached; since ")
    assert "2 calls in vain" in reason
    assert metrics.REGISTRY.get_sample_value("lostphone_provider_away", {"provider": "soracom"}) == 1
    with calls.to("soracom", "suspend_line"):
        pass
    assert await health.ready() == {CHECK: None}
    assert metrics.REGISTRY.get_sample_value("lostphone_provider_away", {"provider": "soracom"}) == 0


async def test_a_refusal_of_one_thing_says_nothing_about_the_vendor(calls: ProviderCalls, health: Health) -> None:
    for _ in range(2):
        with suppress(RefusedError), calls.to("soracom", "suspend_line"):
            raise RefusedError
        before = await health.ready()
        in_vain(calls)
    assert before[CHECK]
    assert (await health.ready())[CHECK]


async def test_a_probe_notices_an_outage_and_its_end_while_nobody_calls(
    calls: ProviderCalls, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PROBE_SECONDS", "PROBE_AWAY_SECONDS", "_LOOK_SECONDS"):
        monkeypatch.setattr(f"shared.telemetry.provider.{name}", 0.01)
    said: str | None = "SORACOM cannot be reached"

    async def probe() -> str | None:
        return said

    async def until(failing: bool) -> None:
        async with asyncio.timeout(10):
            while any((await health.ready()).values()) is not failing:  # noqa: ASYNC110 - the state is in the health
                await asyncio.sleep(0.01)

    calls.watch("soracom", probe)
    probing = asyncio.create_task(calls.run())
    try:
        await until(failing=True)
        said = None
        await until(failing=False)
    finally:
        probing.cancel()


async def test_while_a_vendor_is_away_only_two_calls_wait_for_it_and_others_are_called(
    calls: ProviderCalls, health: Health
) -> None:
    in_vain(calls)
    with calls.to("soracom", "a"), calls.to("soracom", "b"):
        with pytest.raises(ProviderAwayError), calls.to("soracom", "c"):
            raise AssertionError("it was called")
        with calls.to("nanomdm", "lost_mode"):
            pass
    with calls.to("soracom", "d"):
        pass


async def test_each_organisation_has_an_account_of_its_own(calls: ProviderCalls, health: Health) -> None:
    in_vain(calls, "entra", "acme-kk")
    with calls.to("entra", "revoke_sessions", "beta-kk"):
        pass
    failing = {name for name, reason in (await health.ready()).items() if reason is not None}
    assert failing == {"provider_entra_acme-kk"}
