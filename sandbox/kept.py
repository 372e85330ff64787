"""State of a part that outlives the process: one JSON file, replaced as a whole."""

import os
from pathlib import Path

from pydantic import BaseModel


def load[T: BaseModel](path: Path, model: type[T]) -> T:
    """What was kept, or a fresh one."""
    return model.model_validate_json(path.read_bytes()) if path.exists() else model()


def keep(path: Path, state: BaseModel) -> None:
    """Replace the file; a crash leaves the old one or the new one."""
    write(path, state.model_dump_json(indent=1).encode())


def write(path: Path, content: bytes) -> None:
    """Replace a file, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(f"{path.suffix}.{os.getpid()}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)
