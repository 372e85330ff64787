"""Whether the topics go on where the service left them: that they are the same ones, and nothing that it had not taken
was deleted.

The log that was deleted and made again holds other events at the offsets that were taken: nothing of it may be taken
before somebody has restored it. A redrive topic may begin anew: each letter acts once, however often it is read.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient

from shared.events import Received
from shared.messaging.position import forget_topic, read_positions, remember_deleted, remember_topics
from shared.messaging.topic_id import topic_ids

_log = structlog.get_logger()


class AnotherLogError(Exception):
    """The log is not the one of which events were taken."""


class Continuity:
    """Of the topics of one consumer."""

    def __init__(self, log: str, pool: asyncpg.Pool) -> None:
        self._log = log
        self._pool = pool
        self._ids: dict[str, UUID] = {}
        """Of the topics that the positions belong to."""
        self._next: dict[tuple[str, int], int] = {}
        """Where each partition goes on, as far as this consumer took it, …"""
        self._ends: dict[tuple[str, int], int] = {}
        """… when it has taken the batch in hand, in or before which these offsets did not come: where, from, to."""
        self._holes: list[tuple[TopicPartition, int, int]] = []
        self.changes = 0
        """How often it was looked up anew where to start."""
        self._is_doubtful = False

    async def starts(self, consumer: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Where to read on: at the positions in the database. Raises `AnotherLogError`, and what Kafka and the database
        raise."""
        positions = await read_positions(self._pool)
        first = await consumer.beginning_offsets(places)
        last = await consumer.end_offsets(places)
        # After the offsets, so that these are not of a later topic.
        ids = await topic_ids(consumer._client, places)  # noqa: SLF001
        taken = {place: positions.get((place.topic, place.partition), 0) for place in places}
        await self._remember(ids)
        others = self._others(ids) | {
            place.topic: f"partition {place.partition} of {place.topic} ends at {last[place]}, but {position} was "
            "already taken: the topic was deleted and made again, or another cluster answers"
            for place, position in taken.items()
            if position > last[place]
        }
        if self._log in others:
            raise AnotherLogError(others.pop(self._log))
        for topic, reason in others.items():
            _log.warning("topic_begun_anew", reason=reason)
            await forget_topic(self._pool, topic)
            self._ids.pop(topic, None)
            taken |= {place: 0 for place in places if place.topic == topic}
        await self._remember(ids)
        for place in places:
            await self._deleted(place, taken[place], first[place])
        starts = {place: max(taken[place], first[place]) for place in places}
        self._next |= starts
        self.changes += 1
        return starts

    async def _remember(self, ids: Mapping[str, UUID]) -> None:
        # Those that this consumer knows stay: it may have records of them in hand that nobody has taken yet.
        new = {name: topic_id for name, topic_id in ids.items() if name not in self._ids}
        self._ids |= await remember_topics(self._pool, new)

    def _others(self, ids: Mapping[str, UUID]) -> dict[str, str]:
        """The topics in whose place another one lies, each with the sentence that says so."""
        return {
            name: f"{name} has the id {topic_id}, and what was taken lay in {self._ids[name]}: the topic was deleted "
            "and made again, or another cluster answers"
            for name, topic_id in ids.items()
            if self._ids.get(name, topic_id) != topic_id
        }

    async def is_broken(self, consumer: AIOKafkaConsumer) -> bool:
        """Whether another topic lies in the place of one that is read, or what was not taken is deleted: `starts` says.
        Raises `KafkaError`."""
        places = consumer.assignment()
        first = await consumer.beginning_offsets(places) if places else {}
        ids = await topic_ids(consumer._client, places)  # noqa: SLF001
        is_deleted = any(offset > self._next.get(place, offset) for place, offset in first.items())
        return is_deleted or any(self._ids.get(name) != topic_id for name, topic_id in ids.items())

    def knows(self, place: TopicPartition) -> bool:
        """Whether it was looked up where to start there. aiokafka brings records before that, from wherever Kafka
        remembers that the group had come."""
        return place in self._next

    def follow(self, client: AIOKafkaClient) -> None:
        """Notice what aiokafka meets and tells nobody: at an error for a partition it looks for the leader anew, which
        may be the leader of another topic."""
        look_anew = client.force_metadata_update

        def noticed() -> Any:
            self._is_doubtful = True
            return look_anew()

        client.force_metadata_update = noticed

    async def goes_on(self, consumer: AIOKafkaConsumer, batch: Sequence[Received]) -> bool:
        """Whether the batch is of the topics that were taken, and lies behind what was taken: where Kafka does not know
        the offset any more, aiokafka goes to the beginning. Raises `KafkaError`."""
        if await self._doubts(consumer):
            return False
        self._holes, self._ends = [], {}
        for record in batch:
            # Equal to a `TopicPartition`, and made in a third of the time.
            place = (record.topic, record.partition)
            offset, expected = record.offset, self._ends.get(place) or self._next.get(place)
            if expected is None or offset < expected:
                return False
            if offset > expected:
                self._holes.append((TopicPartition(*place), expected, offset))
            self._ends[place] = offset + 1
        return True

    async def _doubts(self, consumer: AIOKafkaConsumer) -> bool:
        if not self._is_doubtful:
            return False
        # What is met meanwhile is a doubt again.
        self._is_doubtful, is_broken = False, True
        try:
            is_broken = await self.is_broken(consumer)
        finally:
            self._is_doubtful |= is_broken
        return is_broken

    def left(self, places: Collection[TopicPartition]) -> None:
        """These are not for this consumer to read, until `starts` is asked for them again."""
        self.changes += 1
        for place in places:
            self._next.pop(place, None)

    async def notice_deleted(self, consumer: AIOKafkaConsumer) -> None:
        """Keep what was deleted in front of records of the batch that goes on. Raises what Kafka and the database
        raise."""
        # The ends of transactions have offsets, too.
        first = await consumer.beginning_offsets({place for place, _, _ in self._holes}) if self._holes else {}
        for place, start, end in self._holes:
            await self._deleted(place, start, min(end, first[place]))

    def took(self) -> None:
        """The batch that goes on is done with."""
        self._next |= {place: end for place, end in self._ends.items() if place in self._next}

    async def _deleted(self, place: TopicPartition, start: int, end: int) -> None:
        # A letter that was deleted unread is still parked, and is offered again.
        if start >= end or place.topic != self._log:
            return
        if await remember_deleted(self._pool, (place.topic, place.partition), start, end):
            _log.critical(
                "records_deleted_unread",
                topic=place.topic,
                partition=place.partition,
                first_offset=start,
                last_offset=end - 1,
                records=end - start,
                to_do="lostphone ops deleted-unread; docs/operations.md",
            )
