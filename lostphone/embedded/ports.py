"""Loopback ports that stay the same over restarts, kept beside the data, and that no two installations choose."""

import json
import os
import random
import socket
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from lostphone.embedded.errors import EmbeddedError
from lostphone.private_file import replace_private

LOOPBACK = "127.0.0.1"

# Below the range from which systems take the ports of outgoing connections, so that a kept port stays free.
RANGE = range(12_000, 32_000)
# The usual generator may stand at the same place in two processes: test tools set it.
_RANDOM = random.SystemRandom()


class Claims:
    """Ports that are ours until `release`, bound or not: nobody else who claims ports gets them.

    Between choosing a port and binding it lie seconds in which others choose, too. A port is held by the UDP port of
    the same number, which no server of ours needs: the system gives it to one socket only, and takes it back when the
    process ends, however it ends.
    """

    def __init__(self, among: range = RANGE) -> None:
        self._among = among
        self._held: dict[int, int] = {}

    def settle(self, kept: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
        """A port for each name: the one that it has in `kept`, or another when it has none or somebody took it.

        One that is held already was told to others. When somebody took it, it is not exchanged: raises EmbeddedError.
        """
        settled = {name: self._keep(kept[name]) for name in names if name in kept}
        return {name: settled[name] if name in settled else self._choose() for name in names}

    def release(self) -> None:
        while self._held:
            os.close(self._held.popitem()[1])

    def __del__(self) -> None:
        self.release()

    def _keep(self, port: int) -> int:
        if port not in self._held:
            return port if self._take(port) else self._choose()
        if not is_free(port):
            raise EmbeddedError(f"Port {port} was taken by another program; end that one.")
        return port

    def _choose(self) -> int:
        first = _RANDOM.randrange(len(self._among))
        for port in chain(self._among[first:], self._among[:first]):
            if self._take(port):
                return port
        raise EmbeddedError(f"No port between {self._among[0]} and {self._among[-1]} is free on {LOOPBACK}.")

    def _take(self, port: int) -> bool:
        """Hold it, unless somebody else holds it or uses it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
            try:
                holder.bind((LOOPBACK, port))
            except OSError:
                return False
            if not is_free(port):
                return False
            self._held[port] = holder.detach()
            return True


def kept_ports(file: Path, names: Sequence[str], claims: Claims) -> dict[str, int]:
    """The ports in `file`, claimed; those that are missing, or taken by another process, are chosen anew and written
    back."""
    kept: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    ports = claims.settle(kept, names)
    if ports != kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_private(file, json.dumps(ports).encode())
    return ports


def kept_port(file: Path, name: str) -> int:
    """The port that was chosen at the last start. Raises EmbeddedError when there was none."""
    try:
        return int(json.loads(file.read_text())[name])
    except FileNotFoundError as error:
        raise EmbeddedError(f"Nothing was ever started in {file.parent}: start it first.") from error


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers bind: a connection of an earlier run that is still winding down does not count.
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
