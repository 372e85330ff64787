"""What the log has of Kafka: for producers, whether a record is in; for operators, how far each partition is taken."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from fastapi import Depends, FastAPI
from fastapi import Path as InPath
from starlette.responses import PlainTextResponse, Response

from services.audit.domain.leaf import open_header
from services.audit.reader import LogReader
from shared.messaging.kafka import KafkaConnection
from shared.messaging.log_end import first_record
from shared.web import Identity, Person, Problem, Role
from shared.web.number import Number

_MAX = 2**53 - 1
_BROKER_SECONDS = 3.0
_RETRY_SECONDS = 2


def stream_routes(
    app: FastAPI, reader: LogReader, identity: Identity, operator: str | None, kafka: KafkaConnection
) -> None:
    """Add both faces. `operator`: the organisation whose auditors may see how far the installation is."""

    @app.get("/v1/receipts/{topic}/{partition}/{offset}", response_class=PlainTextResponse)
    async def receipt(
        topic: Annotated[str, InPath(pattern=r"^[A-Za-z0-9._-]{1,249}$")],
        partition: Annotated[Number, InPath(ge=0, le=2**31 - 1)],
        offset: Annotated[Number, InPath(ge=0, le=_MAX)],
    ) -> Response:
        """A tlog-proof that the record at this place of Kafka is in the log of the newest checkpoint; its `index` says
        where. For whoever sent it: the leaf is made of the record."""
        seq = await reader.record(topic, partition, offset)
        published = await reader.newest()
        if seq is None or published is None or seq >= published.size:
            raise Problem(
                404,
                "not_recorded_yet" if seq is None else "not_published_yet",
                ja="この記録は、まだ公開済みのログにありません。数秒後にもう一度お試しください。",
                en="The record is not in the published log yet. Ask again in a few seconds.",
                headers={"Retry-After": str(_RETRY_SECONDS)},
            )
        return PlainTextResponse(bytes(await reader.proof(seq, published)))

    @app.get("/v1/streams")
    async def streams(
        person: Annotated[Person, Depends(identity.require(Role.AUDITOR))],
    ) -> dict[str, Any]:
        """For auditors of the operator: per partition the next offset, how many records wait behind it (null when the
        broker does not answer), and each gap with the entry that accounts for it."""
        if operator is None or person.organisation != operator:
            raise Problem(
                403,
                "streams_are_the_operators",
                ja="取り込みの状況を読めるのは、運用組織の監査担当だけです。",
                en="Only auditors of the operating organisation see how far the log is taken.",
            )
        rows = await reader.streams()
        taken = {TopicPartition(row["topic"], row["partition"]): row["next_offset"] for row in rows}
        waiting = await _waiting(kafka, taken)
        gaps = [(row["seq"], open_header(row["leaf"])) for row in await reader.own("gap", 0, _MAX)]
        return {
            "streams": [
                {
                    "topic": row["topic"],
                    "partition": row["partition"],
                    "next_offset": row["next_offset"],
                    "lag": waiting and waiting[TopicPartition(row["topic"], row["partition"])],
                    "gaps": [
                        {"from": gap["o"], "to": gap["end"], "reason": gap["reason"], "seq": seq}
                        for seq, gap in gaps
                        if (gap["s"], gap["p"]) == (row["topic"], row["partition"])
                    ],
                }
                for row in rows
            ]
        }


async def _waiting(kafka: KafkaConnection, taken: Mapping[TopicPartition, int]) -> dict[TopicPartition, int] | None:
    """How many records lie behind these offsets, from the first one on: the end of a transaction is none. What an open
    transaction hides does not wait yet. None when the broker does not say in time."""
    consumer = AIOKafkaConsumer(**kafka.options(), group_id=None, isolation_level="read_committed")
    try:
        async with asyncio.timeout(_BROKER_SECONDS):
            await consumer.start()
            ends = await consumer.end_offsets(list(taken))
            consumer.assign(list(taken))
            return {
                place: ends[place] - await first_record(consumer, place, taken[place], ends[place]) for place in taken
            }
    except (KafkaError, OSError):
        return None
    finally:
        await consumer.stop()
