"""The database for a change of the log: an embedded one is started for it alone and ended again."""

import asyncio
from collections.abc import Awaitable, Callable

from lostphone.database import DATABASE
from lostphone.installation import Installation
from lostphone.named import Named
from lostphone.stack import LocalStack, open_installation


async def on_database[T](installation: Installation, act: Callable[[Installation, str], Awaitable[T]]) -> T:
    """What `act` gives, which is handed the installation and the superuser's DSN. Raises what it raises,
    `EmbeddedError`, or `CouldNotError`."""
    named = Named.by()
    stack = await asyncio.to_thread(LocalStack, open_installation(installation.data_dir, named), named)
    parts = [part for part in stack.stages()[0].parts if part.name == "postgres"]
    try:
        for part in parts:
            await asyncio.to_thread(part.start)
        return await act(stack.installation, stack.superuser_dsn(DATABASE))
    finally:
        for part in parts:
            await asyncio.to_thread(part.stop)
