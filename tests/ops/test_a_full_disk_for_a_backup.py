"""A backup for which there is no room could not be made, which is not a refusal, and leaves nothing behind."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lostphone.__main__ import app
from lostphone.screen import CouldNotError
from tests.stack.installed import copy_of
from tests.stack.small_disk import mounted


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few kilobytes."""
    with mounted(tmp_path, "size=16k"):
        yield tmp_path


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
