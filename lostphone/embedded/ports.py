"""Loopback ports that stay the same over restarts, kept beside the data."""

import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

from lostphone.embedded.errors import EmbeddedError

LOOPBACK = "127.0.0.1"

# Below the range from which systems take the ports of outgoing connections, so that a kept port stays free.
RANGE = range(12_000, 20_000)


def kept_ports(file: Path, names: Sequence[str]) -> dict[str, int]:
    """The ports in `file`; those that are missing, or taken by another process, are chosen anew and written back."""
    kept: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    ports = {name: port for name, port in kept.items() if name in names and is_free(port)}
    ports.update(choose_ports([name for name in names if name not in ports]))
    if ports != kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(ports))
    return ports


def kept_port(file: Path, name: str) -> int:
    """The port that was chosen at the last start. Raises EmbeddedError when there was none."""
    try:
        return int(json.loads(file.read_text())[name])
    except FileNotFoundError as error:
        raise EmbeddedError(f"Nothing was ever started in {file.parent}: start it first.") from error


def choose_ports(names: Sequence[str]) -> dict[str, int]:
    """Free ports, different from each other."""
    free = (port for port in random.sample(RANGE, len(RANGE)) if is_free(port))
    return {name: next(free) for name in names}


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Without this a port that was just given back counts as taken for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def answers(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True
