"""A log that was deleted and made again holds new events where old ones were taken: nothing passes over them."""

import asyncio

import pytest
from aiokafka.conn import AIOKafkaConnection
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient

from shared.events import Event
from shared.events.reporter import IncidentReopened
from shared.messaging import DependencyUnavailableError, Dispatch, Unit, consumer, subscription
from shared.messaging.log_end import LogEnd
from tests.messaging.conftest import Bus, create_topics, until
from tests.messaging.test_poison import Heard

_METADATA = 3


async def _is_red(bus: Bus) -> bool:
    return "was deleted and made again" in str((await bus.health.ready()).get("consumer"))


async def _make_anew(bus: Bus, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bus.bootstrap})
    before = _id(admin, topic)
    admin.delete_topics([topic])[topic].result(10)

    async def is_gone() -> bool:
        return topic not in admin.list_topics(timeout=10).topics

    async def is_another() -> bool:
        return topic in admin.list_topics(timeout=10).topics and _id(admin, topic) != before

    await until(is_gone, "the broker deleted it")
    create_topics(bus.bootstrap, topic)
    await until(is_another, "the broker made it anew")


def _id(admin: AdminClient, topic: str) -> str:
    (described,) = admin.describe_topics(TopicCollection([topic])).values()
    return str(described.result(10).topic_id)


async def _hear(bus: Bus, incident: str, *reasons: str) -> None:
    """A service that ran until it had heard these."""
    heard = Heard()
    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: heard.handle}), redrive=True):
        await bus.say(*(IncidentReopened(reason=reason) for reason in (*reasons, "last")), subject=incident)
        await until(heard.has_last, "they were heard")


async def _outgrow(bus: Bus, incident: str) -> None:
    """The log made anew, with more in it than was taken of the old one."""
    await _make_anew(bus, bus.topic)
    async with bus.relaying():
        await bus.say(*(IncidentReopened(reason="in_the_new_one") for _ in range(9)), subject=incident)
        await until(lambda: _is_sent(bus), "it is in the log")


async def _is_sent(bus: Bus) -> bool:
    return await bus.pools["reporter"].fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_log_that_outgrew_the_positions_before_a_service_started_is_known_by_its_id(
    bus: Bus, incident: str
) -> None:
    await _hear(bus, incident, "first")
    position = await bus.position()
    await _outgrow(bus, incident)
    heard = Heard()
    async with bus.hearing(Dispatch({IncidentReopened: heard.handle})):
        await until(lambda: _is_red(bus), "the service says that the log is another one")
    assert heard.reasons == []
    assert await bus.position() == position
    assert await bus.pools["notifier"].fetchval("SELECT count(*) FROM parked") == 0


async def test_a_log_that_outgrew_the_positions_while_nobody_read_it_is_known_by_a_service_that_runs(
    bus: Bus, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "_WATCH_SECONDS", 0.2)
    heard, begun, goes_on = Heard(), asyncio.Event(), asyncio.Event()

    async def handle(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        await heard.handle(unit, payload, event)
        begun.set()
        await goes_on.wait()

    async with bus.hearing(Dispatch({IncidentReopened: handle})):
        async with bus.relaying():
            await bus.say(IncidentReopened(reason="last"), subject=incident)
            await begun.wait()
        await _outgrow(bus, incident)
        goes_on.set()
        await until(lambda: _is_red(bus), "the service says that the log is another one")
    assert heard.reasons == ["last"]
    assert await bus.position() == 1


async def test_a_log_of_which_nothing_was_taken_may_be_another_one(bus: Bus, incident: str) -> None:
    async with bus.hearing(Dispatch({})):
        await until(lambda: _knows(bus), "it remembers the topic")
    await _make_anew(bus, bus.topic)
    await _hear(bus, incident, "first")
    assert not await _is_red(bus)


async def _knows(bus: Bus) -> bool:
    return await bus.pools["notifier"].fetchval("SELECT count(*) FROM topic") > 0


async def test_data_of_a_release_that_remembered_no_ids_goes_on_with_the_log_that_is_there(
    bus: Bus, incident: str
) -> None:
    await _hear(bus, incident, "first")
    await bus.pools["notifier"].execute("DELETE FROM topic")
    await _hear(bus, incident, "second")
    assert await _knows(bus)


async def test_a_broker_that_gives_no_ids_keeps_no_service_from_its_work(
    bus: Bus, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = AIOKafkaConnection._do_version_lookup

    async def as_before_2_8(self: AIOKafkaConnection) -> None:
        await look_up(self)
        self._versions[_METADATA] = (0, 9)

    monkeypatch.setattr(AIOKafkaConnection, "_do_version_lookup", as_before_2_8)
    await _hear(bus, incident, "first")
    assert not await _knows(bus)


async def test_a_wipe_does_not_take_another_log_for_one_that_was_heard_to_its_end(bus: Bus, incident: str) -> None:
    await _hear(bus, incident, "first")
    end, pool = LogEnd(bus.connection, bus.topic), bus.pools["notifier"]
    assert await end.is_reached(pool, incident)
    await _make_anew(bus, bus.topic)
    with pytest.raises(DependencyUnavailableError, match="was deleted and made again"):
        await end.is_reached(pool, incident)
    await bus.pools["notifier"].execute("DELETE FROM topic")
    with pytest.raises(DependencyUnavailableError, match="was deleted and made again"):
        await end.is_reached(pool, incident)


async def test_a_redrive_topic_that_was_made_anew_is_read_from_its_beginning(bus: Bus, incident: str) -> None:
    await _hear(bus, incident, "first")
    await bus.pools["notifier"].execute(
        "INSERT INTO position SELECT $1, number, 1000 FROM generate_series(0, 2) AS number", bus.redrive_topic
    )
    await _make_anew(bus, bus.redrive_topic)
    await _hear(bus, incident, "second")
    left = await bus.pools["notifier"].fetchval(
        "SELECT coalesce(max(next_offset), 0) FROM position WHERE topic = $1", bus.redrive_topic
    )
    assert left == 0
    assert not await _is_red(bus)


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
