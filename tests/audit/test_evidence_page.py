"""The page of a bundle reads as what was recorded: nothing on it hides, or turns around what stands beside it."""

from pathlib import Path

import pytest

from services.audit.clerk import Export
from services.audit.evidence import verify
from services.audit.evidence.bundle import Shown
from services.audit.evidence.text import timeline_page
from services.audit.reader import Published
from shared.vault import Disclosure
from tests.audit.forger import INCIDENT, INDEX, Forger

_SPELT = "&lt;U+202E&gt;"


@pytest.fixture
def forger(tmp_path: Path) -> Forger:
    return Forger(tmp_path)


def _page(forger: Forger, *values: str, name: str = "narrative") -> str:
    rows = [
        {"seq": seq, "n": header["n"], "kind": header["k"], "leaf": leaf, "detached": None,
         "leaf_hash": verify.leaf_hash(leaf)}
        for seq, (header, leaf) in enumerate(zip(forger.headers, forger.leaves(), strict=True))
        if header.get("i") == INCIDENT
    ]  # fmt: skip
    shown = [Disclosure.of(name, value) for value in values]
    fields = {0: [Shown(one.digest, one.text) for one in shown]}
    export = Export(INCIDENT, "acme-kk", INDEX, INDEX + 1, None, ())
    return timeline_page(export, Published(len(rows), forger.note()), rows, fields)


def _cells(page: str) -> list[str]:
    return [part.partition("</bdi>")[0] for part in page.split('<bdi class="value">')[1:]]


def test_a_value_that_would_read_otherwise_is_spelt_out_and_set_apart(forger: Forger) -> None:
    page = _page(forger, "wiped \u202edepiw ton\u202c", "a\u200bb\x1b\x85\u2028c\ufeff", "<b>\u2066</b>")
    assert _cells(page) == [
        f"wiped {_SPELT}depiw ton&lt;U+202C&gt;",
        "a&lt;U+200B&gt;b&lt;U+001B&gt;&lt;U+0085&gt;&lt;U+2028&gt;c&lt;U+FEFF&gt;",
        "&lt;b&gt;&lt;U+2066&gt;&lt;/b&gt;",
    ]
    assert page.count('href="disclosures/0.json"') == 3, "where the value itself lies"


def test_lines_of_a_value_stay_lines_and_all_of_a_long_one_is_shown(forger: Forger) -> None:
    page = _page(forger, "一行目\r\n二行目\n三行目", "長い" * 2000)
    assert _cells(page) == ["一行目\n二行目\n三行目", "長い" * 2000]
    assert "disclosures/0.json" not in page


def test_no_other_text_on_the_page_hides_or_turns_around_either(forger: Forger) -> None:
    line, _, value = forger.rests[2][1:].partition(b"\n")
    forger.rests[2] = b"\n" + line.replace(forger.lost.encode(), "a\u202eb".encode()) + b"\n" + value
    page = _page(forger, "x", name="narr\u202eative")
    assert f"a{_SPELT}b" in page
    assert f"narr{_SPELT}ative" in page
    assert "\u202e" not in page


def test_who_acted_is_said_with_the_role_in_both_languages(forger: Forger) -> None:
    page = _page(forger)
    assert "権限 従業員" in page
    assert "in the role of employee" in page
