"""A transaction that somebody leaves open in the log holds back what lies behind it: readiness says where."""

import pytest

from shared.events.reporter import IncidentReopened
from shared.messaging import Dispatch, reach
from tests.messaging.conftest import Bus, until
from tests.messaging.test_poison import Heard


async def test_readiness_names_the_place_until_the_transaction_ends_and_then_all_is_heard(
    bus: Bus, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "_HELD_BACK_SECONDS", 0.2)
    heard = Heard()
    stranger = bus.transactions()
    stranger.begin_transaction()
    stranger.produce(bus.topic, b"{}", incident.encode())
    stranger.flush(10)
    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: heard.handle})):
        await bus.say(IncidentReopened(reason="last"), subject=incident)

        async def red() -> bool:
            return "transaction open at offset 0 of partition" in str((await bus.health.ready())["kafka"])

        await until(red, "readiness names the transaction")
        assert heard.reasons == []
        stranger.abort_transaction()
        await until(heard.has_last, "the event behind it")

        async def green() -> bool:
            return not any((await bus.health.ready()).values())

        await until(green, "readiness is green again")


async def test_transactions_that_end_leave_readiness_green(
    bus: Bus, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "_HELD_BACK_SECONDS", 0.0)
    heard = Heard()
    stranger = bus.transactions()
    for end in (stranger.commit_transaction, stranger.abort_transaction):
        stranger.begin_transaction()
        stranger.produce(bus.topic, b"{}", incident.encode())
        stranger.flush(10)
        end()
    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: heard.handle})):
        await bus.say(IncidentReopened(reason="last"), subject=incident)
        await until(heard.has_last, "the event behind both")
        assert not any((await bus.health.ready()).values())
