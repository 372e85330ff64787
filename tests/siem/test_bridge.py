"""The bridge: from Kafka to a syslog receiver over TLS, whole lines, in order, at least once."""

import asyncio
import contextlib
import os
import secrets
import socket
import ssl
import struct
import subprocess
import sys
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
from tests.audit.running import eventually
from tests.siem.certificates import certificates
from tests.siem.entries import Entries

_STORY = ("DeviceLost", "ContainmentPlanned", "DeviceLocked", "WipeRequested", "WipeConfirmed", "CarrierSuspended")


@dataclass
class Receiver:
    """A syslog receiver as RFC 5425 has it: TLS, and the length before each message."""

    context: ssl.SSLContext
    hang_up_after: int | None = None
    reset: bool = False
    """Hang up without a word, as the system does for a process that was killed with something unread."""
    stall_after: int | None = None
    messages: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _heard: asyncio.Event = field(default_factory=asyncio.Event)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Receiver"]:
        server = await asyncio.start_server(self._receive, "127.0.0.1", self.port, ssl=self.context)
        # As much as a system gives by itself, usually.
        server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 3_000_000)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._over.set()

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
                if len(self.messages) == self.stall_after:
                    writer.transport.pause_reading()  # type: ignore[attr-defined]
                    await self._over.wait()
                    break
        if self.reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return
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


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_what_a_receiver_may_have_lost_is_kept_for_as_long_as_it_is_away(reset: bool, tmp_path: Path) -> None:
    made = certificates(tmp_path)
    now = [0.0]
    receiver = Receiver(made.server(), hang_up_after=2, reset=reset)
    async with receiver.listening():
        port = receiver.port
        sender = SyslogSender(Destination("localhost", port, made.ca_file), clock=lambda: now[0])
        await sender.send([b"one", b"two"])
        await eventually(lambda: _is_unsure(sender))
    with pytest.raises(OSError, match=r"Connect call failed|Multiple exceptions"):
        await sender.send([b"three"])
    now[0] += 3600
    assert sender.is_unsure
    back = Receiver(made.server(), port=port)
    async with back.listening():
        await sender.send([b"three"])
        await back.until(3)
        await sender.close()
    assert back.messages == [b"one", b"two", b"three"]


async def test_what_lies_on_the_way_to_a_receiver_that_stopped_reading_is_sent_again(tmp_path: Path) -> None:
    made = certificates(tmp_path)
    stalled = Receiver(made.server(), stall_after=5)
    batches = [[b"%06d %s" % (at * 100 + number, b"x" * 3000) for number in range(100)] for at in range(100)]
    async with stalled.listening():
        sender = SyslogSender(Destination("localhost", stalled.port, made.ca_file))
        sent = await _sent_until_stuck(sender, batches)
    assert len(stalled.messages) == 5
    back = Receiver(made.server(), port=stalled.port)
    async with back.listening():
        with pytest.raises(ConnectionError):
            await sender.send(batches[sent])
        for batch in batches[sent : sent + 2]:
            await sender.send(batch)
        await back.until((sent + 2) * 100)
        await sender.close()
    assert back.messages == [data for batch in batches[: sent + 2] for data in batch]


async def _is_unsure(sender: SyslogSender) -> bool:
    return sender.is_unsure


async def _sent_until_stuck(sender: SyslogSender, batches: list[list[bytes]]) -> int:
    for sent, batch in enumerate(batches):
        try:
            async with asyncio.timeout(3):
                await sender.send(batch)
        except TimeoutError:
            return sent
    raise AssertionError("the receiver took everything")


@pytest.mark.parametrize(
    ("to", "said"),
    [("[::1", "cannot be set up"), ("logs.example:99999", "Port out of range"), ("logs..example", "label empty")],
)
def test_an_address_that_cannot_be_is_refused_in_a_sentence(to: str, said: str) -> None:
    command = [sys.executable, "-m", "services.audit", "bridge", to]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


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
