"""The bare path, with the same libraries and nothing of ours: HTTP → commit → produce → consume → commit → HTTP.

python -m benchmarks.bare door …     takes reports: FastAPI, asyncpg, aiokafka's producer
python -m benchmarks.bare worker …   takes them off the topic, commits, and gives the command to NanoMDM
"""

import argparse
import asyncio
import json
import plistlib
import uuid
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import uvicorn
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from nacl.signing import VerifyKey

TOPIC = "bench.bare"
SIGNATURE = "signature"
TABLES = """
CREATE SCHEMA bench;
CREATE TABLE bench.report (id text PRIMARY KEY, body jsonb NOT NULL);
CREATE TABLE bench.taken (id text PRIMARY KEY, body jsonb NOT NULL);
CREATE TABLE bench.event (topic text, partition integer, kafka_offset bigint, key text, body jsonb NOT NULL,
    PRIMARY KEY (topic, partition, kafka_offset));
"""


def door(dsn: str, bootstrap: str) -> FastAPI:
    """Accepts a report once it is committed, and sends it on."""
    sending: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        async with asyncpg.create_pool(dsn, min_size=1, max_size=10) as pool:
            producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
            await producer.start()
            app.state.pool, app.state.producer = pool, producer
            yield
            await producer.stop()

    app = FastAPI(lifespan=lifespan)

    @app.get("/health/ready")
    async def ready() -> dict[str, str]:
        return {}

    @app.post("/v1/reports")
    async def report(request: Request) -> JSONResponse:
        body = await request.json()
        identifier = str(uuid.uuid4())
        await app.state.pool.execute("INSERT INTO bench.report VALUES ($1, $2)", identifier, json.dumps(body))
        value = json.dumps({"id": identifier, **body}).encode()
        task = asyncio.create_task(app.state.producer.send_and_wait(TOPIC, value, key=identifier.encode()))
        sending.add(task)
        task.add_done_callback(sending.discard)
        return JSONResponse({"incident": identifier}, 201)

    return app


async def work(dsn: str, bootstrap: str, nanomdm: str, api_key: str) -> None:
    """One record after the other is committed; its command is then given to NanoMDM, several at once."""
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=bootstrap, group_id="bench", auto_offset_reset="earliest", enable_auto_commit=False
    )
    calls: set[asyncio.Task[Any]] = set()
    await consumer.start()
    async with asyncpg.create_pool(dsn, min_size=1, max_size=10) as pool, httpx2.AsyncClient(timeout=30) as http:

        async def call(udid: str) -> None:
            command = {"RequestType": "EnableLostMode", "Message": "This phone belongs to a company."}
            body = plistlib.dumps({"CommandUUID": str(uuid.uuid4()), "Command": command})
            await http.put(f"{nanomdm}/v1/enqueue/{udid}", content=body, auth=("nanomdm", api_key))

        async for record in consumer:
            told = json.loads(record.value)
            await pool.execute("INSERT INTO bench.taken VALUES ($1, $2)", told["id"], json.dumps(told))
            await consumer.commit()
            task = asyncio.create_task(call(told["udid"]))
            calls.add(task)
            task.add_done_callback(calls.discard)


async def drain(
    dsn: str, bootstrap: str, topic: str, group: str, wanted: int, *, signer: VerifyKey | None = None
) -> float:
    """The bare batch loop: whole batches decoded and committed in one transaction. Records a second. `signer`: each
    record's value is checked against the signature in its header `SIGNATURE`."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    )
    connection = await asyncpg.connect(dsn)
    await consumer.start()
    taken, began = 0, 0.0
    try:
        while taken < wanted:
            batches = await consumer.getmany(timeout_ms=1000, max_records=500)
            records = [record for batch in batches.values() for record in batch]
            if not records:
                continue
            began = began or asyncio.get_running_loop().time()
            rows = []
            for record in records:
                if signer is not None:
                    signer.verify(record.value, dict(record.headers)[SIGNATURE])
                json.loads(record.value)
                key = (record.key or b"").decode()
                rows.append((record.topic, record.partition, record.offset, key, record.value.decode()))
            async with connection.transaction():
                await connection.executemany("INSERT INTO bench.event VALUES ($1, $2, $3, $4, $5)", rows)
            await consumer.commit()
            taken += len(records)
        return taken / (asyncio.get_running_loop().time() - began)
    finally:
        await consumer.stop()
        await connection.close()


def main() -> None:
    """One of the two processes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("door", "worker"))
    for name in ("--dsn", "--bootstrap", "--nanomdm", "--api-key"):
        parser.add_argument(name, default="")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    if given.part == "door":
        app = door(given.dsn, given.bootstrap)
        uvicorn.run(app, port=given.port, log_level="warning", access_log=False, timeout_keep_alive=75)
    else:
        asyncio.run(work(given.dsn, given.bootstrap, given.nanomdm, given.api_key))


if __name__ == "__main__":
    main()
