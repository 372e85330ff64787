"""Whether the log can be read: what readiness says of Kafka. A consumer with nothing to take would not notice."""

import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

_REFUSED_SECONDS = 15.0
"""FastStream asks again every five seconds; when nothing is refused for so long, all is well again."""
_HELD_BACK_SECONDS = 10.0
"""A transaction that is open so long is not being written: nothing of ours is, but for a restore."""


class Reach:
    """Of one topic, as one consumer sees it."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._refused: tuple[float, KafkaError] | None = None
        self._held_back: dict[tuple[TopicPartition, int], float] = {}
        """Since when what lies behind these offsets cannot be read."""

    def refused(self, error: KafkaError) -> None:
        """Kafka gave this in place of records."""
        self._refused = time.monotonic(), error

    async def look(self, consumer: AIOKafkaConsumer) -> str | None:
        """None when the log can be read, else why not."""
        if self._refused is not None and time.monotonic() - self._refused[0] < _REFUSED_SECONDS:
            return f"Kafka gives no records: {type(self._refused[1]).__name__}"
        try:
            topics = await consumer.topics()
        except (KafkaError, OSError) as error:
            return f"Kafka cannot be reached: {type(error).__name__}"
        if self._topic not in topics:
            return f"Kafka shows no topic {self._topic}"
        return self._open_transaction(consumer)

    def _open_transaction(self, consumer: AIOKafkaConsumer) -> str | None:
        """None, or where a transaction of somebody else holds back what was written after it began."""
        now, held_back = time.monotonic(), {}
        for place in consumer.assignment():
            stable, end = consumer.last_stable_offset(place), consumer.highwater(place)
            if stable is not None and end is not None and 0 <= stable < end:
                held_back[place, stable] = self._held_back.get((place, stable), now)
        self._held_back = held_back
        for (place, stable), since in held_back.items():
            if now - since >= _HELD_BACK_SECONDS:
                return (
                    f"somebody left a transaction open at offset {stable} of partition {place.partition} of "
                    f"{place.topic}: nothing behind it can be read until it ends or the broker gives it up"
                )
        return None
