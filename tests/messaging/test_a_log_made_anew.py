"""A log that was deleted and made again holds new events where old ones were taken: nothing passes over them."""

import pytest
from confluent_kafka.admin import AdminClient

from shared.events.reporter import IncidentReopened
from shared.messaging import Dispatch, subscription
from tests.messaging.conftest import Bus, create_topics, until
from tests.messaging.test_poison import Heard


async def _is_red(bus: Bus) -> bool:
    return "was deleted and made again" in str((await bus.health.ready()).get("consumer"))


async def test_an_event_below_the_position_at_the_end_of_a_shorter_log_stops_the_service(
    bus: Bus, incident: str
) -> None:
    heard = Heard()
    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: heard.handle})):
        await bus.say(IncidentReopened(reason="last"), subject=incident)
        await until(heard.has_last, "it was heard")
        # As it looks from here when the topic is made again so quickly that no broker told of it.
        await bus.pools["notifier"].execute("UPDATE position SET next_offset = 1000")
        await bus.say(IncidentReopened(reason="passed_over"), subject=incident)
        await until(lambda: _is_red(bus), "the service says that the log is another one")
        await bus.say(IncidentReopened(reason="and_the_next"), subject=incident)
    assert heard.reasons == ["last"]
    assert await _is_red(bus)


async def test_a_topic_that_was_away_and_is_there_again_is_looked_for_soon(
    bus: Bus, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "_METADATA_MILLISECONDS", 300)
    heard = Heard()
    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: heard.handle})) as consumer:
        for reason in ("first", "second", "last"):
            await bus.say(IncidentReopened(reason=reason), subject=incident)
        await until(heard.has_last, "they were heard")
        admin = AdminClient({"bootstrap.servers": bus.bootstrap})
        admin.delete_topics([bus.topic])[bus.topic].result(10)

        async def without_partitions() -> bool:
            return not consumer._subscriber.consumer.assignment()

        await until(without_partitions, "the consumer noticed")
        create_topics(bus.bootstrap, bus.topic)
        await bus.say(IncidentReopened(reason="in_the_new_one"), subject=incident)
        await until(lambda: _is_red(bus), "the service says that the log is another one", 30)
    assert "in_the_new_one" not in heard.reasons
