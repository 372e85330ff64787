"""Broker and database for a restore: the embedded ones are started for it alone and ended again."""

import asyncio
import sys
from pathlib import Path

import structlog

from lostphone.audit_keys import AuditKeys
from lostphone.database import DATABASE
from lostphone.installation import SERVICES
from lostphone.named import Named
from lostphone.restore import Restored, Target, restore
from lostphone.stack import LocalStack, open_installation
from services.audit.tlog import VerifierKey


async def restore_embedded(directory: Path, file: Path, *, replace: bool, copy: Path | None) -> Restored:
    """Restore into the installation of this directory, made when there is none. Raises `BackupError`, `BrokerError`,
    `EmbeddedError`, `CouldNotError`, or what asyncpg raises."""
    # What the timeline finds while it is recorded again is no part of the result.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    named = Named.by()
    stack = await asyncio.to_thread(LocalStack, open_installation(directory, named), named)
    installation = stack.installation
    parts = stack.stages()[0].parts
    try:
        for part in parts:
            await asyncio.to_thread(part.start)
        await asyncio.to_thread(stack.prepare)
        passwords = {str(name): installation.passwords[name] for name in SERVICES}
        vkeys = tuple(map(VerifierKey.parse, installation.log_keys.all_vkeys()))
        target = Target(
            superuser_dsn=stack.superuser_dsn(DATABASE),
            passwords=passwords,
            kafka=stack.admin_connection(),
            audit_keys=AuditKeys.of(installation),
            log_vkeys=vkeys,
            log_state_dir=installation.log_state_dir,
            data_dir=directory,
        )
        return await restore(target, file, replace=replace, copy=copy)
    finally:
        for part in reversed(parts):
            await asyncio.to_thread(part.stop)
