"""The committed contracts are what the registry says."""

import subprocess
import sys
from pathlib import Path

from shared.events.contracts.files import differences, write

ROOT = Path(__file__).parents[2]


def test_the_committed_contracts_are_current() -> None:
    assert differences(ROOT) == [], "run: python -m shared.events.contracts"


def test_the_check_names_what_differs_is_missing_or_left_over(tmp_path: Path) -> None:
    write(tmp_path)
    assert differences(tmp_path) == []
    (tmp_path / "contracts/topics.yaml").write_text("topics: []\n")
    (tmp_path / "contracts/acls.yaml").unlink()
    (tmp_path / "contracts/schemas/lostphone.gone.v1.json").write_text("{}\n")
    assert differences(tmp_path) == [
        "contracts/acls.yaml: missing",
        "contracts/schemas/lostphone.gone.v1.json: no longer generated",
        "contracts/topics.yaml: differs",
    ]
    write(tmp_path)
    assert differences(tmp_path) == []


def test_the_command_ends_with_1_when_files_differ(tmp_path: Path) -> None:
    # Another process, so that this also shows that the files do not depend on the order of a set.
    command = [sys.executable, "-m", "shared.events.contracts", "--check", "--root", str(tmp_path)]
    asked = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert asked.returncode == 1
    assert "contracts/asyncapi.yaml: missing" in asked.stderr
    assert asked.stdout == ""
