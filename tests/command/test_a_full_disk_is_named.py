"""Where the disk of an installation is full, its status says so, and not only who suffers from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lostphone.standing import without_room
from tests.stack.small_disk import mounted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with hardly more room than is needed, and for seven files."""
    with mounted(tmp_path, "size=65m,nr_inodes=8"):
        yield tmp_path


def test_no_room_is_named_with_the_place_and_what_to_do(small_disk: Path) -> None:
    assert not list(without_room(small_disk))
    (small_disk / "ballast").write_bytes(bytes(2 * 1024**2))
    (full,) = without_room(small_disk)
    assert full.level == "person"
    assert all(str(small_disk) in sentence and "63 MB" in sentence for sentence in full.sentences())


def test_no_place_for_another_file_is_named_too(small_disk: Path) -> None:
    for number in range(7):
        (small_disk / str(number)).touch()
    assert list(without_room(small_disk))


def test_the_disk_of_another_machine_is_not_looked_at(tmp_path: Path) -> None:
    assert not list(without_room(tmp_path / "elsewhere"))
