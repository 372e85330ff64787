"""A disk that is full while an installation is made leaves nothing that stands in the way once there is room."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lostphone import running
from lostphone.embedded.certificates import kept_certificates
from lostphone.embedded.ports import Claims, kept_ports
from lostphone.installation import Installation
from lostphone.screen import CouldNotError, what
from tests.stack.small_disk import mounted

type Resize = Callable[[str], None]


@pytest.fixture
def resize(tmp_path: Path) -> Iterator[Resize]:
    """Makes `tmp_path` a file system of this size, or gives the one that it is another."""
    with mounted(tmp_path, "size=4k") as remount:
        yield lambda size: remount(f"size={size}")


@pytest.mark.parametrize("size", ["4k", "8k", "36k", "68k"])
def test_an_installation_is_made_once_there_is_room(tmp_path: Path, resize: Resize, size: str) -> None:
    resize(size)
    (tmp_path / "ballast").write_bytes(b"x")  # takes the first 4k
    with pytest.raises(CouldNotError, match=r"cannot be prepared: .*No space left on device"):
        Installation.open(tmp_path / "data")
    resize("1m")
    Installation.open(tmp_path / "data")
    assert not list((tmp_path / "data").rglob(".*"))


def test_the_reason_is_told_also_where_there_is_no_room_for_it(
    tmp_path: Path, resize: Resize, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ballast").write_bytes(b"x")
    with pytest.raises(OSError, match=r"supervisor\.lock") as told, running.hold(tmp_path / "data"):
        pass
    assert what(told.value).endswith("supervisor.lock: No space left on device")
    with pytest.raises(CouldNotError, match="see whether its disk is full"):
        running.start_detached(tmp_path / "data", print)
    assert not capsys.readouterr().out


def test_ports_that_were_chosen_stay_known(tmp_path: Path, resize: Resize) -> None:
    resize("8k")
    file, claims = tmp_path / "ports.json", Claims()
    before = kept_ports(file, ["client"], claims)
    (tmp_path / "ballast").write_bytes(b"x")
    with pytest.raises(OSError, match="No space left on device"):
        kept_ports(file, ["client", "controller"], claims)
    assert json.loads(file.read_text()) == before


def test_half_of_the_certificates_is_no_pair(tmp_path: Path, resize: Resize) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        kept_certificates(tmp_path)
    resize("1m")
    broker, ca = kept_certificates(tmp_path)
    assert ca.read_bytes() in broker.read_bytes()
