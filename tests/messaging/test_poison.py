"""A record that cannot be handled is parked with its reason, and the records behind it go on."""

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CorruptRecordException, TopicAuthorizationFailedError
from confluent_kafka import Consumer as OtherConsumer
from confluent_kafka import TopicPartition as OtherPlace
from confluent_kafka.admin import AdminClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.events import Envelope, Event, Signer
from shared.events.reporter import IncidentReopened
from shared.messaging import DependencyUnavailableError, Dispatch, Unit
from shared.messaging.dead_letter import ParkingLimit, dead_letter_topic
from shared.messaging.kafka import KafkaConnection, OutgoingRecord
from shared.telemetry import metrics
from tests.messaging.conftest import Bus, create_topics, until
from tests.messaging.names import NameInBytes, write_any_header_name
from tests.stack.service import free_port


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


def _handled() -> float:
    """How many such events were handled in this process so far."""
    return metrics.PROCESSED.labels(IncidentReopened.event_type)._value.get()


def _parked(bus: Bus, subject: str) -> list[dict[str, str]]:
    """The dead letters of one subject: their headers."""
    return _letters(bus).get(subject, [])


def _letters(bus: Bus) -> dict[str, list[dict[str, str]]]:
    """All dead letters by subject."""
    topic = dead_letter_topic("notifier")
    consumer = OtherConsumer({"bootstrap.servers": bus.bootstrap, "group.id": "dead-letter-reader"})
    try:
        found: dict[str, list[dict[str, str]]] = {}
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            low, high = consumer.get_watermark_offsets(OtherPlace(topic, partition), timeout=10)
            consumer.assign([OtherPlace(topic, partition, low)])
            while low < high:
                message = consumer.poll(5)
                assert message is not None
                low = message.offset() + 1
                # Others on this broker may have left one without headers or key: it belongs to no subject.
                letter = {name: data.decode(errors="replace") for name, data in message.headers() or ()}
                found.setdefault((message.key() or b"").decode(errors="replace"), []).append(letter)
        return found
    finally:
        consumer.close()


async def test_a_handler_that_always_fails_parks_only_its_own_record(bus: Bus, incident: str) -> None:
    heard, before = Heard(), _handled()
    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: heard.handle})):
        await bus.say(*(IncidentReopened(reason=reason) for reason in ("first", "poison", "last")), subject=incident)
        await until(heard.has_last, "the record behind the poison")
    assert heard.reasons == ["first", "last"]
    assert _handled() - before == 2, "what is taken again because of another record is counted once"
    (letter,) = _parked(bus, incident)
    assert letter["dlq_error"] == "RuntimeError"
    assert letter["dlq_topic"] == bus.topic
    assert letter["ce_type"] == "lostphone.incident-reopened.v1"
    assert "cannot stand it" not in str(letter)


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
            return "vault" in str(await bus.health.ready())

        await until(red, "readiness red with the reason")
        await until(heard.has_last, "the event after the outage")

        async def green() -> bool:
            return not any((await bus.health.ready()).values())

        await until(green, "readiness green again")
    assert _parked(bus, incident) == []


async def test_what_was_handed_over_before_a_batch_that_cannot_be_read_is_heard(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = [f"0192f0c1-0000-7000-8000-{number:012x}" for number in range(12)]
    heard, damaged = Heard(), []
    getmany = AIOKafkaConsumer.getmany

    async def getmany_that_meets_a_damaged_batch(self: AIOKafkaConsumer, **given: Any) -> Any:
        found = await getmany(self, **given)
        if found and not damaged:
            damaged.append(found)
            raise CorruptRecordException
        return found

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", getmany_that_meets_a_damaged_batch)
    for subject in subjects:
        await bus.say(IncidentReopened(reason=subject), subject=subject)

    async def all_sent() -> bool:
        return not await bus.pools["reporter"].fetchval("SELECT count(*) FROM outbox")

    async with bus.relaying():
        await until(all_sent, "everything is in the log")
        async with bus.hearing(Dispatch({IncidentReopened: heard.handle})):
            await bus.say(*(IncidentReopened(reason="last") for _ in subjects), subject=subjects[0])
            await until(heard.has_last, "an event behind them")

            async def all_heard() -> bool:
                return set(heard.reasons) >= set(subjects)

            await until(all_heard, "those that had been handed over", seconds=10)
    assert damaged


async def test_readiness_is_red_while_kafka_refuses_to_give_records(
    bus: Bus, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()

    async def refused(self: AIOKafkaConsumer) -> None:
        raise TopicAuthorizationFailedError(bus.topic)

    async def red() -> bool:
        return "TopicAuthorizationFailedError" in str(await bus.health.ready())

    async with bus.relaying():
        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaConsumer, "getone", refused)
            hearing = bus.hearing(Dispatch({IncidentReopened: heard.handle}))
            await hearing.__aenter__()
            await until(red, "readiness red with the reason")
        await bus.say(IncidentReopened(reason="last"), subject=incident)
        await until(heard.has_last, "the event after access was given back")
        await hearing.__aexit__(None, None, None)
    assert _parked(bus, incident) == []


async def test_readiness_is_red_when_the_topic_is_gone(bus: Bus) -> None:
    async def red() -> bool:
        return f"Kafka shows no topic {bus.topic}" in str(await bus.health.ready())

    async with bus.hearing(Dispatch({})):
        assert not any((await bus.health.ready()).values())
        admin = AdminClient({"bootstrap.servers": bus.bootstrap})
        admin.delete_topics([bus.topic])[bus.topic].result(30)
        await until(red, "readiness red with the reason")
        create_topics(bus.bootstrap, bus.topic)


async def test_events_wait_for_a_table_that_only_the_next_release_makes(bus: Bus, incident: str) -> None:
    heard = Heard()

    async def of_the_next_release(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        await unit.connection.execute("INSERT INTO of_the_next_release VALUES (1)")
        await heard.handle(unit, payload, event)

    async def red() -> bool:
        return "of_the_next_release" in str(await bus.health.ready())

    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: of_the_next_release})):
        await bus.say(IncidentReopened(reason="last"), subject=incident)
        await until(red, "readiness red with the reason")
        await bus.pools["notifier"].execute("CREATE TABLE of_the_next_release (number integer)")
        await until(heard.has_last, "the event after the migration")
    assert _parked(bus, incident) == []


async def test_a_bad_deployment_stops_at_the_limit_and_keeps_the_log(bus: Bus, incident: str) -> None:
    heard = Heard()

    async def broken(unit: Unit, payload: IncidentReopened, event: Event) -> None:
        raise KeyError("a bug")

    await bus.say(*(IncidentReopened(reason=f"r{number}") for number in range(12)), subject=incident)

    async def stopped() -> bool:
        return "mend the deployment" in str(await bus.health.ready())

    async with bus.relaying():
        async with bus.hearing(Dispatch({IncidentReopened: broken}), limit=ParkingLimit(in_a_row=3)):
            await until(stopped, "consumption stopped")
        assert len(_parked(bus, incident)) == 3
        async with bus.hearing(Dispatch({IncidentReopened: heard.handle})):
            await bus.say(IncidentReopened(reason="last"), subject=incident)
            await until(heard.has_last, "the rest after the mended deployment")
    assert heard.reasons == [*(f"r{number}" for number in range(3, 12)), "last"]


async def test_a_record_that_comes_a_second_time_does_not_break_a_row_of_those_that_fail(
    bus: Bus, incident: str
) -> None:
    async def stopped() -> bool:
        return "mend the deployment" in str(await bus.health.ready())

    async def is_parked() -> bool:
        return await bus.pools["notifier"].fetchval("SELECT count(*) FROM parked") == 1

    limit = ParkingLimit(in_a_row=1)
    async with bus.relaying(), bus.hearing(Dispatch({IncidentReopened: Heard().handle}), limit=limit) as consumer:
        await bus.say(IncidentReopened(reason="poison"), subject=incident)
        await until(is_parked, "the first is parked")
        # As when partitions are assigned while a record is under way.
        await consumer._subscriber.consumer.seek_to_beginning()
        await bus.say(IncidentReopened(reason="poison"), subject=incident)
        await until(stopped, "two in a row are too many")
    assert len(_parked(bus, incident)) == 1


async def test_a_record_that_cannot_be_parked_yet_counts_once_however_often_it_is_tried(
    bus: Bus, incident: str
) -> None:
    heard, paused = Heard(), metrics.PAUSES._value.get()

    async def tried() -> bool:
        return metrics.PAUSES._value.get() >= paused + 3

    nowhere = KafkaConnection(f"127.0.0.1:{free_port()}")
    dispatch, limit = Dispatch({IncidentReopened: heard.handle}), ParkingLimit(in_a_row=1)
    async with bus.relaying():
        async with bus.hearing(dispatch, limit=limit, parking=nowhere):
            await bus.say(IncidentReopened(reason="poison"), subject=incident)
            await until(tried, "it was tried again")
            assert "mend the deployment" not in str(await bus.health.ready())
        async with bus.hearing(dispatch, limit=limit):
            await bus.say(IncidentReopened(reason="last"), subject=incident)
            await until(heard.has_last, "the record behind it")
    assert len(_parked(bus, incident)) == 1


@dataclass(frozen=True)
class Poison:
    """A record that may not act, or not like this, and where it ends: `rejected` with the reason that is counted,
    `parked` with the kind of error, `skipped`, or `heard`: it is an event after all."""

    ends: str
    reason: str
    make: Callable[[Bus, str], OutgoingRecord]


_KEY = b"0192f0c1-0000-7000-8000-000000000001"
_STRUCTURED = [("content-type", b"application/cloudevents+json")]
POISON = {
    "not JSON": Poison("parked", "ValidationError", lambda bus, subject: _signed(bus, subject, value=b"not json")),
    "not JSON, structured": Poison(
        "rejected", "not_json", lambda bus, _: OutgoingRecord(bus.topic, _KEY, _STRUCTURED, b"not json")
    ),
    "a list, structured": Poison(
        "rejected", "not_an_object", lambda bus, _: OutgoingRecord(bus.topic, _KEY, _STRUCTURED, b"[]")
    ),
    "deep nesting, structured": Poison(
        "rejected",
        "nested_too_deeply",
        lambda bus, _: OutgoingRecord(bus.topic, _KEY, _STRUCTURED, b'{"data":%s}' % (b"[" * 300 + b"]" * 300)),
    ),
    "the wrong model": Poison(
        "parked", "ValidationError", lambda bus, subject: _signed(bus, subject, value=b'{"unreasonable": true}')
    ),
    "bad header bytes": Poison(
        "rejected", "header_not_utf8", lambda bus, _: OutgoingRecord(bus.topic, _KEY, [("ce_id", b"\xff\xfe")], b"{}")
    ),
    "a header's name that is not UTF-8": Poison(
        "rejected",
        "header_missing",
        lambda bus, _: OutgoingRecord(bus.topic, _KEY, [(NameInBytes(b"ce_\xff\xfe"), b"1")], b"x" * 3000),
    ),
    "a signed header that no database holds": Poison(
        "rejected",
        "header_has_control_character",
        lambda bus, subject: _signed(bus, subject, event_id="a\0b"),
    ),
    "a signed header that no index holds": Poison(
        "rejected", "header_too_long", lambda bus, subject: _signed(bus, subject, event_id=secrets.token_hex(2000))
    ),
    "signed, beside a header that leaves a dead letter no room": Poison(
        "rejected", "headers_too_long", lambda bus, subject: _padded(_signed(bus, subject, value=b'{"wrong": true}'))
    ),
    "a header without a value": Poison(
        "rejected", "header_null", lambda bus, _: OutgoingRecord(bus.topic, _KEY, [("ce_id", None)], b"{}")
    ),
    "a null value": Poison("rejected", "value_null", lambda bus, _: OutgoingRecord(bus.topic, _KEY, [], None)),
    "duplicate headers": Poison(
        "rejected",
        "header_duplicate",
        lambda bus, _: OutgoingRecord(bus.topic, _KEY, [("ce_id", b"1"), ("ce_id", b"2")], b"{}"),
    ),
    "no headers": Poison("rejected", "header_missing", lambda bus, _: OutgoingRecord(bus.topic, _KEY, [], b"{}")),
    "an unknown version of CloudEvents": Poison(
        "rejected",
        "specversion_unknown",
        lambda bus, subject: _changed(_signed(bus, subject), "ce_specversion", b"9.9"),
    ),
    "an unknown version of an event": Poison(
        "skipped", "", lambda bus, subject: _signed(bus, subject, event_type="lostphone.incident-reopened.v9")
    ),
    "900 KB of an unknown field": Poison(
        "heard",
        "",
        lambda bus, subject: _signed(bus, subject, value=b'{"reason":"large","more":"%s"}' % (b"x" * 899_000)),
    ),
    "900 KB of the wrong model": Poison(
        "parked",
        "ValidationError",
        lambda bus, subject: _signed(bus, subject, value=b'{"more":"%s"}' % (b"x" * 899_000)),
    ),
    "900 KB that nobody signed": Poison(
        "rejected", "header_missing", lambda bus, _: OutgoingRecord(bus.topic, _KEY, [], b"x" * 900_000)
    ),
    "more than 900 KB": Poison(
        "rejected",
        "value_too_large",
        lambda bus, subject: _signed(bus, subject, value=b'{"more":"%s"}' % (b"x" * 950_000)),
    ),
    "deep nesting": Poison(
        "parked", "ValidationError", lambda bus, subject: _signed(bus, subject, value=b"[" * 100_000 + b"]" * 100_000)
    ),
    "a forged signature": Poison(
        "rejected",
        "signature_invalid",
        lambda bus, subject: _changed(_signed(bus, subject), "ce_actor", b"person/desk"),
    ),
    "a missing signature": Poison("rejected", "signature_missing", lambda bus, subject: _record(bus, subject, 1, None)),
    "another service's key": Poison(
        "rejected",
        "writer_not_registered",
        lambda bus, subject: _record(bus, subject, 1, Signer("mdm_actions", bus.keys["mdm_actions"])),
    ),
    "what only another service may say, under one's own name and key": Poison(
        "rejected",
        "writer_not_registered",
        lambda bus, subject: _record(
            bus, subject, 1, Signer("mdm_actions", bus.keys["mdm_actions"]), source="/lostphone/mdm_actions"
        ),
    ),
    "a key that nobody knows": Poison(
        "rejected",
        "key_unknown",
        lambda bus, subject: _record(bus, subject, 1, Signer("reporter", Ed25519PrivateKey.generate())),
    ),
    "another incident's key in Kafka": Poison(
        "rejected", "key_is_not_subject", lambda bus, subject: replace(_signed(bus, subject), key=_KEY)
    ),
}
"""Of another organisation: tests/mdm_actions/test_two_organisations.py, and its like in reporter and notifier."""


async def test_each_poison_ends_where_it_should_and_the_records_behind_it_go_on(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_any_header_name(monkeypatch)
    heard = Heard()
    before = _counted()
    subjects = {name: f"0192f0c1-0000-7000-8000-{secrets.token_hex(6)}" for name in POISON}
    async with bus.hearing(Dispatch({IncidentReopened: heard.handle})):
        for at, (name, poison) in enumerate(POISON.items(), 1):
            await bus.put(
                poison.make(bus, subjects[name]),
                _signed(bus, "a-good-one", value=b'{"reason":"r%d"}' % at, sequence=at),
            )

        async def all_taken() -> bool:
            return await bus.position() >= 2 * len(POISON)

        await until(all_taken, "every record was taken")
    counted = {what: count - before.get(what, 0) for what, count in _counted().items()}
    # A batch that failed was taken again record by record, and the unknown type in it was met twice.
    counted["skipped", ""] = min(counted["skipped", ""], 1)
    wanted = Counter((poison.ends, poison.reason) for poison in POISON.values())
    assert {what: count for what, count in counted.items() if count} == {
        what: count for what, count in wanted.items() if what[0] in ("rejected", "skipped")
    }
    letters = _letters(bus)
    parked = {name: [letter["dlq_error"] for letter in letters.get(at, [])] for name, at in subjects.items()}
    assert parked == {name: [poison.reason] if poison.ends == "parked" else [] for name, poison in POISON.items()}
    assert sorted(heard.reasons) == sorted(["large", *(f"r{at}" for at in range(1, len(POISON) + 1))])


def _counted() -> dict[tuple[str, str], float]:
    """What was rejected, by reason, and skipped."""
    counted: dict[tuple[str, str], float] = {}
    for family in metrics.REGISTRY.collect():
        for sample in family.samples:
            if sample.name == "lostphone_events_rejected_total":
                counted["rejected", sample.labels["reason"]] = sample.value
            elif sample.name == "lostphone_events_skipped_total":
                counted["skipped", ""] = counted.get(("skipped", ""), 0) + sample.value
    return counted


def _changed(record: OutgoingRecord, header: str, value: bytes) -> OutgoingRecord:
    """Somebody changed it on the way."""
    headers = [(name, value if name == header else data) for name, data in record.headers]
    return replace(record, headers=headers)


def _padded(record: OutgoingRecord) -> OutgoingRecord:
    """Somebody added to it what the signature does not cover."""
    return replace(record, headers=[*record.headers, ("x", b"y" * 150_000)])


def _record(
    bus: Bus, subject: str, sequence: int, signer: Signer | None, source: str = "/lostphone/reporter"
) -> OutgoingRecord:
    payload = IncidentReopened(reason="forged")
    envelope = replace(_envelope(subject, sequence, payload.event_type), source=source)
    if signer is None:
        return OutgoingRecord(bus.topic, subject.encode(), envelope.headers(), payload.write())
    headers, value = envelope.sign(signer, payload)
    return OutgoingRecord(bus.topic, subject.encode(), headers, value)


def _signed(
    bus: Bus,
    subject: str,
    *,
    value: bytes = b'{"reason":"x"}',
    sequence: int = 1,
    event_type: str = IncidentReopened.event_type,
    event_id: str | None = None,
) -> OutgoingRecord:
    """What the reporter signed, by a bug or in a later version."""
    signer = Signer("reporter", bus.keys["reporter"])
    headers = replace(_envelope(subject, sequence, event_type, event_id), keyid=signer.keyid).headers()
    signature = signer.sign(subject.encode(), headers, value)
    return OutgoingRecord(bus.topic, subject.encode(), [*headers, ("ce_signature", signature.encode())], value)


def _envelope(subject: str, sequence: int, event_type: str, event_id: str | None = None) -> Envelope:
    return Envelope(
        id=event_id or str(uuid4()),
        source="/lostphone/reporter",
        type=event_type,
        subject=subject,
        time=datetime.now(UTC),
        sequence=sequence,
        organisation="acme-kk",
        actor="service/reporter",
    )
