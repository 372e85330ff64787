"""The outbox relay: committed events go to Kafka, in order per subject, at least once.

One relay of a service is active at a time, by an advisory lock on the connection that it reads with; another
process takes over when that connection is lost. Rows are read while they exist and deleted once acknowledged. There
is no cursor: a slower transaction with a smaller number would be skipped for ever.
"""

import asyncio
from collections.abc import Sequence

import asyncpg
import orjson
import structlog
from aiokafka.errors import KafkaError

from shared.messaging.kafka import OutgoingRecord, Producer
from shared.messaging.outage import is_outage
from shared.postgres import COMMAND_SECONDS, VANISHED_CLIENT
from shared.telemetry import Health, metrics

_BATCH = 500
_POLL_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
_SEND_LIMIT_SECONDS = 60.0

_READ = "SELECT place, topic, key, headers, value FROM outbox ORDER BY place LIMIT $1"
_DELETE = "DELETE FROM outbox WHERE place = ANY($1::bigint[])"

_log = structlog.get_logger()


class Relay:
    """The relay of one service. `wake` is set by whoever committed something in this process."""

    def __init__(self, dsn: str, schema: str, producer: Producer, wake: asyncio.Event, health: Health) -> None:
        self._dsn = dsn
        self._schema = schema
        self._producer = producer
        self._wake = wake
        self._health = health

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
                    _log.warning("relay_waits", error=type(error).__name__)
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            await self._producer.close()

    async def _serve(self) -> None:
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
            await connection.add_listener(f"{self._schema}_work", lambda *_: self._wake.set())
            while not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", f"{self._schema}-relay"):
                self._health.ok("relay")
                await asyncio.sleep(_POLL_SECONDS)
            while True:
                self._wake.clear()
                # What is committed while a batch is under way sets `wake` again.
                if await self._relay_batch(connection) < _BATCH:
                    self._health.ok("relay")
                    await self._wait()
        finally:
            # Closing gives the lock back; a cancelled task that kept its connection would block every other relay.
            await asyncio.shield(_close(connection))

    async def _relay_batch(self, connection: asyncpg.Connection) -> int:
        """Send the oldest rows; how many there were."""
        rows = await connection.fetch(_READ, _BATCH)
        if not rows:
            return 0
        records = [
            OutgoingRecord(
                row["topic"],
                row["key"].encode(),
                [(name, text.encode()) for name, text in row["headers"]],
                row["value"],
            )
            for row in rows
        ]
        async with asyncio.timeout(_SEND_LIMIT_SECONDS):
            errors = await self._producer.send(records)
        await connection.execute(_DELETE, _acknowledged(rows, errors))
        failed = next((error for error in errors if error is not None), None)
        if failed is not None:
            raise failed
        metrics.RELAYED.labels(rows[0]["topic"]).inc(len(rows))
        return len(rows)

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), _POLL_SECONDS)
        except TimeoutError:
            return


def _acknowledged(rows: Sequence[asyncpg.Record], errors: Sequence[BaseException | None]) -> list[int]:
    """The rows before the first error of their key: deleting one behind it would let it overtake."""
    failed: set[str] = set()
    done: list[int] = []
    for row, error in zip(rows, errors, strict=True):
        if error is not None:
            failed.add(row["key"])
        elif row["key"] not in failed:
            done.append(row["place"])
    return done


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=2)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        connection.terminate()
