"""The whole service on the real broker: a record on the log becomes an alert on the log."""

import asyncio

from aiokafka import AIOKafkaConsumer

from shared.events import LOG_TOPIC, Event, KeyRing, Received, read
from shared.messaging.kafka import OutgoingRecord, Producer
from shared.service import Running
from tests.notifier.cases import lost
from tests.notifier.running import Outside, notifier_at
from tests.stack.installed import Installed


async def test_a_report_on_the_log_is_answered_by_a_signed_alert_on_the_log(
    installation: Installed, outside: Outside, acme: str, incident: str
) -> None:
    async with notifier_at(installation, outside, acme, timers=False) as notifier:
        consumer = AIOKafkaConsumer(
            LOG_TOPIC, bootstrap_servers=installation.bootstrap, auto_offset_reset="latest", group_id=None
        )
        await consumer.start()
        for partition in consumer.assignment():
            await consumer.position(partition)
        stop = asyncio.Event()
        running = Running("notifier", notifier.kit, notifier.parts, ("consumer", "relay", "timers"))
        work = asyncio.create_task(running.until(stop))
        producer = Producer(notifier.kit.settings.kafka(), "test")
        record = notifier.record(lost(), incident, acme)
        await producer.send([OutgoingRecord(LOG_TOPIC, record.key, record.headers, record.value)])
        try:
            async with asyncio.timeout(60):
                event = await _answer(consumer, notifier.kit.keyring, incident)
        finally:
            await producer.close()
            stop.set()
            await work
            await consumer.stop()
    assert (event.envelope.source, event.envelope.organisation) == ("/lostphone/notifier", acme)


async def _answer(consumer: AIOKafkaConsumer, keyring: KeyRing, incident: str) -> Event:
    async for message in consumer:
        received = Received(
            message.topic, message.partition, message.offset, message.timestamp, message.key, message.headers,
            message.value,
        )  # fmt: skip
        found = read(received, keyring)
        if (
            isinstance(found, Event)
            and found.envelope.subject == incident
            and found.envelope.type == "lostphone.alert-sent.v1"
        ):
            return found
    raise AssertionError("the log ended")
