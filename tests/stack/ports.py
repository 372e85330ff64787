"""Ports that other programs have."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def somebody_at(port: int) -> Iterator[None]:
    """Another program listens there meanwhile."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield
