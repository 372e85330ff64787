"""A backup for which there is no room could not be made, which is not a refusal, and leaves nothing behind."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lostphone.__main__ import app
from lostphone.screen import CouldNotError
from tests.stack.installed import copy_of


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few kilobytes."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system; CI does")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", tmp_path], check=True)  # noqa: S607
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)  # noqa: S607


def _left(place: Path) -> list[Path]:
    return list(place.iterdir())


async def test_it_could_not_be_made_and_leaves_nothing(tiny_disk: Path, template: str, postgres: str) -> None:
    async with copy_of(template, postgres) as dsn:
        given = ["ops", "backup", str(tiny_disk / "backup.tar"), "--without-log", "--postgres", dsn]
        # A loop of its own, as the command has.
        done = await asyncio.to_thread(CliRunner().invoke, app, given)
    assert isinstance(done.exception, CouldNotError)
    assert "No space left on device" in str(done.exception)
    assert _left(tiny_disk) == []
