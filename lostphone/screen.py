"""What the command says, and where: results to standard output, progress and errors to standard error.

People read Japanese or English by their locale (`LOSTPHONE_LANG` wins); programs ask for `--json`.
"""

import json
import os
import select
import stat
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape

DONE, NO, COULD_NOT = 0, 1, 2
"""Exit statuses: done; the answer is no (not proved, refused); could not. docs/operations.md says which is what."""


_WIDE = 240


@dataclass(frozen=True)
class Sentence:
    """One thing to say, in both languages."""

    ja: str
    en: str

    def __str__(self) -> str:
        return self.ja if language() == "ja" else self.en


class SaidNoError(Exception):
    """The answer is no: exit status 1."""

    def __init__(self, ja: str, en: str) -> None:
        super().__init__(en)
        self.sentence = Sentence(ja, en)


class CouldNotError(Exception):
    """It could not be done, and the sentence says what to do about it: exit status 2."""

    def __init__(self, ja: str, en: str) -> None:
        super().__init__(en)
        self.sentence = Sentence(ja, en)


def language() -> str:
    """`ja` or `en`."""
    for name in ("LOSTPHONE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if chosen := os.environ.get(name):
            return "ja" if chosen.lower().startswith("ja") else "en"
    return "en"


def console() -> Console:
    """Where results go. Into a pipe or file nothing is cut to the width of a screen."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=_WIDE, soft_wrap=True)


def settle_rich() -> None:
    """From here on tables, those of the help too, fold a word that is wider than its column. Rich ends it with "…": an
    id that nobody can copy then, and most of a Japanese sentence, which has no spaces. And who stops reading, such as
    `head`, ends the command by the status for that, where rich takes the one that says no."""
    Console.render_lines = _folded  # type: ignore[method-assign]
    Console.on_broken_pipe = _nobody_reads  # type: ignore[method-assign, assignment]


_render_lines = Console.render_lines


def _folded(self: Console, renderable: RenderableType, options: ConsoleOptions | None = None, **how: Any) -> Any:
    if options is not None and options.overflow == "ellipsis":
        options = options.update(overflow="fold")
    return _render_lines(self, renderable, options, **how)


def _nobody_reads(*_: Any) -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails once more while it ends
    raise SystemExit(COULD_NOT)


def end_when_nobody_reads() -> None:
    """From here on, whoever closes the pipe that results go to ends the command at once, and not only when it has more
    to say. For a command that writes now and then, and leaves nothing behind that has to be put in order."""
    if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        threading.Thread(target=_wait_for_the_reader, name="reader", daemon=True).start()


def _wait_for_the_reader() -> None:
    pipe = select.poll()
    pipe.register(sys.stdout, 0)  # that the other end is closed is told unasked
    pipe.poll()
    os._exit(COULD_NOT)


def foreign(text: str) -> str:
    """What somebody else wrote, to be shown among words of ours: it draws nothing, and a terminal obeys none of it."""
    return escape("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def why(error: Exception) -> str:
    """What went wrong, as a part of a sentence: of what the system says its words, without number and path."""
    if isinstance(error, TimeoutError) and not str(error):
        return str(Sentence("時間内に応答がありません", "no answer in time"))
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def what(error: Exception) -> str:
    """The same with the file, for a sentence that does not name one."""
    file = error.filename if isinstance(error, OSError) else None
    return f"{file}: {why(error)}" if file else why(error)


def progress(ja: str, en: str) -> None:
    """One line on standard error."""
    print(Sentence(ja, en), file=sys.stderr, flush=True)


def result(data: Any, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print a result: as one JSON document for programs, or as `show` draws it for people."""
    if as_json:
        write_json(data, indent=True)
    else:
        show(console())


def write_json(data: Any, *, indent: bool = False) -> None:
    """One JSON document on standard output."""
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        text = orjson.dumps(data, option=option).decode()
    except orjson.JSONEncodeError:  # a number over 64 bits, or half a character, out of what is judged
        text = json.dumps(data, indent=2 if indent else None)
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _nobody_reads()
