"""What the audience sees: the chapters of the story, and each event as it arrives, with who did it.

On a terminal the events roll by above a line that says what is being waited for; elsewhere they are plain lines;
with `--json` every line is one JSON document, whose keys and words are the same for readers of every language.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lostphone.screen import Sentence, write_json
from shared.events import Event, Reading

_SERVICE_COLOUR = {"reporter": "cyan", "mdm_actions": "magenta", "notifier": "yellow", "audit": "green"}
_GIST = (
    "door", "kind", "role", "proof", "mode", "trigger", "assurance", "read_back", "accuracy_m", "reason", "rule", "due",
    "people", "by_state", "receipt", "playbook", "outcome", "measure", "version", "leak", "edition", "channel",
    "facility",
)  # fmt: skip
"""Fields that say most about an event, where it has them."""
_WHO_CELLS = 29


@dataclass(frozen=True)
class Fact:
    """One row of a table: `key` and `value` for programs, `name` and `shown` for people."""

    key: str
    value: str | float
    name: Sentence | str
    shown: str


class Screen:
    """One audience. Methods may be called from any thread."""

    def __init__(self, *, as_json: bool, names: Mapping[str, str], console: Console | None = None) -> None:
        self._as_json = as_json
        self._names = names
        self._console = console or Console(highlight=False)
        self._lock = threading.Lock()

    def chapter(self, ja: str, en: str) -> None:
        """A new part of the story."""
        self._line("chapter", Sentence(ja, en), Text(f"\n{Sentence(ja, en)}", style="bold"))

    def say(self, ja: str, en: str) -> None:
        """One sentence of the story."""
        self._line("say", Sentence(ja, en), Text(f"  {Sentence(ja, en)}"))

    @contextmanager
    def waiting(self, ja: str, en: str) -> Iterator[None]:
        """Say what is being waited for while the block runs."""
        if self._as_json or not self._console.is_terminal:
            yield
            return
        with self._console.status(str(Sentence(ja, en))):
            yield

    def event(self, reading: Reading) -> None:
        """One record of the log."""
        if not isinstance(reading, Event):
            if self._as_json:
                self._write({"kind": reading.kind, "reason": reading.reason})
            else:
                self._print(Text(f"    ✗ {reading.kind}: {reading.reason}", style="red"))
            return
        data = orjson.loads(reading.value)
        envelope = reading.envelope
        name = reading.entry.name if reading.entry is not None else envelope.type
        who = self._who(envelope.actor)
        if self._as_json:
            self._write(
                {
                    "kind": "event",
                    "event": name,
                    "id": envelope.id,
                    "subject": envelope.subject,
                    "sequence": envelope.sequence,
                    "time": envelope.time.isoformat(timespec="milliseconds"),
                    "actor": envelope.actor,
                    "data": data,
                }
            )
            return
        service = envelope.source.rpartition("/")[2]
        line = Text("    ")
        line.append(envelope.time.astimezone().strftime("%H:%M:%S.%f")[:-5], style="dim")
        line.append(f"  {name:<24}", style=_SERVICE_COLOUR.get(service, "white"))
        # Japanese letters take two cells each.
        line.append(f" {who}{' ' * max(2, _WHO_CELLS - cell_len(who))}", style="dim")
        line.append(_gist(data))
        self._print(line)

    def table(self, title: Sentence, facts: list[Fact], kind: str) -> None:
        """A few facts, side by side."""
        if self._as_json:
            self._write({"kind": kind, **{fact.key: fact.value for fact in facts}})
            return
        table = Table(title=str(title), title_justify="left", title_style="bold", show_header=False, box=None)
        for fact in facts:
            table.add_row(f"  {fact.name}", fact.shown)
        with self._lock:
            self._console.print()
            self._console.print(table)

    def _who(self, actor: str) -> str:
        person, _, role = actor.partition("/")
        return f"{self._names[person]} ({role})" if person in self._names else role if person == "service" else actor

    def _line(self, kind: str, sentence: Sentence, text: Text) -> None:
        if self._as_json:
            self._write({"kind": kind, "ja": sentence.ja, "en": sentence.en})
        else:
            self._print(text)

    def _print(self, text: Text) -> None:
        with self._lock:
            self._console.print(text, soft_wrap=True)

    def _write(self, document: dict[str, Any]) -> None:
        with self._lock:
            write_json(document)


def _gist(data: Mapping[str, Any]) -> str:
    said = []
    for name in _GIST:
        value = data.get(name)
        if value is None or value == []:
            continue
        shown = value if isinstance(value, str | int) else orjson.dumps(value).decode()
        said.append(f"{name}={shown}")
    return "  ".join(said)[:110]


def clock(moment: str | None) -> datetime | None:
    """A moment as events write it."""
    return datetime.fromisoformat(moment) if moment else None
