"""A process that is killed between its plan and its call costs a lost phone no minute."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from pydantic import SecretStr

from services.mdm_actions.settings import Settings
from shared.events.mdm_actions import DeviceLocked
from tests.mdm_actions.bench import Company, lost, new_incident
from tests.mdm_actions.conftest import Serving


@asynccontextmanager
async def _swallowing(fatal: bytes, called: asyncio.Event) -> AsyncIterator[str]:
    """A server that answers nothing; its address. `called` is set when it is asked for this."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = b""
        while data := await reader.read(65_536):
            heard += data
            if fatal in heard:
                called.set()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _told(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else str(value)


def _started(settings: Settings) -> subprocess.Popen[bytes]:
    """The timers of the service, in a process of their own."""
    told = {f"LOSTPHONE_{name.upper()}": _told(value) for name, value in settings if value is not None}
    return subprocess.Popen(
        [sys.executable, "-m", "services.mdm_actions", "serve", "--only", "timers"],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], **told},
    )


async def test_a_phone_whose_process_was_killed_before_its_call_is_locked_at_once_by_the_next(
    serving: Serving, company: Company
) -> None:
    row = company.row("A-1")
    incident, called = new_incident(), asyncio.Event()
    async with serving() as service, _swallowing(b"/v1/enqueue", called) as nowhere:
        await service.import_(company, [row])
        phone = await service.world.phone(row["udid"])
        await service.say(lost(company.device(row)), incident, company.name)
        process = _started(service.kit.settings.model_copy(update={"nanomdm_url": nowhere}))
        try:
            await asyncio.wait_for(called.wait(), 60)
        finally:
            process.kill()
            process.wait()
        async with service.timers():
            # Waits for a third of what the lease would take.
            await service.told(incident, DeviceLocked)
    assert (await phone.obeyed()).count("EnableLostMode") == 1
