"""One run of an installation on this machine: everything is started, kept alive, and ended when somebody asks."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import asyncpg

from lostphone import addresses, log_rotation, running, succession, unfinished_restore
from lostphone.database import ForeignDatabaseError
from lostphone.embedded import EmbeddedError
from lostphone.embedded.ports import Claims
from lostphone.named import Named
from lostphone.screen import CouldNotError, what
from lostphone.stack import LocalStack, open_installation
from lostphone.supervisor import Supervisor, Tell
from lostphone.topics import BrokerError
from shared.postgres import MigrationError

_ATTEMPTS: Final = 3
"""Another program may take a port between the moment it is chosen and the moment it is bound."""
_FAILURES = (
    EmbeddedError,
    MigrationError,
    BrokerError,
    ForeignDatabaseError,
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)


def run(
    data_dir: Path, named: Named, tell: Tell, ready: Callable[[], None], stop: threading.Event, *, secure: bool = False
) -> None:
    """Run the installation in this directory until `stop`; `ready` is called once all of it answers. `secure` guards
    the broker of a new one. Raises `CouldNotError`, after what had started was ended again."""
    before = addresses.kept(data_dir)

    def settled() -> None:
        addresses.tell_moved(before, addresses.kept(data_dir), tell)

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _run(data_dir, named, stop, tell=tell, settled=settled, ready=ready, secure=secure)
        except _FAILURES as error:
            taken = addresses.taken(data_dir)
            if attempt == _ATTEMPTS or not taken:
                said = what(error)
                raise CouldNotError(f"起動できません: {said}", f"It could not be started: {said}") from error
            tell(
                f"起動中に別のプログラムがポートを使い始めました({taken})。別のポートでもう一度起動します。",
                f"Another program took a port meanwhile ({taken}). Everything starts once more, on another port.",
            )
        else:
            return


def _run(
    data_dir: Path,
    named: Named,
    stop: threading.Event,
    *,
    tell: Tell,
    settled: Callable[[], None],
    ready: Callable[[], None],
    secure: bool,
) -> None:
    # What a supervisor that was killed left behind still has the ports.
    running.end_orphans(data_dir)
    claims = Claims()
    try:
        unfinished_restore.require_done(data_dir)
        installation = open_installation(data_dir, named, secure=secure, claims=claims)
        succession.require_done(installation)
        log_rotation.require_done(installation.log_keys)
        with Supervisor(LocalStack(installation, named, settled), tell, stop):
            ready()
            stop.wait()
            tell("止めています…", "Stopping …")
    finally:
        claims.release()
