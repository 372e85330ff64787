"""A wipe rests on all that the log holds at the moment when it leaves, so that catching up never erases a phone that
was found."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from shared.events.mdm_actions import WipeConfirmed, WipeDisarmed
from shared.events.payload import Answer
from shared.events.reporter import DeviceRecovered
from tests.mdm_actions.bench import Company, Phone, Service, eventually
from tests.mdm_actions.conftest import Serving


@pytest.fixture
def log_topic(kafka: str) -> str:
    """One record lies in it that the service has not taken."""
    name = f"test.log.{uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(name, b"{}", b"key")
    assert producer.flush(30) == 0
    return name


@pytest.fixture
async def service(serving: Serving) -> AsyncIterator[Service]:
    async with serving() as service, service.timers():
        yield service


async def _ordered(service: Service, company: Company) -> tuple[str, Phone]:
    """A lost phone that two people ordered to be wiped."""
    incident, device, phone = await service.lost_phone(company)
    await service.say(company.order(incident, device), incident, company.name)
    await _looked_again(service, incident)
    assert ("wipe", "requested") in await service.commands(incident)
    assert "EraseDevice" not in await phone.obeyed()
    return incident, phone


async def _looked_again(service: Service, incident: str) -> None:
    """The wipe has come up to be sent, and was put off."""

    async def armed() -> int:
        number: int | None = await service.kit.pool.fetchval(
            "SELECT armed FROM timer WHERE subject = $1 AND name LIKE 'send:%'", incident
        )
        return number or 0

    first = await armed()
    await eventually(armed, lambda number: number != first)


async def _taken(service: Service, log_topic: str) -> None:
    """The service has taken the record."""
    await service.kit.pool.execute("INSERT INTO position (topic, partition, next_offset) VALUES ($1, 0, 1)", log_topic)


async def test_it_leaves_when_the_log_was_heard_to_its_end(service: Service, company: Company, log_topic: str) -> None:
    incident, _ = await _ordered(service, company)
    await _taken(service, log_topic)
    await service.told(incident, WipeConfirmed)


async def test_a_recovery_further_on_in_the_log_takes_it_back(
    service: Service, company: Company, log_topic: str
) -> None:
    incident, phone = await _ordered(service, company)
    back = DeviceRecovered(recovered_at=datetime.now(UTC), from_whom="police", identity_checked=Answer.YES)
    await service.say(back, incident, company.name)
    await _taken(service, log_topic)
    await service.told(incident, WipeDisarmed)
    await eventually(phone.obeyed, lambda done: done[-1:] == ["DisableLostMode"])
    assert "EraseDevice" not in await phone.obeyed()


async def test_while_kafka_does_not_say_where_it_ends_nothing_leaves(serving: Serving, company: Company) -> None:
    async with serving(kafka_bootstrap="127.0.0.1:1") as service, service.timers():
        await _ordered(service, company)
