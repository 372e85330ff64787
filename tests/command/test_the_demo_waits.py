"""The demo waits for what goes on, however slow the machine is, and not for what stands still."""

import itertools
from pathlib import Path

import pytest

from lostphone.demo.watch import Watch
from lostphone.screen import CouldNotError
from shared.events import KeyRing


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    keys = tmp_path / "event-keys.json"
    keys.write_text("{}")
    return Watch({}, KeyRing(keys), lambda _: None)


def test_what_comes_further_is_waited_for(watch: Watch) -> None:
    told = itertools.count()
    watch.until(lambda: next(told) > 20, "NoticesSent", 0.01, lambda: next(told))
    assert next(told) > 20


def test_what_stands_still_is_given_up(watch: Watch) -> None:
    told = iter([1, 2, 2, 3])
    with pytest.raises(CouldNotError, match="NoticesSent did not arrive"):
        watch.until(lambda: False, "NoticesSent", 0.01, lambda: next(told))
    assert list(told) == [3]
