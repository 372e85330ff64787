"""Everything that is particular to aiokafka: connection settings and a producer that loses nothing."""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from pydantic import SecretStr

MAX_REQUEST_BYTES = 1_048_576


@dataclass(frozen=True)
class KafkaConnection:
    """How to reach the cluster, and as whom."""

    bootstrap: str
    security: str = "PLAINTEXT"
    username: str | None = None
    password: SecretStr | None = None
    ca_file: str | None = None

    def options(self) -> dict[str, Any]:
        """Keyword arguments of aiokafka's clients."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap.split(",")}
        if self.security == "SASL_SSL":
            options |= {
                "security_protocol": "SASL_SSL",
                "ssl_context": ssl.create_default_context(cafile=self.ca_file),
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password.get_secret_value() if self.password else None,
            }
        return options


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """One record to send."""

    topic: str
    key: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    value: bytes | None


class Producer:
    """Sends records in order and says which were acknowledged by all replicas.

    After an error the client is thrown away: with idempotence, a failed batch leaves a gap in the producer's own
    sequence, and its sender would never recover (aiokafka issue 1017).
    """

    def __init__(self, connection: KafkaConnection, client_id: str) -> None:
        self._connection = connection
        self._client_id = client_id
        self._client: AIOKafkaProducer | None = None

    async def send(self, records: Sequence[OutgoingRecord]) -> list[BaseException | None]:
        """For each record None once it is acknowledged, or the error.

        Records with the same topic and key keep their order, and after the first error none behind it is
        acknowledged. Raises `KafkaError` or `OSError` when the cluster cannot be reached at all.
        """
        client = await self._started()
        try:
            sent = [
                await client.send(record.topic, value=record.value, key=record.key, headers=list(record.headers))
                for record in records
            ]
            results = await asyncio.gather(*sent, return_exceptions=True)
        except BaseException:
            # One that takes nothing any more never would again.
            await self.close()
            raise
        errors = [result if isinstance(result, BaseException) else None for result in results]
        if any(errors):
            await self.close()
        return errors

    async def _started(self) -> AIOKafkaProducer:
        if self._client is None:
            client = AIOKafkaProducer(
                **self._connection.options(),
                client_id=self._client_id,
                acks="all",
                enable_idempotence=True,
                # A real wait for every batch that is not full; the relay sends whole batches anyway.
                linger_ms=0,
                max_batch_size=262_144,
                max_request_size=MAX_REQUEST_BYTES,
                compression_type="zstd",
            )
            try:
                await client.start()
            except BaseException:
                await client.stop()
                raise
            self._client = client
        return self._client

    async def close(self) -> None:
        """Let go of the client; the next `send` makes a new one."""
        client, self._client = self._client, None
        if client is not None:
            try:
                await asyncio.wait_for(client.stop(), 5)
            except (KafkaError, TimeoutError, OSError):
                # It still waits for a broker that does not answer; its connections are let go of all the same.
                with suppress(KafkaError, TimeoutError, OSError):
                    await asyncio.wait_for(client.client.close(), 1)
