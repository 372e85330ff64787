"""Hearing the log again from its beginning changes nothing, inside or outside; and it all works through Kafka."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from shared.events import LOG_TOPIC
from shared.events.mdm_actions import CarrierSuspended, DeviceLocated, WipeConfirmed
from shared.events.payload import Answer
from shared.events.reporter import DeviceRecovered, IncidentReopened
from shared.messaging.kafka import OutgoingRecord, Producer
from shared.service import PARTS, Running
from tests.mdm_actions.bench import Company, Service, eventually, lost, new_incident
from tests.mdm_actions.conftest import Serving

_TABLES = ("incident", "command", "attempt", "nonce", "snapshot", "plan", "task", "outbox", "timer", "device")


async def _everything(service: Service) -> dict[str, list[str]]:
    return {
        table: sorted(
            row["row"] for row in await service.kit.pool.fetch(f"SELECT row_to_json(t)::text AS row FROM {table} t")
        )
        for table in _TABLES
    }


async def test_a_replay_of_a_whole_case_changes_nothing(serving: Serving, company: Company) -> None:
    async with serving() as service:
        row = company.row("A-1")
        await service.import_(company, [row])
        phone = await service.world.phone(row["udid"])
        incident, device = new_incident(), company.device(row)
        async with service.timers():
            await service.say(lost(device), incident, company.name)
            await service.told(incident, DeviceLocated)
            await service.say(company.order(incident, device), incident, company.name)
            await service.told(incident, WipeConfirmed)
            await service.told(incident, CarrierSuspended)
            back = DeviceRecovered(recovered_at=datetime.now(UTC), from_whom="police", identity_checked=Answer.YES)
            await service.say(back, incident, company.name)
            await eventually(lambda: service.names(incident), lambda names: "CarrierResumed" in names)
            await service.say(IncidentReopened(reason="again"), incident, company.name)
            await eventually(lambda: service.waiting(incident), lambda timers: "locate" not in timers)
        before, obeyed = await _everything(service), await phone.obeyed()
        calls = len(await service.world.journal("carrier", row["sim_id"]))
        await service.hear(*service.said)
        for record in service.said:
            await service.hear(record)
        assert await _everything(service) == before
        assert await phone.obeyed() == obeyed
        assert len(await service.world.journal("carrier", row["sim_id"])) == calls


async def test_from_a_record_on_the_log_to_events_on_the_log(serving: Serving, company: Company) -> None:
    async with serving() as service:
        row = company.row("A-1")
        await service.import_(company, [row])
        await service.world.phone(row["udid"])
        incident = new_incident()
        record = service.written(lost(company.device(row)), incident, company.name)
        stop = asyncio.Event()
        parts = [part for part in PARTS if part != "http"]
        running = asyncio.create_task(Running("mdm_actions", service.kit, service.parts, parts).until(stop))
        producer = Producer(service.kit.settings.kafka(), "test")
        try:
            headers: Any = [(name, data) for name, data in record.headers if data is not None]
            sent = await producer.send([OutgoingRecord(LOG_TOPIC, incident.encode(), headers, record.value)])
            assert not any(sent)

            async def located() -> bool:
                done = await service.kit.pool.fetchval(
                    "SELECT count(*) FROM command WHERE incident = $1 AND kind = 'locate' AND state = 'succeeded'",
                    incident,
                )
                waiting = await service.kit.pool.fetchval("SELECT count(*) FROM outbox")
                return bool(done) and waiting == 0

            await eventually(located, bool, within=60)
        finally:
            await producer.close()
            stop.set()
            await running
