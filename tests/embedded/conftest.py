"""What several of these tests stand on."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.deployed import script


@pytest.fixture
def run_folder() -> Iterator[Path]:
    """One that other accounts can reach: pytest's own is closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="lostphone-embedded-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make_secrets.py` makes."""
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    folder.mkdir()
    script("make_secrets").main(folder)
    return folder
