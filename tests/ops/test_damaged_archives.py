"""A file that is no whole backup is refused by a sentence, and nothing outside the place given is written."""

import hashlib
import io
import json
import resource
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from lostphone.backup import BackupError, keep_keys, read_manifest, unpack
from lostphone.commands.backup import _unpack_keys

_CONTENT = bytes(range(256)) * 100


def _archive(file: Path, members: dict[str, bytes], files: Any = None, *, links: dict[str, str] | None = None) -> Path:
    said = {name: {"sha256": hashlib.sha256(content).hexdigest()} for name, content in members.items()}
    manifest = json.dumps({"format": 1, "files": said if files is None else files}).encode()
    with tarfile.open(file, "w") as packed:
        for name, content in {"manifest.json": manifest, **members}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
        for name, to in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, to
            packed.addfile(link)
    return file


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return _archive(tmp_path / "whole.backup", {"lostphone.dump": _CONTENT, "log.jsonl.gz": _CONTENT})


def test_what_is_whole_is_unpacked(whole: Path, tmp_path: Path) -> None:
    assert unpack(whole, tmp_path / "out")["files"].keys() == {"lostphone.dump", "log.jsonl.gz"}
    assert (tmp_path / "out" / "log.jsonl.gz").read_bytes() == _CONTENT


@pytest.mark.parametrize("kept", [0, 1, 511, 512, 700, 1024, 2000, 20_000, 30_000, 50_000])
def test_one_that_ends_too_early_is_refused(whole: Path, tmp_path: Path, kept: int) -> None:
    whole.write_bytes(whole.read_bytes()[:kept])
    with pytest.raises(BackupError):
        unpack(whole, tmp_path / "out")


@pytest.mark.parametrize("place", [0, 100, 148, 520, 1024, 2000, 30_000])
def test_one_with_a_changed_byte_is_refused(whole: Path, tmp_path: Path, place: int) -> None:
    content = bytearray(whole.read_bytes())
    content[place] ^= 0x81
    whole.write_bytes(content)
    with pytest.raises(BackupError):
        unpack(whole, tmp_path / "out")


@pytest.mark.parametrize(
    "files",
    [[], "x", {"../lostphone.dump": {}}, {"missing": {"sha256": ""}}, {"lostphone.dump": {}}, {"lostphone.dump": 1}],
    ids=["a list", "a text", "outside", "missing", "without a hash", "a number"],
)
def test_a_manifest_that_says_nonsense_is_refused(tmp_path: Path, files: Any) -> None:
    file = _archive(tmp_path / "odd.backup", {"lostphone.dump": _CONTENT}, files)
    with pytest.raises(BackupError):
        unpack(file, tmp_path / "out")


@pytest.mark.parametrize("name", ["../outside", "/outside-of-a-backup", "link/outside"])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    links = {"link": str(tmp_path / "elsewhere")}
    file = _archive(tmp_path / "hostile.backup", {name: _CONTENT}, links=links)
    with suppress(BackupError):
        unpack(file, tmp_path / "deep" / "out")
    keys = _archive(tmp_path / "hostile.keys", {f"keys/../../{name}": _CONTENT, "installation.json": b"{}"})
    directory = tmp_path / "deep" / "data"
    directory.mkdir(parents=True)
    with pytest.raises(BackupError):
        _unpack_keys(keys, directory)
    assert list(directory.iterdir()) == []
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not (tmp_path / "deep" / "outside").exists()
    assert not Path("/outside-of-a-backup").exists()


def test_a_later_format_and_other_files_are_told_from_backups(tmp_path: Path, whole: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no archive")
    with pytest.raises(BackupError, match="is not a backup"):
        read_manifest(text)
    for file in (tmp_path / "absent", tmp_path):
        with pytest.raises(OSError, match=str(file)):
            read_manifest(file)


def test_what_the_manifest_does_not_name_is_not_unpacked(tmp_path: Path) -> None:
    said = {"lostphone.dump": {"sha256": hashlib.sha256(_CONTENT).hexdigest()}}
    file = _archive(tmp_path / "more.backup", {"lostphone.dump": _CONTENT, "nanomdm.dump": _CONTENT}, said)
    unpack(file, tmp_path / "out")
    assert not (tmp_path / "out" / "nanomdm.dump").exists()


def test_keys_are_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    data_dir, place = tmp_path / "data", tmp_path / "place"
    (data_dir / "keys").mkdir(parents=True)
    place.mkdir()
    (data_dir / "installation.json").write_bytes(b"{}")
    (data_dir / "keys" / "key.pem").write_bytes(_CONTENT)
    with _room_for(2000), pytest.raises(OSError, match="too large"):
        keep_keys(data_dir, place / "kept.keys")
    assert list(place.iterdir()) == []
    keep_keys(data_dir, place / "kept.keys")
    assert (place / "kept.keys").stat().st_mode & 0o777 == 0o600
    _unpack_keys(place / "kept.keys", place)
    assert (place / "keys" / "key.pem").read_bytes() == _CONTENT


@contextmanager
def _room_for(size: int) -> Iterator[None]:
    """No file grows longer, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
