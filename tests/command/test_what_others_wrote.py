"""What stands in a record is shown as it is: it neither draws nor moves anything on the operator's terminal."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from lostphone.commands import dead_letters, tail
from lostphone.dead_letters import DeadLetter
from lostphone.screen import foreign
from shared.events import Envelope, Event, Received


@pytest.mark.parametrize("text", ["[/x]", "[bold]", "案件"])
def test_markup_is_text(text: str) -> None:
    out = io.StringIO()
    Console(file=out).print(foreign(text))
    assert out.getvalue() == f"{text}\n"


def test_a_terminal_obeys_nothing() -> None:
    assert foreign("\x1b[31mred\r\n") == "�[31mred��"


def test_dead_letters_and_events_of_a_strange_type_are_shown() -> None:
    out = io.StringIO()
    screen = Console(file=out, width=400)
    record = Received("t", 0, 0, 0, b"k", (("[/x]", b"[/y]"),), b"{}")
    letter = DeadLetter("notifier/0@0", "notifier", "", "[/x]", "k", "", "t/0@0", "[/z]", "", record)
    dead_letters._draw(screen, [letter])
    dead_letters._draw_whole(screen, [letter])
    envelope = Envelope("1", "/lostphone/reporter", "[/x]", "01", datetime.now(UTC), 1, "acme-kk", "[/who]")
    tail._draw(screen, Event(envelope, b"{}", record))
    assert all(text in out.getvalue() for text in ("[/x]", "[/x]: [/y]", "[/z]", "[/who]"))
