"""A service can say whether it has heard all that the log holds about a subject now."""

import pytest

from shared.events.reporter import IncidentReopened
from shared.messaging import DependencyUnavailableError, Dispatch
from shared.messaging.kafka import KafkaConnection
from shared.messaging.log_end import LogEnd
from tests.messaging.conftest import Bus, until

_SUBJECTS = [f"0192f0c1-0000-7000-8000-{number:012x}" for number in range(8)]


async def test_it_is_reached_when_the_service_has_taken_what_was_said(bus: Bus) -> None:
    end, pool = LogEnd(bus.connection, bus.topic), bus.pools["notifier"]
    assert await end.is_reached(pool, _SUBJECTS[0]), "nothing was said"
    async with bus.relaying():
        for subject in _SUBJECTS:
            await bus.say(IncidentReopened(reason="again"), subject=subject)
            # In the partition that the relay chose for it.
            await until(lambda subject=subject: _is_behind(end, bus, subject), "it lies in the log")
            async with bus.hearing(Dispatch({})):
                await until(lambda subject=subject: end.is_reached(pool, subject), "it was taken")


async def _is_behind(end: LogEnd, bus: Bus, subject: str) -> bool:
    return not await end.is_reached(bus.pools["notifier"], subject)


@pytest.mark.parametrize(("bootstrap", "topic"), [("127.0.0.1:1", "any"), (None, "a.topic.that.is.not.there")])
async def test_a_cluster_that_does_not_say_is_an_outage(bus: Bus, bootstrap: str | None, topic: str) -> None:
    end = LogEnd(KafkaConnection(bootstrap or bus.bootstrap), topic)
    with pytest.raises(DependencyUnavailableError):
        await end.is_reached(bus.pools["notifier"], _SUBJECTS[0])
