"""A folder that other accounts can reach: pytest's own is closed to them."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def run_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lostphone-embedded-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
