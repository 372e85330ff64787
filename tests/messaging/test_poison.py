"""A record that cannot be handled is parked with its reason, and the records behind it go on."""

from datetime import UTC, datetime
from uuid import uuid4

from confluent_kafka import Consumer as OtherConsumer
from confluent_kafka import TopicPartition as OtherPlace

from shared.events import Envelope, Event, Signer
from shared.events.reporter import IncidentReopened, LineResumptionRequested
from shared.messaging import DependencyUnavailableError, Dispatch, Unit
from shared.messaging.dead_letter import ParkingLimit, dead_letter_topic
from shared.messaging.kafka import OutgoingRecord
from tests.messaging.conftest import Bus, until


class Heard:
    """A handler that cannot stand one reason."""

    def __init__(self, poison: str = "poison") -> None:
        self.reasons: list[str] = []
        self._poison = poison

    async def handle(self, unit: Unit, payload: IncidentReopened, event: Event) -> None:
        await unit.connection.execute("SELECT 1")
        if payload.reason == self._poison:
            raise RuntimeError("cannot stand it")
        if payload.reason not in self.reasons:
            self.reasons.append(payload.reason)

    async def has_last(self) -> bool:
        return "last" in self.reasons


def _parked(bus: Bus, subject: str) -> list[dict[str, str]]:
    """The dead letters of one subject: their `dlq_*` headers."""
    topic = dead_letter_topic("notifier")
    consumer = OtherConsumer({"bootstrap.servers": bus.bootstrap, "group.id": "dead-letter-reader"})
    try:
        found = []
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(OtherPlace(topic, partition), timeout=10)
            consumer.assign([OtherPlace(topic, partition, low)])
            while low < high:
                message = consumer.poll(5)
                assert message is not None
                low = message.offset() + 1
                if message.key() == subject.encode():
                    found.append({name: data.decode(errors="replace") for name, data in message.headers()})
        return found
    finally:
        consumer.close()


async def test_a_handler_that_always_fails_parks_only_its_own_record(bus: Bus, incident: str) -> None:
    heard = Heard()
    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: heard.handle})):
        await bus.say(*(IncidentReopened(reason=reason) for reason in ("first", "poison", "last")), subject=incident)
        await until(heard.has_last, "the record behind the poison")
    assert heard.reasons == ["first", "last"]
    (letter,) = _parked(bus, incident)
    assert letter["dlq_error"] == "RuntimeError"
    assert letter["dlq_topic"] == bus.topic
    assert letter["ce_type"] == "lostphone.incident-reopened.v1"
    assert "cannot stand it" not in str(letter)


async def test_a_signed_event_of_the_wrong_shape_is_parked(bus: Bus, incident: str) -> None:
    heard = Heard()
    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: heard.handle})):
        await bus.say(IncidentReopened(reason="first"), subject=incident)

        async def first() -> bool:
            return "first" in heard.reasons

        await until(first, "the first")
        await bus.put(_misshapen(bus, incident, sequence=2))
        await bus.pools["reporter"].execute("UPDATE subject_sequence SET last = 2 WHERE subject = $1", incident)
        await bus.say(IncidentReopened(reason="last"), subject=incident)
        await until(heard.has_last, "the record behind it")
    assert [letter["dlq_error"] for letter in _parked(bus, incident)] == ["ValidationError"]


async def test_an_outage_of_a_dependency_parks_nothing_and_goes_on_by_itself(bus: Bus, incident: str) -> None:
    tries = 0
    heard = Heard()

    async def out_for_a_while(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise DependencyUnavailableError("the vault")
        await heard.handle(unit, payload, event)

    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: out_for_a_while})):
        await bus.say(IncidentReopened(reason="last"), subject=incident)

        async def red() -> bool:
            return "vault" in str(bus.health.failing())

        await until(red, "readiness red with the reason")
        await until(heard.has_last, "the event after the outage")

        async def green() -> bool:
            return not bus.health.failing()

        await until(green, "readiness green again")
    assert _parked(bus, incident) == []


async def test_a_bad_deployment_stops_at_the_limit_and_keeps_the_log(bus: Bus, incident: str) -> None:
    heard = Heard()

    async def broken(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        raise KeyError("a bug")

    await bus.say(*(IncidentReopened(reason=f"r{number}") for number in range(12)), subject=incident)

    async def stopped() -> bool:
        return "mend the deployment" in str(bus.health.failing())

    async with bus.relaying():
        async with bus.hearing(Dispatch({IncidentReopened: broken}), limit=ParkingLimit(in_a_row=3)):
            await until(stopped, "consumption stopped")
        assert len(_parked(bus, incident)) == 3
        async with bus.hearing(Dispatch({IncidentReopened: heard.handle})):
            await bus.say(IncidentReopened(reason="last"), subject=incident)
            await until(heard.has_last, "the rest after the mended deployment")
    assert heard.reasons == [*(f"r{number}" for number in range(3, 12)), "last"]


async def test_forged_and_foreign_records_act_nowhere(bus: Bus, incident: str) -> None:
    heard = Heard()
    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: heard.handle})):
        foreign = Signer("mdm_actions", bus.keys["mdm_actions"])
        await bus.put(
            _record(bus, incident, 1, None),
            _record(bus, incident, 1, foreign),
            OutgoingRecord(bus.topic, incident.encode(), [("ce_id", b"1"), ("ce_id", b"2")], b"{}"),
            OutgoingRecord(bus.topic, incident.encode(), [], b"[" * 100_000),
            OutgoingRecord(bus.topic, incident.encode(), [("ce_id", None)], b"{}"),
        )
        await bus.say(IncidentReopened(reason="last"), subject=incident)
        await until(heard.has_last, "the genuine event")
    assert heard.reasons == ["last"]
    assert _parked(bus, incident) == []


def _record(bus: Bus, subject: str, sequence: int, signer: Signer | None) -> OutgoingRecord:
    payload = IncidentReopened(reason="forged")
    envelope = _envelope(subject, sequence, payload.event_type)
    if signer is None:
        return OutgoingRecord(bus.topic, subject.encode(), envelope.headers(), payload.write())
    headers, value = envelope.sign(signer, payload)
    return OutgoingRecord(bus.topic, subject.encode(), headers, value)


def _misshapen(bus: Bus, subject: str, sequence: int) -> OutgoingRecord:
    """What the reporter could sign only by a bug: the type of one event with the value of another."""
    envelope = _envelope(subject, sequence, IncidentReopened.event_type)

    class Misshapen(LineResumptionRequested):
        def write(self) -> bytes:
            return b'{"unreasonable": true}'

    headers, value = envelope.sign(Signer("reporter", bus.keys["reporter"]), Misshapen(reason="x"))
    return OutgoingRecord(bus.topic, subject.encode(), headers, value)


def _envelope(subject: str, sequence: int, event_type: str) -> Envelope:
    return Envelope(
        id=str(uuid4()),
        source="/lostphone/reporter",
        type=event_type,
        subject=subject,
        time=datetime.now(UTC),
        sequence=sequence,
        organisation="acme-kk",
        actor="service/reporter",
    )
