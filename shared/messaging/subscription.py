"""FastStream as the consume loop needs it: records as they lie in Kafka, and nothing acknowledged by itself."""

import logging
from dataclasses import replace
from typing import Any

import structlog
from aiokafka import ConsumerRecord
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from faststream.security import SASLScram512

from shared.messaging.fetched import read_whatever_is_fetched
from shared.messaging.kafka import KafkaConnection

_METADATA_MILLISECONDS = 10_000

_log = structlog.get_logger()


def broker(connection: KafkaConnection, service: str) -> KafkaBroker:
    """What subscribers of this service are made with."""
    read_whatever_is_fetched()
    options: dict[str, Any] = connection.options()
    if connection.security == "SASL_SSL":
        security = SASLScram512(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            use_ssl=True,
            ssl_context=options["ssl_context"],
        )
    else:
        security = None
    return KafkaBroker(
        options["bootstrap_servers"],
        security=security,
        client_id=f"lostphone-{service}",
        allow_auto_create_topics=False,
        # A topic that was away, and is there again, is looked for this often.
        metadata_max_age_ms=_METADATA_MILLISECONDS,
        # It publishes nothing; a producer that cannot start, because Kafka is away, would never be closed.
        consumer_only=True,
        logger=_log,
        log_level=logging.DEBUG,
        graceful_timeout=20.0,
    )


async def tolerant(record: ConsumerRecord, original: Any) -> KafkaMessage:
    """FastStream decodes headers as text, and skips a record whose headers are not: so it gets none to see."""
    message: KafkaMessage = await original(replace(record, headers=()))
    message.raw_message = record
    return message


async def undecoded(message: KafkaMessage) -> bytes:
    """A parser would take every value for JSON; nobody looks at what this gives."""
    return b""
