"""Exit status: 0 done, 1 the answer is no, 2 could not. Programs take a 1 for an answer, so nothing else may be one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lostphone.__main__ import app
from lostphone.screen import CouldNotError

_NEED_A_RUNNING_ONE = (
    "status",
    "timeline an-incident",
    "tail",
    "report --phone 1 --callback 2",
    "drill 1",
    "approve an-incident --decline",
    "verify",
    "ops status",
    "ops backup {folder}/backup",
    "ops evidence an-incident",
    "ops topics list",
    "ops acls list",
    "ops ocsf replay",
    "ops inventory import {folder}/phones.csv",
    "ops dead-letters list",
    "ops rotate event-key reporter",
    "ops rotate kafka-password siem",
)


@pytest.mark.parametrize("words", _NEED_A_RUNNING_ONE)
def test_where_nothing_runs_every_command_that_needs_it_could_not(words: str, tmp_path: Path) -> None:
    (tmp_path / "phones.csv").write_text("")
    done = CliRunner().invoke(
        app, words.format(folder=tmp_path).split(), env={"LOSTPHONE_DATA": str(tmp_path / "data")}
    )
    assert isinstance(done.exception, CouldNotError)


def test_what_could_not_be_done_ends_with_two(tmp_path: Path) -> None:
    done = _lostphone("status", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("Nothing runs in ")


def test_an_answer_that_nobody_reads_is_no_answer(tmp_path: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "wb") as out:  # noqa: PTH123 - a descriptor
        done = _lostphone("down", "--json", folder=tmp_path, out=out)
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize("words", [["down"], ["down", "--json"]], ids=" ".join)
def test_an_answer_for_which_the_disk_has_no_room_is_no_answer(words: list[str], tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.fail("this platform has no disk that is always full")
    with Path("/dev/full").open("wb") as out:
        done = _lostphone(*words, folder=tmp_path, out=out)
    assert (done.returncode, done.stderr) == (2, "No space left on device\n")


def _lostphone(
    *words: str, folder: Path, out: "int | subprocess._FILE" = subprocess.DEVNULL
) -> "subprocess.CompletedProcess[str]":
    told = {name: value for name, value in os.environ.items() if not name.startswith("LOSTPHONE_")}
    return subprocess.run(
        [sys.executable, "-m", "lostphone", *words],
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env={**told, "LOSTPHONE_DATA": str(folder / "data"), "LOSTPHONE_LANG": "en"},
        check=False,
    )
