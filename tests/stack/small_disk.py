"""A file system that is soon full, mounted over a folder."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

type Remount = Callable[[str], None]


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Remount]:
    """`options` are those of tmpfs, such as `size=16k`; what is yielded mounts it again with others."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system; CI does")
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(place), "-o"]

    def remount(changed: str) -> None:
        subprocess.run([*mount, f"remount,{changed}"], check=True)

    subprocess.run([*mount, options], check=True)
    try:
        yield remount
    finally:
        subprocess.run(["umount", "-l", place], check=True)  # noqa: S607
