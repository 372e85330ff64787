"""A file that only its owner can read, written whole or not at all: a disk that is full leaves the one before."""

import os
from pathlib import Path


def replace_private(path: Path, content: bytes) -> None:
    """Write the file. Raises `OSError`, which names it, and leaves nothing half written behind."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        new.unlink(missing_ok=True)
