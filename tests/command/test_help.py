"""Help shows every word, also where a terminal is narrow: Japanese has no spaces at which a line could end."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lostphone.__main__ import app
from lostphone.demo import app as demo
from lostphone.verify import app as verify

_OWN = {"demo": demo, "verify": verify}
"""Commands with options of their own."""


def _commands(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        found = typer.main.get_command(_OWN[name]) if name in _OWN else command.get_command(None, name)
        yield from _commands(found, *words, name)


_ALL = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("columns", ["80", "40"])
@pytest.mark.parametrize("words", _ALL, ids=" ".join)
def test_nothing_is_cut(words: tuple[str, ...], columns: str) -> None:
    command = _ALL[words]
    inside = [command.get_command(None, name) for name in getattr(command, "list_commands", lambda _: ())(None)]
    told = [command.help, *(option.help for option in command.params), *(one.help.split("\n\n")[0] for one in inside)]
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": columns})
    assert shown.exit_code == 0
    letters = Counter("".join("".join(filter(None, told)).split()))
    assert not letters - Counter(shown.stdout)
    assert Counter(shown.stdout)["…"] == letters["…"]
