"""The bridge for sites whose log manager does not read Kafka: OCSF from Kafka, as CEF or LEEF to syslog over TLS.

A process of its own with the rights of a SIEM: it reads one topic, and has no database and no key. The
position in Kafka moves when a batch was written to the receiver, which knows a repeat by the event's id.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, Literal

import orjson
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import CommitFailedError, KafkaError

from services.audit.feeds.cef import cef_of
from services.audit.feeds.leef import leef_of
from services.audit.feeds.syslog import SyslogSender, message
from shared.events.contracts.topics import OCSF_TOPIC
from shared.messaging.kafka import KafkaConnection

type Format = Literal["cef", "leef", "json"]

GROUP = "siem.syslog-bridge"
_BATCH = 500
_POLL_MS = 1000
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0

_log = structlog.get_logger()

_WRITERS: Mapping[Format, Callable[[Mapping[str, Any]], str]] = {
    "cef": lambda event: cef_of(event).write(),
    "leef": lambda event: leef_of(event).write(),
    # Escaped to ASCII, so that text of every language survives receivers that know no UTF-8.
    "json": lambda event: json.dumps(event, separators=(",", ":")),
}


class Bridge:
    """Carries the topic to one receiver, in the order of its partitions."""

    def __init__(
        self,
        connection: KafkaConnection,
        sender: SyslogSender,
        form: Format,
        *,
        group: str = GROUP,
        topic: str = OCSF_TOPIC,
    ) -> None:
        self._connection = connection
        self._sender = sender
        self._write = _WRITERS[form]
        self._group = group
        self._topic = topic
        self._host = socket.gethostname()

    async def run(self) -> None:
        """Until cancelled. Outages on both sides are waited out."""
        try:
            while True:
                try:
                    await self._carry()
                except KafkaError as error:
                    _log.warning("bridge_waits", side="kafka", error=type(error).__name__, seldom=True)
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await self._sender.close()

    async def _carry(self) -> None:
        consumer = AIOKafkaConsumer(
            self._topic,
            **self._connection.options(),
            group_id=self._group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=1_048_576,
        )
        try:
            await consumer.start()
            while True:
                fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
                records = [record for of_partition in fetched.values() for record in of_partition]
                if not records and not self._sender.is_unsure:
                    continue
                await self._deliver([data for record in records if (data := self.line(record)) is not None])
                try:
                    await consumer.commit()
                except CommitFailedError:
                    # The partitions went to another bridge meanwhile, which sends these once more.
                    _log.warning("bridge_repeats", records=len(records))
        finally:
            await consumer.stop()

    async def _deliver(self, messages: list[bytes]) -> None:
        pause = _PAUSE_SECONDS
        while True:
            try:
                await self._sender.send(messages)
            except (OSError, TimeoutError) as error:
                # A certificate has a reason of its own.
                reason = getattr(error, "verify_message", None) or error.strerror or "no answer in time"
                _log.warning(
                    "bridge_waits",
                    side="receiver",
                    error=type(error).__name__,
                    reason=reason,
                    messages=len(messages),
                )
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                if pause > _PAUSE_SECONDS:
                    _log.info("bridge_goes_on", messages=len(messages))
                return

    def line(self, record: ConsumerRecord) -> bytes | None:
        """The syslog message of one record; None, and said so, for what is no event of the feed."""
        try:
            event = orjson.loads(record.value or b"")
            return message(
                severity_id=event["severity_id"],
                timestamp=event["time_dt"],
                host=self._host,
                app=f"lostphone-{event['metadata']['log_provider']}",
                kind=event["metadata"]["event_code"],
                text=self._write(event),
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            _log.error("bridge_skips", partition=record.partition, offset=record.offset, error=type(error).__name__)
            return None
