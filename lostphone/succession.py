"""One log of an installation is followed by another: the old one is closed, and the new one says so first.

Each step looks at what is there, so that what was interrupted goes on when it is run again. The old log's newest note
is put aside last: while it lies there, nothing is written to the new one.
"""

import contextlib
from dataclasses import dataclass

from lostphone import closed_log
from lostphone.audit_keys import AuditKeys
from lostphone.installation import Installation
from lostphone.screen import CouldNotError
from services.audit.clerk import BegunError, Clerk
from services.audit.guard import FILE, ForkedError, Guard
from services.audit.timeline import Timeline
from services.audit.tlog import Checkpoint, SignedNote, VerifierKey
from shared.messaging import Units
from shared.postgres import connect


@dataclass(frozen=True)
class Succession:
    """What was done."""

    closed: str
    """Origin of the log that was closed."""
    size: int
    """At which it was closed: entries that were published."""
    schema: str | None
    """Where its tables are; None when the database had none of its entries."""
    origin: str
    """Of the log that goes on."""


class SuccessionError(Exception):
    """The log is not closed, or the next one not begun; the message says why."""


def require_done(installation: Installation) -> None:
    """Raises `CouldNotError` when a log was being closed and the next one is not begun."""
    file = installation.log_state_dir / FILE
    if file.exists() and _checkpoint(file.read_bytes()).origin == installation.closed_log_origin:
        raise CouldNotError(
            "ログを閉じる作業が途中です。lostphone ops close-log をもう一度実行してください。",
            "A log is being closed, and that was interrupted. Run lostphone ops close-log again.",
        )


async def succeed(installation: Installation, superuser_dsn: str) -> Succession:
    """Close the log at the newest checkpoint that was published, and begin the next one. The services must not run.
    Raises `SuccessionError`, `closed_log.TimelineInUseError`, `ValueError`, or what asyncpg raises."""
    note = _newest_note(installation)
    vkeys = (*installation.log_keys.vkeys(), *installation.closed_log_vkeys())
    closed, _ = Checkpoint.signed(note, [VerifierKey.parse(key) for key in vkeys])
    if not closed.size:
        raise SuccessionError(f"{closed.origin} has no entries: there is nothing to go on from")
    if closed.origin == installation.log_origin:
        installation = installation.next_log()
    schema = None
    # A database that came back empty has nothing of the log that is closed.
    with contextlib.suppress(closed_log.NothingToCloseError):
        schema = await closed_log.set_aside(superuser_dsn)
    await _begin(installation, superuser_dsn, closed, bytes(note))
    return Succession(closed.origin, closed.size, schema, installation.log_origin)


def _newest_note(installation: Installation) -> SignedNote:
    folder = installation.log_state_dir
    for file in (folder / FILE, *folder.glob(f"{FILE}.closed-*")):
        if not file.exists():
            continue
        data = file.read_bytes()
        if file.name == FILE or _checkpoint(data).origin == installation.closed_log_origin:
            return SignedNote.parse(data)
    raise SuccessionError("the log has published no checkpoint at which it could be closed")


def _checkpoint(note: bytes) -> Checkpoint:
    return Checkpoint.parse(SignedNote.parse(note).text)


async def _begin(installation: Installation, dsn: str, closed: Checkpoint, note: bytes) -> None:
    pool = await connect(dsn, "audit", max_size=2)
    try:
        keys = AuditKeys.of(installation)
        builder = keys.builder()
        guard = Guard(installation.log_origin, [], installation.log_state_dir, None)
        await Clerk(Units(pool, keys.signer()), Timeline(builder), builder).begin(closed, note, guard)
    except (BegunError, ForkedError) as error:
        raise SuccessionError(str(error)) from error
    finally:
        await pool.close()
