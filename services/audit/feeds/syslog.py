"""Syslog: the message of RFC 5424, and its transport over TLS with octet counting (RFC 5425)."""

import asyncio
import contextlib
import re
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_AUDIT_FACILITY = 13
"""Log audit (RFC 5424, table 1)."""
_SEVERITY_OF = {1: 6, 2: 5, 3: 4, 4: 3, 5: 2}
"""OCSF's severity as syslog's: informational, notice, warning, error, critical."""
_BOM = b"\xef\xbb\xbf"
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_CONNECT_SECONDS = 10.0
_RECENT_SECONDS = 30.0
_RECENT_MESSAGES = 2000


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
    last half minute is sent again on the next connection; receivers know a repeat by the event's id.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._context = destination.context()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._recent: deque[tuple[float, bytes]] = deque(maxlen=_RECENT_MESSAGES)

    async def send(self, messages: Sequence[bytes]) -> None:
        """Hand these over. Raises `OSError` or `TimeoutError` when the receiver cannot be reached or has closed the
        connection: then all of them are to be sent again."""
        try:
            reader, writer = await self._connected()
            for data in messages:
                writer.write(frame(data))
                await writer.drain()
            if reader.at_eof():
                raise ConnectionResetError("the receiver closed the connection")
        except (OSError, TimeoutError):
            await self.close()
            raise
        now = time.monotonic()
        self._recent.extend((now, data) for data in messages)

    @property
    def is_unsure(self) -> bool:
        """Whether the receiver went away shortly after it was sent something."""
        return self._streams is not None and self._streams[0].at_eof() and bool(self._still_recent())

    def _still_recent(self) -> list[bytes]:
        since = time.monotonic() - _RECENT_SECONDS
        return [data for sent_at, data in self._recent if sent_at >= since]

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            # A receiver never speaks: the end of its side is all that it can say.
            await self.close()
        if self._streams is None:
            there = self._destination
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._streams = await asyncio.open_connection(there.host, there.port, ssl=self._context)
            for data in self._still_recent():
                self._streams[1].write(frame(data))
            await self._streams[1].drain()
        return self._streams

    async def close(self) -> None:
        """End the connection; the next `send` makes a new one."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(streams[1].wait_closed(), 5)
