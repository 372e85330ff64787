"""Connections: how many may be open, how they are shared between sources, and how long a request may take to arrive.

uvicorn bounds neither a client that connects and says nothing, nor one that fills every place. Here the head of a
request must have arrived within seconds, and when all places are taken, the source that holds the most gives one up:
whoever comes from elsewhere gets in.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from shared.telemetry import metrics
from shared.web.source import source_of

HEAD_SECONDS = 10.0
MAX_CONNECTIONS = 500
MAX_HEAD_BYTES = 16 * 1024


class Places:
    """The open connections of one server, by source."""

    def __init__(self, most: int = MAX_CONNECTIONS, head_seconds: float = HEAD_SECONDS) -> None:
        self.most = most
        self.head_seconds = head_seconds
        self._held: dict[str, set[Connection]] = {}
        self._count = 0

    def protocol(self) -> Callable[..., "Connection"]:
        """What uvicorn makes a connection with."""

        def made(**given: Any) -> Connection:
            return Connection(self, **given)

        return made

    def enter(self, connection: "Connection") -> bool:
        """Take a place. False when none is left for this source."""
        held = self._held.setdefault(connection.source, set())
        held.add(connection)
        self._count += 1
        if self._count <= self.most:
            return True
        metrics.HTTP_LIMITED.labels(route="connections").inc()
        largest = max(self._held.values(), key=len)
        if largest is held:
            return False
        given_up = next((one for one in largest if not one.at_work), None) or next(iter(largest))
        given_up.end()
        return True

    def leave(self, connection: "Connection") -> None:
        """Give the place back; once is enough."""
        held = self._held.get(connection.source, set())
        if connection in held:
            held.remove(connection)
            self._count -= 1
            if not held:
                del self._held[connection.source]


class Connection(H11Protocol):
    """One connection, which holds a place while it is open."""

    def __init__(self, places: Places, **given: Any) -> None:
        super().__init__(**given)
        self._places = places
        self._head: asyncio.TimerHandle | None = None
        self.source = "unknown"

    @property
    def at_work(self) -> bool:
        """Whether a request has arrived and is not answered yet."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def end(self) -> None:
        """Cut the connection."""
        self._places.leave(self)
        self._stop_waiting()
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.source = source_of(self.client[0] if self.client else None)
        if self._places.enter(self):
            self._wait_for_head()
        else:
            self.end()

    def data_received(self, data: bytes) -> None:
        if self._head is None and not self.at_work:
            self._wait_for_head()
        super().data_received(data)
        if self.at_work:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        # The pause between two requests is bounded by uvicorn's keep-alive.
        self._stop_waiting()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._places.leave(self)
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._head = self.loop.call_later(self._places.head_seconds, self.end)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
