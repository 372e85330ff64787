"""Syslog: the message of RFC 5424, and its transport over TLS with octet counting (RFC 5425)."""

import asyncio
import contextlib
import re
import socket
import ssl
import time
from asyncio.trsock import TransportSocket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_AUDIT_FACILITY = 13
"""Log audit (RFC 5424, table 1)."""
_SEVERITY_OF = {1: 6, 2: 5, 3: 4, 4: 3, 5: 2}
"""OCSF's severity as syslog's: informational, notice, warning, error, critical."""
_BOM = b"\xef\xbb\xbf"
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_CONNECT_SECONDS = 10.0
_RECENT_SECONDS = 120.0
_RECENT_BYTES = 16_777_216
"""More than the systems on both sides usually hold on the way to a receiver that does not read: 4 and 6 MB."""
_UNTAKEN_SECONDS = 90.0
"""Well below the seconds that are kept."""


def message(*, severity_id: int, timestamp: str, host: str, app: str, kind: str, text: str) -> bytes:
    """One message. Text beyond ASCII is announced by a BOM, as RFC 5424 has it; without need none is sent, since
    some readers of CEF look for it at the very beginning."""
    priority = _AUDIT_FACILITY * 8 + _SEVERITY_OF.get(severity_id, 5)
    header = f"<{priority}>1 {timestamp} {_name(host, 255)} {_name(app, 48)} - {_name(kind, 32)} - "
    body = text.encode()
    return header.encode() + (b"" if text.isascii() else _BOM) + body


def frame(data: bytes) -> bytes:
    """The message with its length before it (RFC 5425, 4.3)."""
    return b"%d %s" % (len(data), data)


def _name(text: str, limit: int) -> str:
    return _NOT_PRINTABLE.sub("-", text)[:limit] or "-"


@dataclass(frozen=True, slots=True)
class Destination:
    """A syslog receiver that speaks TLS. `certificate_file` and `key_file`: ours, where it asks for one."""

    host: str
    port: int = 6514
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Verifies the receiver's name and chain. Raises `OSError` when a file cannot be read."""
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


class SyslogSender:
    """A connection to a receiver, made when it is needed.

    Syslog acknowledges nothing: what was written may lie in a buffer when the other side goes. So what was sent in the
    two minutes before a connection ended is sent again on the next one, however late that comes; receivers know a
    repeat by the event's id. A receiver that does not take what was sent is given up before those two minutes are over.
    """

    def __init__(self, destination: Destination, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._destination = destination
        self._context = destination.context()
        self._clock = clock
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._recent: deque[tuple[float, bytes]] = deque()
        self._recent_bytes = 0
        self._unsure: list[bytes] = []

    async def send(self, messages: Sequence[bytes]) -> None:
        """Hand these over. Raises `OSError` or `TimeoutError` when the receiver cannot be reached or has closed the
        connection: then all of them are to be sent again."""
        try:
            writer = await self._connected()
            await _write(writer, messages)
            if self._is_lost:
                raise ConnectionResetError("the receiver closed the connection")
        except (OSError, TimeoutError):
            await self.close()
            raise
        self._remember(messages)

    @property
    def is_unsure(self) -> bool:
        """Whether a connection ended shortly after something was sent, and that was not sent again yet."""
        return bool(self._unsure) or (self._is_lost and bool(self._still_recent()))

    @property
    def _is_lost(self) -> bool:
        """A receiver never speaks: all that is heard of it is that its side ended, in order or not."""
        if self._streams is None:
            return False
        reader, writer = self._streams
        return reader.at_eof() or reader.exception() is not None or writer.is_closing()

    def _still_recent(self) -> list[bytes]:
        since = self._clock() - _RECENT_SECONDS
        return [data for sent_at, data in self._recent if sent_at >= since]

    def _remember(self, messages: Sequence[bytes]) -> None:
        now = self._clock()
        self._recent.extend((now, data) for data in messages)
        self._recent_bytes += sum(map(len, messages))
        while self._recent and (self._recent_bytes > _RECENT_BYTES or self._recent[0][0] < now - _RECENT_SECONDS):
            self._recent_bytes -= len(self._recent.popleft()[1])

    async def _connected(self) -> asyncio.StreamWriter:
        if self._is_lost:
            await self.close()
        if self._streams is None:
            there = self._destination
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._streams = await asyncio.open_connection(there.host, there.port, ssl=self._context)
            _give_up_when_untaken(self._streams[1].get_extra_info("socket"))
        writer = self._streams[1]
        if self._unsure:
            await _write(writer, self._unsure)
            self._remember(self._unsure)
            self._unsure = []
        return writer

    async def close(self) -> None:
        """End the connection; the next `send` makes a new one."""
        streams, self._streams = self._streams, None
        if streams is not None:
            self._unsure += self._still_recent()
            self._recent.clear()
            self._recent_bytes = 0
            streams[1].close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(streams[1].wait_closed(), 5)


async def _write(writer: asyncio.StreamWriter, messages: Sequence[bytes]) -> None:
    for data in messages:
        writer.write(frame(data))
        await writer.drain()


def _give_up_when_untaken(connection: TransportSocket) -> None:
    """By itself the system tries for a quarter of an hour to reach a receiver that has vanished."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNTAKEN_SECONDS * 1000))
