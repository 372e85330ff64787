"""The log of an installation goes on with other keys; its present one says so in the log, by its last signature.

Each step looks at what is there, so that what was interrupted goes on when it is run again.
"""

from dataclasses import dataclass

from lostphone.audit_keys import AuditKeys
from lostphone.installation import Installation
from lostphone.log_keys import LogKeys
from lostphone.screen import CouldNotError
from services.audit.clerk import Clerk
from services.audit.domain.leaf import Kind, open_leaf
from services.audit.guard import Guard
from services.audit.reader import LogReader
from services.audit.timeline import Timeline
from services.audit.tlog import LogKey, VerifierKey
from shared.messaging import Units
from shared.postgres import connect

_LAST = 2**53


@dataclass(frozen=True)
class Rotation:
    """Verifier keys, Ed25519 first."""

    origin: str
    before: list[str]
    after: list[str]


def require_done(keys: LogKeys) -> None:
    """Raises `CouldNotError` when the log was being given other keys and does not have them yet."""
    if keys.are_changing:
        raise CouldNotError(
            "ログの鍵の更新が途中です。lostphone ops rotate log-keys をもう一度実行してください。",
            "The log is being given other keys, and that was interrupted. Run lostphone ops rotate log-keys again.",
        )


async def change_keys(installation: Installation, superuser_dsn: str) -> Rotation:
    """Give the log other keys. The services must not run. Raises `ForkedError` when the database is not the log that
    was published, `ValueError`, or what asyncpg raises."""
    keys = installation.log_keys
    if not keys.are_moving:
        await _say(installation, superuser_dsn, [LogKey.from_pem(file, keys.origin) for file in keys.make_next()])
    keys.replace()
    return Rotation(keys.origin, keys.past_vkeys()[: len(keys.files)], keys.vkeys())


async def _say(installation: Installation, dsn: str, coming: list[LogKey]) -> None:
    keys = installation.log_keys
    pool = await connect(dsn, "audit", max_size=2)
    try:
        vkeys = [str(key.verifier) for key in coming]
        said = await LogReader(pool).own(Kind.KEY, 0, _LAST)
        if any(open_leaf(row["leaf"]).header["keys"] == vkeys for row in said):
            return
        secrets = AuditKeys.of(installation)
        builder = secrets.builder()
        known = [VerifierKey.parse(vkey) for vkey in keys.all_vkeys()]
        guard = Guard(keys.origin, known, installation.log_state_dir, None)
        present = LogKey.from_pem(keys.files[0], keys.origin)
        await Clerk(Units(pool, secrets.signer()), Timeline(builder, guard), builder).keys(present, coming)
    finally:
        await pool.close()
