"""Whether a service has heard all that the log holds about a subject at this moment.

What cannot be undone must not rest on the middle of the log: a service that catches up, after an hour away or a
restore, reads an order before it reads that the order was taken back.
"""

import asyncio

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.partitioner import DefaultPartitioner

from shared.events import LOG_TOPIC
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outage import DependencyUnavailableError
from shared.messaging.position import read_positions, read_topics
from shared.messaging.topic_id import topic_ids

_LIMIT_SECONDS = 10.0
_POLL_MILLISECONDS = 100


class LogEnd:
    """The end of the log, as the cluster says it when it is asked."""

    def __init__(self, connection: KafkaConnection, topic: str = LOG_TOPIC) -> None:
        self._connection = connection
        self._topic = topic

    async def is_reached(self, pool: asyncpg.Pool, subject: str) -> bool:
        """Whether the service has taken every record of the subject's partition. What nobody can read yet, because a
        transaction before it goes on, was not taken.

        Raises `DependencyUnavailableError` when the cluster does not say, or has another log than the one that was
        taken; within ten seconds.
        """
        positions = await read_positions(pool)
        known = await read_topics(pool, [self._topic])
        client = self._client(self._topic, isolation_level="read_committed")
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                await client.start()
                place = self._place_of(client, subject.encode())
                end = await self._end(place)
                if (await client.end_offsets([place]))[place] < end:
                    return False
                taken = positions.get((place.topic, place.partition), 0)
                found = await topic_ids(client._client, [place])  # noqa: SLF001
                if taken > end or (known and found and found != known):
                    raise DependencyUnavailableError(
                        f"{self._topic} was deleted and made again, or another cluster answers: nobody can say what "
                        "was not heard"
                    )
                return await first_record(client, place, taken, end) >= end
        except (KafkaError, OSError) as error:
            raise DependencyUnavailableError(f"Kafka cannot be reached: {type(error).__name__}") from error
        finally:
            await client.stop()

    async def _end(self, place: TopicPartition) -> int:
        """Behind all that lies there, read or not."""
        client = self._client(isolation_level="read_uncommitted")
        try:
            await client.start()
            return int((await client.end_offsets([place]))[place])
        finally:
            await client.stop()

    def _client(self, *topics: str, isolation_level: str) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            *topics,
            **self._connection.options(),
            group_id=None,
            auto_offset_reset="latest",
            isolation_level=isolation_level,
            client_id="lostphone-log-end",
        )

    def _place_of(self, client: AIOKafkaConsumer, key: bytes) -> TopicPartition:
        partitions = sorted(client.partitions_for_topic(self._topic) or ())
        if not partitions:
            raise UnknownTopicOrPartitionError(self._topic)
        # As the relay's producer chooses it.
        return TopicPartition(self._topic, DefaultPartitioner()(key, partitions, partitions))


async def first_record(client: AIOKafkaConsumer, place: TopicPartition, start: int, end: int) -> int:
    """Where the first record lies between these offsets of a partition that the client is assigned; `end` when there is
    none: the end of a transaction has an offset and is no record."""
    if start >= end:
        return end
    # Before the first record it would go to the end by itself.
    client.seek(place, max(start, (await client.beginning_offsets([place]))[place]))
    while await client.position(place) < end:
        for record in (await client.getmany(place, timeout_ms=_POLL_MILLISECONDS)).get(place, ()):
            return min(int(record.offset), end)
    return end
