"""What cannot end well is refused before anything is started, removed or played."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lostphone import running
from lostphone.__main__ import app
from lostphone.demo.keepsakes import claim
from lostphone.installation import Installation
from lostphone.screen import CouldNotError, SaidNoError


def refusal(*words: str) -> BaseException | None:
    return CliRunner().invoke(app, words).exception


def test_up_fresh_of_what_runs_says_no_and_removes_nothing(tmp_path: Path) -> None:
    data = Installation.open(tmp_path / "data").data_dir
    before = sorted(data.rglob("*"))
    with running.hold(data):
        said = refusal("up", "--detach", "--fresh", "--data-dir", str(data))
        assert isinstance(said, SaidNoError)
        assert "lostphone down" in said.sentence.en
    assert set(before) <= set(data.rglob("*"))


def test_a_demo_does_not_take_a_folder_with_other_things_in_it(tmp_path: Path) -> None:
    letters = tmp_path / "letters.txt"
    letters.write_text("mine")
    said = refusal("demo", "--folder", str(tmp_path), "--data-dir", str(tmp_path / "data"))
    assert isinstance(said, CouldNotError)
    assert "letters.txt" in said.sentence.en
    assert letters.read_text() == "mine"
    assert not (tmp_path / "data").exists()


def test_a_demo_is_not_played_for_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refusal("demo", "--folder", str(tmp_path / "file" / "demo"), "--data-dir", str(tmp_path / "data"))
    assert isinstance(said, CouldNotError)
    assert not (tmp_path / "data").exists()


def test_what_an_earlier_demo_left_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "timeline.html").write_text("")
    (tmp_path / "evidence").mkdir()
    claim(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ["report", "--answers"],
        ["approve", "an-incident", "--key"],
        ["ops", "inventory", "import"],
        ["ops", "status", "--installation"],
        ["ops", "restore"],
    ],
    ids=" ".join,
)
def test_a_file_that_is_not_there_is_named_once_and_in_words(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOSTPHONE_DATA", str(tmp_path / "data"))
    said = refusal(*words, str(tmp_path / "nothing"))
    assert isinstance(said, CouldNotError)
    assert said.sentence.en.endswith(": No such file or directory")
    assert said.sentence.en.count("nothing") == 1


def test_a_wipe_is_not_proposed_by_who_declines(tmp_path: Path) -> None:
    said = refusal("approve", "an-incident", "--as", "propose", "--decline", "--data-dir", str(tmp_path))
    assert isinstance(said, CouldNotError)
    assert "--decline" in said.sentence.en
