"""The database for a change of logs: an embedded one is started for it alone and ended again."""

import asyncio

from lostphone.database import DATABASE
from lostphone.installation import Installation
from lostphone.named import Named
from lostphone.stack import LocalStack, open_installation
from lostphone.succession import Succession, succeed


async def succeed_embedded(installation: Installation) -> Succession:
    """Raises what `succeed` does, `EmbeddedError`, or `CouldNotError`."""
    named = Named.by()
    stack = await asyncio.to_thread(LocalStack, open_installation(installation.data_dir, named), named)
    parts = [part for part in stack.stages()[0].parts if part.name == "postgres"]
    try:
        for part in parts:
            await asyncio.to_thread(part.start)
        return await succeed(stack.installation, stack.superuser_dsn(DATABASE))
    finally:
        for part in parts:
            await asyncio.to_thread(part.stop)
