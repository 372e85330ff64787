"""Text that leaves for screens and lines of other systems: nothing in it ends a line, hides or turns around."""

import re

MAX_TEXT = 512
"""Longer text is cut: what is longer was not written by a service of ours."""

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: line ends, escapes of terminals
    "\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, bidi, line separators
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e0fff]"  # surrogates, noncharacters, tags
)


def neutral(text: str, *, limit: int | None = MAX_TEXT) -> str:
    """The same text with each control, bidi and invisible character spelt out, as `<U+202E>`, and bounded."""
    return _UNSAFE.sub(lambda found: f"<U+{ord(found[0]):04X}>", text[:limit])[:limit]
