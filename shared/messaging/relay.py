"""The outbox relay: committed events go to Kafka, in order per subject, at least once.

One relay of a service is active at a time, by an advisory lock on the connection that it reads with; another
process takes over when that connection is lost. Rows are read while they exist and deleted once acknowledged. There
is no cursor: a slower transaction with a smaller number would be skipped for ever. What its own process has just
committed it has in hand, and need not read where nothing waits before it.
"""

import asyncio
import time
from collections.abc import Sequence

import asyncpg
import orjson
import structlog
from aiokafka.errors import KafkaError

from shared.messaging.in_hand import MOST, InHand, Sendable
from shared.messaging.kafka import OutgoingRecord, Producer
from shared.messaging.outage import is_outage
from shared.postgres import COMMAND_SECONDS, VANISHED_CLIENT
from shared.telemetry import Health, metrics

_POLL_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_SEND_LIMIT_SECONDS = 60.0

_READ = "SELECT place, topic, key, headers, value FROM outbox ORDER BY place LIMIT $1"
_DELETE = "DELETE FROM outbox WHERE place = ANY($1::bigint[])"

_log = structlog.get_logger()


class Relay:
    """The relay of one service. `in_hand`: what this process commits."""

    def __init__(self, dsn: str, schema: str, producer: Producer, in_hand: InHand, health: Health) -> None:
        self._dsn = dsn
        self._schema = schema
        self._producer = producer
        self._in_hand = in_hand
        self._health = health
        self._found: set[int] = set()
        """The places that the last look gave."""
        self._looked_at = time.monotonic()

    async def run(self) -> None:
        """Until cancelled. Outages are waited out."""
        try:
            while True:
                try:
                    await self._serve()
                except Exception as error:
                    if not (is_outage(error) or isinstance(error, KafkaError)):
                        raise
                    self._health.fail("relay", f"events wait to be sent: {type(error).__name__}")
                    metrics.RELAY_FAILURES.labels(type(error).__name__).inc()
                    _log.warning("relay_waits", error=type(error).__name__, seldom=True)
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await self._producer.close()

    async def _serve(self) -> None:
        self._in_hand.look()
        connection = await asyncpg.connect(
            self._dsn,
            timeout=10,
            command_timeout=COMMAND_SECONDS,
            server_settings={
                "search_path": self._schema,
                "application_name": "lostphone relay",
                # A deletion that a power cut undoes has the row sent again, and readers know a repeat.
                "synchronous_commit": "off",
                **VANISHED_CLIENT,
            },
        )
        try:
            await connection.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
            )
            await connection.add_listener(f"{self._schema}_work", lambda *_: self._in_hand.look())
            while not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", f"{self._schema}-relay"):
                self._health.ok("relay")
                await asyncio.sleep(_POLL_SECONDS)
            while True:
                await self._relay(connection)
                self._health.ok("relay")
                await self._in_hand.wait(_POLL_SECONDS)
        finally:
            # Closing gives the lock back; a cancelled task that kept its connection would block every other relay.
            await asyncio.shield(_close(connection))

    async def _relay(self, connection: asyncpg.Connection) -> None:
        """Send what is in hand, or the oldest rows of the outbox."""
        if time.monotonic() - self._looked_at >= _POLL_SECONDS:
            # Others write to the outbox as well, and there may be something in hand all the time.
            self._in_hand.look()
        batch = self._in_hand.take()
        if batch is None:
            self._looked_at = time.monotonic()
            batch = [_sendable(row) for row in await connection.fetch(_READ, MOST)]
            self._found = {sendable.place for sendable in batch}
            if len(batch) == MOST:
                self._in_hand.look()
        else:
            # A row can be found before its unit hears that it has committed.
            batch = [sendable for sendable in batch if sendable.place not in self._found]
        if not batch:
            return
        async with asyncio.timeout(_SEND_LIMIT_SECONDS):
            errors = await self._producer.send([sendable.record for sendable in batch])
        await connection.execute(_DELETE, _acknowledged(batch, errors))
        failed = next((error for error in errors if error is not None), None)
        if failed is not None:
            raise failed
        metrics.RELAYED.labels(batch[0].record.topic).inc(len(batch))


def _sendable(row: asyncpg.Record) -> Sendable:
    headers = [(name, text.encode()) for name, text in row["headers"]]
    return Sendable(row["place"], OutgoingRecord(row["topic"], row["key"].encode(), headers, row["value"]))


def _acknowledged(batch: Sequence[Sendable], errors: Sequence[BaseException | None]) -> list[int]:
    """The places before the first error of their key: deleting one behind it would let it overtake."""
    failed: set[bytes | None] = set()
    done: list[int] = []
    for sendable, error in zip(batch, errors, strict=True):
        if error is not None:
            failed.add(sendable.record.key)
        elif sendable.record.key not in failed:
            done.append(sendable.place)
    return done


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=2)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        connection.terminate()
