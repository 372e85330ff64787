"""The bridge: from Kafka to a syslog receiver over TLS, whole lines, in order, at least once."""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
from aiokafka import ConsumerRecord
from confluent_kafka.admin import AdminClient, NewTopic

from services.audit.feeds.bridge import Bridge, Format
from services.audit.feeds.cef import CefEvent
from services.audit.feeds.leef import LeefEvent
from services.audit.feeds.ocsf import ocsf_of_entry
from services.audit.feeds.syslog import Destination, SyslogSender, message
from shared.messaging.kafka import KafkaConnection, OutgoingRecord, Producer
from tests.siem.certificates import certificates
from tests.siem.entries import Entries

_STORY = ("DeviceLost", "ContainmentPlanned", "DeviceLocked", "WipeRequested", "WipeConfirmed", "CarrierSuspended")


@dataclass
class Receiver:
    """A syslog receiver as RFC 5425 has it: TLS, and the length before each message."""

    context: ssl.SSLContext
    hang_up_after: int | None = None
    messages: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Receiver"]:
        server = await asyncio.start_server(self._receive, "127.0.0.1", 0, ssl=self.context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                length = await reader.readuntil(b" ")
                self.messages.append(await reader.readexactly(int(length)))
                self._heard.set()
                if self.hang_up_after is not None and len(self.messages) >= self.hang_up_after:
                    self.hang_up_after = None
                    break
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def until(self, count: int) -> None:
        """So many different messages came."""
        async with asyncio.timeout(60):
            while len(set(self.messages)) < count:
                self._heard.clear()
                await self._heard.wait()


@pytest.fixture
async def topic(kafka: str) -> AsyncIterator[str]:
    name = f"test.ocsf.{secrets.token_hex(6)}"
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 0})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    yield name
    admin.delete_topics([name])[name].result(30)


def _records(folder: Path, topic: str, count: int) -> list[OutgoingRecord]:
    entries = Entries(folder)
    incident = "0192f0c1-0000-7000-8000-00000000aaaa"
    told = [
        ocsf_of_entry(entries.row(entries.writers.record(_STORY[at % 6], incident)), entries.version)
        for at in range(count)
    ]
    return [OutgoingRecord(topic, record.key, record.headers, record.value) for record in told if record is not None]


@contextlib.asynccontextmanager
async def _bridging(kafka: str, topic: str, to: Destination, form: Format = "cef") -> AsyncIterator[None]:
    bridge = Bridge(KafkaConnection(kafka), SyslogSender(to), form, group=f"test-{topic}", topic=topic)
    work = asyncio.ensure_future(bridge.run())
    try:
        yield
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def _produce(kafka: str, records: list[OutgoingRecord]) -> None:
    producer = Producer(KafkaConnection(kafka), "test-bridge")
    assert await producer.send(records) == [None] * len(records)
    await producer.close()


async def test_every_event_arrives_as_one_cef_line_in_order(kafka: str, topic: str, tmp_path: Path) -> None:
    made = certificates(tmp_path)
    records = _records(tmp_path, topic, 12)
    await _produce(kafka, [*records[:6], OutgoingRecord(topic, None, [], b"no event"), *records[6:]])
    receiver = Receiver(made.server())
    async with receiver.listening(), _bridging(kafka, topic, Destination("localhost", receiver.port, made.ca_file)):
        await receiver.until(12)
    lines = [data.decode() for data in receiver.messages]
    assert all(len(line.splitlines()) == 1 for line in lines)
    events = [CefEvent.parse(line[line.index("CEF:0") :]) for line in lines]
    sent = [orjson.loads(record.value or b"") for record in records]
    assert [event.extension["externalId"] for event in events] == [event["metadata"]["uid"] for event in sent]
    assert lines[0].startswith("<107>1 2026-11-24T23:40:01.000+09:00 ")
    assert " lostphone-reporter - DeviceLost - CEF:0|" in lines[0]


async def test_what_a_receiver_hung_up_on_is_sent_again(kafka: str, topic: str, tmp_path: Path) -> None:
    made = certificates(tmp_path)
    receiver = Receiver(made.server(), hang_up_after=95)
    async with receiver.listening(), _bridging(kafka, topic, Destination("localhost", receiver.port, made.ca_file)):
        records = _records(tmp_path, topic, 100)
        for at in range(0, 100, 10):
            await _produce(kafka, records[at : at + 10])
        await receiver.until(100)
    assert receiver.connections >= 2


async def test_a_receiver_that_is_away_is_waited_for(kafka: str, topic: str, tmp_path: Path) -> None:
    made = certificates(tmp_path)
    receiver = Receiver(made.server())
    async with receiver.listening():
        port = receiver.port
    await _produce(kafka, _records(tmp_path, topic, 3))
    async with _bridging(kafka, topic, Destination("localhost", port, made.ca_file)):
        await asyncio.sleep(0)
        server = await asyncio.start_server(receiver._receive, "127.0.0.1", port, ssl=receiver.context)
        await receiver.until(3)
        server.close()


@pytest.mark.parametrize("wrong", ["authority", "name"])
async def test_a_receiver_that_is_somebody_else_hears_nothing(wrong: str, tmp_path: Path) -> None:
    made = certificates(tmp_path)
    (tmp_path / "other").mkdir()
    other = certificates(tmp_path / "other", name="siem.example" if wrong == "name" else "localhost")
    receiver = Receiver(other.server())
    trusted = other.ca_file if wrong == "name" else made.ca_file
    async with receiver.listening():
        with pytest.raises(ssl.SSLCertVerificationError):
            await SyslogSender(Destination("localhost", receiver.port, trusted)).send([b"x"])
    assert receiver.messages == []


async def test_a_receiver_that_asks_for_a_certificate_gets_ours(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    receiver = Receiver(made.server(ask=True))
    async with receiver.listening():
        to = Destination("localhost", receiver.port, made.ca_file, made.client_file, made.client_key_file)
        sender = SyslogSender(to)
        await sender.send([b"one", b"two"])
        await receiver.until(2)
        await sender.close()
    assert receiver.messages == [b"one", b"two"]


@pytest.mark.parametrize("form", ["cef", "leef", "json"])
def test_each_form_is_one_line_that_reads_back(form: Format, tmp_path: Path) -> None:
    (record,) = _records(tmp_path, "t", 1)
    bridge = Bridge(KafkaConnection("127.0.0.1:1"), SyslogSender(Destination("localhost")), form)
    line = bridge.line(_consumed(record.value))
    assert line is not None
    text = line.decode().split(" - ", 2)[2]
    event = orjson.loads(record.value or b"")
    if form == "cef":
        assert CefEvent.parse(text).extension["externalId"] == event["metadata"]["uid"]
    elif form == "leef":
        assert LeefEvent.parse(text).attributes["eventUid"] == event["metadata"]["uid"]
    else:
        assert orjson.loads(text) == event
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b"\xff", b'{"severity_id": 1}', None])
def test_what_is_no_event_is_passed_over(value: bytes | None) -> None:
    bridge = Bridge(KafkaConnection("127.0.0.1:1"), SyslogSender(Destination("localhost")), "cef")
    assert bridge.line(_consumed(value)) is None


def test_text_beyond_ascii_is_announced_by_a_bom() -> None:
    said = {"severity_id": 5, "timestamp": "2026-11-24T23:40:01.000+09:00", "host": "a b", "app": "x", "kind": ""}
    assert message(**said, text="ok") == b"<106>1 2026-11-24T23:40:01.000+09:00 a-b x - - - ok"
    assert message(**said, text="紛失").endswith(b" - \xef\xbb\xbf" + "紛失".encode())


def _consumed(value: bytes | None) -> ConsumerRecord:
    return ConsumerRecord("t", 0, 0, 0, 0, None, value, 0, 0, 0, ())
