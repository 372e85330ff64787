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


@pytest.mark.parametrize("token", ["トークン", "two\nlines"])
def test_what_cannot_be_a_token_is_not_sent(token: str) -> None:
    said = refusal("timeline", "an-incident", "--url", "http://127.0.0.1:1", "--token", token)
    assert isinstance(said, CouldNotError)
    assert "token" in said.sentence.en
    assert token not in said.sentence.en


def test_signing_in_to_kafka_needs_all_of_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSTPHONE_KAFKA_SECURITY", "SASL_SSL")
    monkeypatch.setenv("LOSTPHONE_KAFKA_USERNAME", "operator")
    said = refusal("ops", "topics", "list", "--bootstrap", "127.0.0.1:1")
    assert isinstance(said, CouldNotError)
    assert "LOSTPHONE_KAFKA_PASSWORD, LOSTPHONE_KAFKA_CA_FILE" in said.sentence.en


def test_a_file_that_describes_no_installation_is_refused_without_what_it_says(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    file.write_text('{"data_dir": 7, "password": "a secret"}')
    said = refusal("ops", "status", "--installation", str(file))
    assert isinstance(said, CouldNotError)
    assert said.sentence.en == f"{file} does not describe an installation: data_dir: Input should be a valid string"


@pytest.mark.parametrize("dsn", ["nonsense", "postgresql://u:p@127.0.0.1:99999/x"])
def test_a_database_address_that_is_none_is_refused(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSTPHONE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("LOSTPHONE_EVENT_KEYS_FILE", str(tmp_path / "event-keys.json"))
    for words in (["ops", "ocsf", "replay", "--dry-run", "--dsn"], ["ops", "close-log", "--postgres"]):
        assert isinstance(refusal(*words, dsn), CouldNotError)


def test_no_backup_is_made_whose_keys_cannot_be_kept(tmp_path: Path) -> None:
    words = ["ops", "backup", str(tmp_path / "backup"), "--postgres", "postgresql://127.0.0.1:1/x", "--without-log"]
    said = refusal(*words, "--keys", str(tmp_path / "nowhere" / "keys"))
    assert isinstance(said, CouldNotError)
    assert said.sentence.en.endswith("nowhere/keys: No such file or directory")
    assert list(tmp_path.iterdir()) == []


def test_down_takes_nothing_away_where_no_installation_is(tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    file.write_text("somebody else's")
    assert CliRunner().invoke(app, ["down", "--data-dir", str(tmp_path)]).exit_code == 0
    assert file.read_text() == "somebody else's"
