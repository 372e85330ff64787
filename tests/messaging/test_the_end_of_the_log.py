"""A service can say whether it has heard all that the log holds about a subject now."""

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from shared.events.reporter import IncidentReopened
from shared.messaging import DependencyUnavailableError, Dispatch
from shared.messaging.kafka import KafkaConnection
from shared.messaging.log_end import LogEnd
from shared.messaging.position import claim
from tests.messaging.conftest import Bus, all_records, until

_SUBJECTS = [f"0192f0c1-0000-7000-8000-{number:012x}" for number in range(5)]


async def test_it_is_reached_when_the_service_has_taken_what_was_said(bus: Bus) -> None:
    end, pool = LogEnd(bus.connection, bus.topic), bus.pools["notifier"]
    assert await end.is_reached(pool, _SUBJECTS[0]), "nothing was said"
    async with bus.relaying():
        for subject in _SUBJECTS:
            await bus.say(IncidentReopened(reason="again"), subject=subject)
            # In the partition that the relay chose for it.
            await until(lambda subject=subject: _is_behind(end, bus, subject), "it lies in the log")
            async with bus.units("notifier").begin() as unit:
                await claim(unit, await all_records(bus))
            assert await end.is_reached(pool, subject)


async def _is_behind(end: LogEnd, bus: Bus, subject: str) -> bool:
    return not await end.is_reached(bus.pools["notifier"], subject)


async def test_a_record_that_was_not_taken_lies_before_the_end_and_the_end_of_a_transaction_does_not(
    bus: Bus, incident: str
) -> None:
    end = LogEnd(bus.connection, bus.topic)
    pool = bus.pools["notifier"]
    assert await end.is_reached(pool, incident)
    producer = bus.transactions()
    for finish in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce(bus.topic, b"{}", incident.encode())
        producer.flush(10)
        finish()
    assert not await end.is_reached(pool, incident)
    async with bus.hearing(Dispatch({})):

        async def taken() -> bool:
            return await bus.position() > 0

        await until(taken, "the committed record was taken")
    assert await end.is_reached(pool, incident)


async def test_what_lies_behind_a_transaction_that_goes_on_was_not_heard_though_nobody_can_read_it(
    bus: Bus, incident: str
) -> None:
    end, pool = LogEnd(bus.connection, bus.topic), bus.pools["notifier"]
    producer = bus.transactions()
    producer.begin_transaction()
    producer.produce(bus.topic, b"{}", incident.encode())
    producer.flush(10)
    async with bus.relaying():
        await bus.say(IncidentReopened(reason="found"), subject=incident)
        await until(lambda: _is_behind(end, bus, incident), "a wipe would not know of it")
    producer.abort_transaction()
    async with bus.hearing(Dispatch({})):
        await until(lambda: end.is_reached(pool, incident), "it can be read now, and was")


async def test_a_deleted_beginning_holds_nothing_that_could_be_heard(bus: Bus, incident: str) -> None:
    end, pool = LogEnd(bus.connection, bus.topic), bus.pools["notifier"]
    producer = Producer({"bootstrap.servers": bus.bootstrap, "partitioner": "murmur2", "log_level": 0})
    places: list[TopicPartition] = []
    for _ in range(2):
        producer.produce(
            bus.topic,
            b"{}",
            incident.encode(),
            on_delivery=lambda error, it: places.append(TopicPartition(bus.topic, it.partition(), it.offset() + 1)),
        )
        producer.flush(10)
    assert not await end.is_reached(pool, incident)
    admin = AdminClient({"bootstrap.servers": bus.bootstrap})
    for last, reached in zip(places, (False, True), strict=True):
        admin.delete_records([last])[last].result(10)
        assert await end.is_reached(pool, incident) is reached


@pytest.mark.parametrize(("bootstrap", "topic"), [("127.0.0.1:1", "any"), (None, "a.topic.that.is.not.there")])
async def test_a_cluster_that_does_not_say_is_an_outage(
    bus: Bus, bootstrap: str | None, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.messaging.log_end._LIMIT_SECONDS", 1.0)
    end = LogEnd(KafkaConnection(bootstrap or bus.bootstrap), topic)
    with pytest.raises(DependencyUnavailableError):
        await end.is_reached(bus.pools["notifier"], _SUBJECTS[0])
