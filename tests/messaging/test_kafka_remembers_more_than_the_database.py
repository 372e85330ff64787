"""What Kafka remembers of a group is for display: after a restore it lies ahead of the database, which is the truth."""

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from shared.events.reporter import IncidentReopened
from shared.messaging import Dispatch
from tests.messaging.conftest import Bus, all_records, until
from tests.messaging.test_poison import Heard


async def test_nothing_is_taken_before_the_database_has_said_where_to_start(bus: Bus, incident: str) -> None:
    heard = Heard()
    async with bus.relaying():
        await bus.say(*(IncidentReopened(reason=reason) for reason in ("first", "second", "last")), subject=incident)
        await until(lambda: _are_sent(bus), "they are in the log")
    await _remember_the_last(bus)
    async with bus.pools["notifier"].acquire() as connection:
        locked = connection.transaction()
        await locked.start()
        await connection.execute("LOCK TABLE position IN ACCESS EXCLUSIVE MODE")

        async def both_wait() -> bool:
            return await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") >= 2

        async with bus.hearing(Dispatch({IncidentReopened: heard.handle})):
            await until(both_wait, "it is asked where to start, and there is a record already")
            await locked.rollback()
            await until(heard.has_last, "they were heard")
    assert heard.reasons == ["first", "second", "last"]


async def _are_sent(bus: Bus) -> bool:
    return len(await all_records(bus)) == 3


async def _remember_the_last(bus: Bus) -> None:
    last = (await all_records(bus))[-1]
    place = TopicPartition(bus.topic, last.partition, last.offset)
    admin = AdminClient({"bootstrap.servers": bus.bootstrap})
    asked = ConsumerGroupTopicPartitions(f"notifier.{bus.topic}", [place])

    async def is_kept() -> bool:
        (done,) = admin.alter_consumer_group_offsets([asked]).values()
        return all(said.error is None for said in done.result(30).topic_partitions)

    await until(is_kept, "Kafka remembers it")
