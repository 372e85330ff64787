"""The one consume loop of all four services.

FastStream's subscriber on the log with manual acknowledgement. What it hands over is the first record of a batch: the
rest is whatever lies ready. Then: take it (`taking.py`) → acknowledge to Kafka, for display.

An outage of a dependency parks nothing: readiness goes red with the reason, and the batch is taken again after a pause.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import timedelta

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka.annotations import KafkaMessage

from shared.events import LOG_TOPIC, KeyRing, Received
from shared.messaging.batch import age, firsts, lasts, length, received
from shared.messaging.continuity import AnotherLogError, Continuity
from shared.messaging.dead_letter import DeadLetters, ParkingLimit, TooManyDeadLettersError
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outage import is_outage
from shared.messaging.reach import Reach
from shared.messaging.subscription import broker, tolerant, undecoded
from shared.messaging.taking import Sink, Taking
from shared.messaging.unit import Units
from shared.telemetry import Health, metrics

MAX_BATCH = 500
_MOST_BYTES = 8 * 1024 * 1024
_AT_ONCE = 25
"""A batch ends at so many bytes, which are counted after so many records: each may be as long as a batch of Kafka."""
_LONGEST_PAUSE = timedelta(seconds=5)
"""Far below `max_poll_interval_ms`: a paused consumer stays in its group."""
_TELL_SECONDS = 0.5
"""Kafka is told how far the log was taken this often: a round trip and a record of its own each time."""
_TELL_LIMIT_SECONDS = 10.0
_GATHER_SECONDS = 0.2
_GATHER_BYTES = 262_144
"""How long, and up to how much, events that nobody waits for gather: a transaction for each is not worth it."""
_WATCH_SECONDS = 5.0
"""How often Kafka is asked whether the topics are the same, and hold what was not taken yet."""

_log = structlog.get_logger()


class Consumer:
    """One service's consumer of the log. Start and stop it; the work happens in between."""

    def __init__(
        self,
        service: str,
        connection: KafkaConnection,
        units: Units,
        keyring: KeyRing,
        sink: Sink,
        *,
        dead_letters: DeadLetters,
        health: Health,
        topic: str = LOG_TOPIC,
        redrive_topic: str | None = None,
        group: str | None = None,
        limit: ParkingLimit | None = None,
    ) -> None:
        self._units = units
        self._taking = Taking(units, keyring, sink, dead_letters=dead_letters, topic=topic, limit=limit)
        self._urgent: Collection[str] | None = getattr(sink, "urgent", None)
        self._health = health
        self._topic = topic
        self._stopped: str | None = None
        self._pauses = 0
        self._taken: KafkaMessage | None = None
        self._telling: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._ends = False
        self._met_repeats = False
        self._reach = Reach(topic)
        self._continuity = Continuity(topic, units.pool)
        self._watching: asyncio.Task[None] | None = None
        self._in_hand = False
        self._broker = broker(connection, service)
        patient = self._urgent is not None and not self._urgent
        self._subscriber = self._broker.subscriber(
            *[name for name in (topic, redrive_topic) if name is not None],
            group_id=group or service,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            # Where nothing is urgent, the broker itself holds an answer back until there is more in it.
            fetch_min_bytes=_GATHER_BYTES if patient else 1,
            fetch_max_wait_ms=int(_GATHER_SECONDS * 1000) if patient else 500,
            ack_policy=AckPolicy.MANUAL,
            listener=_Assignment(self),
            parser=tolerant,
            decoder=undecoded,
            # Whoever may write to the log could otherwise make us publish elsewhere, by a reply_to header.
            no_reply=True,
        )
        self._subscriber(self._on_record)
        self._subscriber.get_msg = self._next  # type: ignore[method-assign] # FastStream tells nobody what it meets

    async def start(self) -> None:
        """Join the group. Raises when the cluster cannot be reached."""
        self._ends = False
        await self._broker.start()
        if (consumer := self._subscriber.consumer) is not None:
            self._continuity.follow(consumer._client)  # noqa: SLF001
        self._health.check("kafka", self._look)
        self._watching = asyncio.create_task(self._watch())

    async def ended(self) -> None:
        """Until aiokafka has given up reading for good, at something that it did not expect. It tells nobody: whoever
        waits for a record waits on, and the cluster answers. Only a new start helps."""
        client = self._subscriber.consumer
        if client is None:
            return
        working = (client._fetcher.error_future, client._coordinator._coordination_task)  # noqa: SLF001
        await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        _log.critical("log_not_read_any_more")

    async def stop(self) -> None:
        """Finish the batch in hand, commit it, and leave the group."""
        self._ends = True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._telling is not None:
            self._stopping.set()
            await self._telling
            self._stopping.clear()
        consumer = self._subscriber.consumer
        try:
            await self._broker.stop()
        except* KafkaError as errors:
            # It could not leave the group, which will notice; aiokafka would let its connections stand.
            _log.debug("group_not_left", error=type(errors.exceptions[0]).__name__)
            if consumer is not None:
                await consumer._client.close()  # noqa: SLF001
        finally:
            await self._units.line.give_back()

    async def _look(self) -> str | None:
        consumer = self._subscriber.consumer
        return None if consumer is None else await self._reach.look(consumer)

    async def _watch(self) -> None:
        """Nothing else tells a consumer that the log was made anew and holds more than it had taken, or that all of
        what it had not taken was deleted."""
        while self._stopped is None:
            await asyncio.sleep(_WATCH_SECONDS)
            consumer = self._subscriber.consumer
            try:
                if consumer is not None and not self._in_hand and await self._continuity.is_broken(consumer):
                    await self.seek(list(consumer.assignment()))
            except Exception as error:  # noqa: BLE001 - it goes on looking
                if not (is_outage(error) or isinstance(error, KafkaError)):
                    _log.exception("topics_not_known")

    async def _next(self, consumer: AIOKafkaConsumer) -> ConsumerRecord:
        while True:
            try:
                record = await consumer.getone()
            except KafkaError as error:
                self._reach.refused(error)
                raise
            if self._stopped is not None or self._continuity.knows(TopicPartition(record.topic, record.partition)):
                return record
            await self.seek(list(consumer.assignment()))

    async def _on_record(self, message: KafkaMessage) -> None:
        consumer = self._subscriber.consumer
        if consumer is None:  # stopped meanwhile
            return
        self._in_hand = True
        try:
            await self._take_from(consumer, message)
        finally:
            self._in_hand = False

    async def _take_from(self, consumer: AIOKafkaConsumer, message: KafkaMessage) -> None:
        changes = self._continuity.changes
        try:
            batch = [received(record) for record in await self._gathered(consumer, message.raw_message)]
            goes_on = await self._continuity.goes_on(consumer, batch) and changes == self._continuity.changes
        except Exception as error:  # noqa: BLE001 - what was handed over by then would be passed over
            _log.warning("records_not_gathered", error=type(error).__name__)
            await self._pause(f"the log cannot be read: {type(error).__name__}")
            await self.seek(list(consumer.assignment()))
            return
        if self._stopped is None and not goes_on:
            await self.seek(list(consumer.assignment()))
            return
        if await self._took(consumer, batch):
            self._pauses = 0
            self._health.ok("consumer")
            await self._observe(batch)
            self._acknowledge(message)
            if self._met_repeats:
                # Its own repeats a consumer does not read: aiokafka went to the beginning, because Kafka did not know
                # the offset any more.
                self._met_repeats = False
                await self.seek(list(consumer.assignment()))
            return
        metrics.OLDEST_UNPROCESSED.set(age(batch))
        for record in firsts(batch):
            place = TopicPartition(record.topic, record.partition)
            if place in consumer.assignment():
                consumer.seek(place, record.offset)
        await self._tell_lag(batch)

    async def _gathered(self, consumer: AIOKafkaConsumer, first: ConsumerRecord) -> list[ConsumerRecord]:
        """The record and what lies ready behind it. While none of them is urgent, more are gathered for a moment."""
        records = [first, *await _ready(consumer, MAX_BATCH - 1)]
        until = time.monotonic() + _GATHER_SECONDS
        while self._urgent and len(records) < MAX_BATCH and not any(map(self._is_urgent, records)):
            seconds = until - time.monotonic()
            if seconds <= 0 or sum(map(length, records)) >= _MOST_BYTES:
                break
            records += await _ready(consumer, MAX_BATCH - len(records), seconds)
        return records

    def _is_urgent(self, record: ConsumerRecord) -> bool:
        event_type = next((data for name, data in record.headers if name == "ce_type"), None)
        if self._urgent is None or event_type is None or record.topic != self._topic:
            return True
        return event_type.decode(errors="replace") in self._urgent

    def _acknowledge(self, message: KafkaMessage) -> None:
        """Tell Kafka, for display, beside the work: the truth is in the database, and each batch would wait for it."""
        self._taken = message
        # Once it ends, the client would be closed under it, and leave a connection open.
        if not self._ends and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self._taken is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _TELL_SECONDS)
            message, self._taken = self._taken, None
            try:
                # While Kafka is away aiokafka would try for ever, and keep the service from ending.
                await asyncio.wait_for(message.ack(), _TELL_LIMIT_SECONDS)
            except (KafkaError, TimeoutError) as error:
                metrics.COMMIT_FAILURES.inc()
                _log.debug("offsets_not_told", error=type(error).__name__)

    async def _took(self, consumer: AIOKafkaConsumer, batch: Sequence[Received]) -> bool:
        """Whether the batch is done with. If not, a pause has been made and it has to be taken again."""
        try:
            if self._stopped:
                await self._pause(self._stopped)
                return False
            await self._continuity.notice_deleted(consumer)
            is_new = await self._taking.take(batch)
            self._met_repeats = self._met_repeats or not is_new
            self._continuity.took()
        except TooManyDeadLettersError as error:
            self._stop(error)
            await self._pause(str(error))
        except Exception as error:  # noqa: BLE001 - letting it out would pass over the batch
            if not is_outage(error):
                _log.exception("batch_not_taken")
            await self._pause(str(error) or type(error).__name__)
        else:
            return True
        return False

    def _stop(self, error: Exception) -> None:
        """Take nothing more until somebody has mended it and started the service again."""
        self._stopped = str(error)
        self._health.fail("consumer", self._stopped)
        _log.critical("consumption_stopped", reason=self._stopped)

    async def _pause(self, reason: str) -> None:
        self._pauses += 1
        metrics.PAUSES.inc()
        self._health.fail("consumer", reason)
        seconds = min(0.1 * 2.0 ** min(self._pauses, 10), _LONGEST_PAUSE.total_seconds())
        _log.warning("consumption_paused", reason=reason, seconds=seconds)
        await asyncio.sleep(seconds)

    async def _observe(self, batch: Sequence[Received]) -> None:
        behind = await self._tell_lag(batch) > 0
        # What is waiting is about as old as the last that was taken.
        metrics.OLDEST_UNPROCESSED.set(age(lasts(batch)) if behind else 0.0)

    async def _tell_lag(self, batch: Sequence[Received]) -> int:
        """Of the partitions of a batch, taken or to be taken again."""
        consumer = self._subscriber.consumer
        if consumer is None:
            return 0
        behind = 0
        for record in lasts(batch):
            place = TopicPartition(record.topic, record.partition)
            highwater = consumer.highwater(place) if place in consumer.assignment() else None
            if highwater is not None:
                # Not the record's offset: the end of a transaction may lie behind it.
                lag = max(0, highwater - await consumer.position(place))
                metrics.LAG.labels(record.topic, str(record.partition)).set(lag)
                behind += lag
        return behind

    def left(self, revoked: Collection[TopicPartition]) -> None:
        """Somebody else may read these from here on."""
        self._continuity.left(revoked)

    async def seek(self, assigned: Sequence[TopicPartition]) -> None:
        """Go to the positions in the database; they are the truth, whatever Kafka remembers.

        Waits for the database and for Kafka as long as it takes: reading on from somewhere else would be wrong.
        """
        consumer = self._subscriber.consumer
        if not assigned or consumer is None:
            return
        while True:
            try:
                starts = await self._continuity.starts(consumer, assigned)
                break
            except AnotherLogError as error:
                self._stop(error)
                return
            except Exception as error:
                if not (is_outage(error) or isinstance(error, KafkaError)):
                    raise
                if self._ends:
                    return
                await self._pause(f"positions cannot be read: {type(error).__name__}")
        for place in consumer.assignment().intersection(assigned):
            consumer.seek(place, starts[place])
        if self._stopped is None:
            self._health.ok("consumer")


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """What is in hand goes on: the row locks on the positions keep two owners apart."""
        self._consumer.left(revoked)

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        if assigned:
            metrics.REBALANCES.inc()
        await self._consumer.seek(list(assigned))


async def _ready(consumer: AIOKafkaConsumer, most: int, seconds: float = 0.0) -> list[ConsumerRecord]:
    """What lies ready behind the first record, in the order of each partition, or comes within so many seconds."""
    found: list[ConsumerRecord] = []
    held = 0
    while held < _MOST_BYTES and len(found) < most:
        wanted = min(_AT_ONCE, most - len(found))
        more = await consumer.getmany(timeout_ms=int(seconds * 1000), max_records=wanted)
        records = [record for records in more.values() for record in records]
        found += records
        held += sum(map(length, records))
        if len(records) < wanted:
            break
        seconds = 0.0
    return found
