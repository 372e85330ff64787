"""A client of Kafka that has failed for good takes nothing any more: the relay goes on with another one."""

from aiokafka.errors import KafkaError

from shared.events.reporter import IncidentReopened
from shared.messaging import Dispatch
from tests.messaging.conftest import Bus, until
from tests.messaging.test_poison import Heard


async def test_what_was_said_since_is_sent_all_the_same(bus: Bus, incident: str) -> None:
    heard = Heard()
    async with bus.relaying() as relay, bus.hearing(Dispatch({IncidentReopened: heard.handle})):
        await bus.say(IncidentReopened(reason="first"), subject=incident)

        async def first() -> bool:
            return heard.reasons == ["first"]

        await until(first, "the first")
        client = relay._producer._client
        assert client is not None
        # As aiokafka does when it meets what it did not expect, here while nothing was on its way.
        client._message_accumulator.fail_all(KafkaError("Unexpected error during batch delivery"))
        await bus.say(IncidentReopened(reason="last"), subject=incident)
        await until(heard.has_last, "what was said since", 20)
        assert relay._producer._client is not client
