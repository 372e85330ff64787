"""Follows the log in the background: every event is shown as it arrives, and the story can wait for one."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import orjson

from lostphone.screen import CouldNotError
from lostphone.topic_reader import follow
from lostphone.topics import BrokerError
from shared.events import LOG_TOPIC, Event, KeyRing, Reading, read

_ENDS_WITHIN: Final = 10.0

type Test = Callable[[dict[str, Any]], bool]
type Progress = Callable[[], object]


class Watch:
    """Events of the log from now on. A thread of its own reads them; any other may wait."""

    def __init__(self, connection: Mapping[str, Any], keyring: KeyRing, show: Callable[[Reading], None]) -> None:
        self._connection = connection
        self._keyring = keyring
        self._show = show
        self._seen: list[Event] = []
        self._arrived = threading.Condition()
        self._failed: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)
        self.subject: str | None = None
        """The incident whose events count for `wait` and `find`."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Follow no more: a broker that ends is none of its business."""
        self._stop.set()
        self._thread.join(_ENDS_WITHIN)

    def _follow(self) -> None:
        try:
            for received in follow(self._connection, [LOG_TOPIC], stop=self._stop):
                reading = read(received, self._keyring)
                self._show(reading)
                with self._arrived:
                    if isinstance(reading, Event):
                        self._seen.append(reading)
                    self._arrived.notify_all()
        except BrokerError as error:
            with self._arrived:
                self._failed = str(error)
                self._arrived.notify_all()

    def find(self, name: str, test: Test = lambda _: True) -> Event | None:
        """The first event of this name in the incident that passes the test, if it has come."""
        for event in self._seen:
            if event.entry is None or event.entry.name != name or event.envelope.subject != self.subject:
                continue
            if test(orjson.loads(event.value)):
                return event
        return None

    def all(self, name: str) -> list[dict[str, Any]]:
        """The data of every event of this name that has come in the incident."""
        return [
            orjson.loads(event.value)
            for event in self._seen
            if event.entry is not None and event.entry.name == name and event.envelope.subject == self.subject
        ]

    def count(self, name: str) -> int:
        """How many events of this name have come, of any subject."""
        return sum(event.entry is not None and event.entry.name == name for event in self._seen)

    def wait(
        self, name: str, *, within: float = 60, test: Test = lambda _: True, progress: Progress = lambda: None
    ) -> dict[str, Any]:
        """The data of the first such event, waiting for it. Raises `CouldNotError` when it does not come."""
        self.until(lambda: self.find(name, test) is not None, name, within, progress)
        found = self.find(name, test)
        return orjson.loads(found.value) if found is not None else {}

    def until(self, true: Callable[[], bool], what: str, within: float = 60, progress: Progress = lambda: None) -> None:
        """Wait for a condition over what has arrived. Raises `CouldNotError` when it does not come true.

        `progress`: how far it is. What has come further in this time is given as much again.
        """
        reached = progress()
        deadline = time.monotonic() + within
        with self._arrived:
            while not true():
                left = deadline - time.monotonic()
                if left <= 0 and (now := progress()) != reached:
                    reached, deadline = now, time.monotonic() + within
                    continue
                if left <= 0 or self._failed is not None:
                    raise CouldNotError(
                        f"{what} が {within:.0f} 秒以内に届きませんでした。{self._failed or ''}",
                        f"{what} did not arrive within {within:.0f} seconds. {self._failed or ''}",
                    )
                self._arrived.wait(min(left, 0.5))
