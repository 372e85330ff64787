"""Text that leaves for screens and lines of other systems: nothing in it ends a line, hides or turns around."""

import re

MAX_TEXT = 512
"""Longer text is cut: what is longer was not written by a service of ours."""

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: line ends, escapes of terminals
    "\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, bidi, line separators
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # letters and marks that show nothing
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e0fff]"  # surrogates, noncharacters, tags
)


def neutral(text: str, *, limit: int | None = MAX_TEXT) -> str:
    """The same text with each control, bidi and invisible character spelt out, as `<U+202E>`, and bounded."""
    return _spelt(text[:limit], "<U+{:04X}>")[:limit]


def neutral_page(html: str) -> str:
    """The same for a whole page, line by line: line ends are how it is written."""
    return "\n".join(_spelt(line, "&lt;U+{:04X}&gt;") for line in html.split("\n"))


def _spelt(text: str, spelling: str) -> str:
    return _UNSAFE.sub(lambda found: spelling.format(ord(found[0])), text)
