"""docs/decisions/dependencies.md names every package of requirements/*.in, and the locks hold no addresses."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def asked_for(name: str) -> set[str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return {re.split(r"[\[<>=]", line)[0] for line in lines if line and not line.startswith(("#", "-r"))}


@pytest.mark.parametrize("name", ["runtime.in", "dev.in", "bootstrap.in"])
def test_each_package_that_is_asked_for_has_a_reason(name: str) -> None:
    reasons = (ROOT / "docs" / "decisions" / "dependencies.md").read_text()
    assert {package for package in asked_for(name) if not re.search(rf"\b{re.escape(package)}\b", reasons)} == set()


@pytest.mark.parametrize("name", ["runtime", "dev", "bootstrap"])
def test_each_package_that_is_asked_for_is_locked_by_hash_and_without_an_address(name: str) -> None:
    lock = (ROOT / "requirements" / f"{name}.lock").read_text()
    assert "://" not in lock
    assert {package for package in asked_for(f"{name}.in") if f"\n{package.lower()}" not in lock.lower()} == set()
    pins = re.findall(r"^[a-z0-9._-]+==[^\\]+\\\n    --hash=sha256:", lock, re.MULTILINE | re.IGNORECASE)
    assert len(pins) == len(re.findall(r"^[a-z0-9._-]+==", lock, re.MULTILINE | re.IGNORECASE))
