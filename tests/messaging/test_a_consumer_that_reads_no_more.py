"""aiokafka stops reading at what it does not expect, such as an answer that was garbled on its way, and says nothing:
the service ends, and whoever keeps it alive starts it anew."""

import asyncio
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher

from services.reporter.settings import Settings
from shared.service import PartEndedError, Parts, Running, open_kit
from shared.web import create_app
from tests.messaging.test_a_service_starts_while_something_ends import _Nothing
from tests.stack.installed import Installed
from tests.stack.service import free_port, settings_of


async def test_the_service_ends_with_an_error(installation: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_: Any) -> None:
        raise ValueError("an answer that nobody expects")

    settings = Settings(**settings_of("reporter", installation, "http://127.0.0.1:1", free_port()))
    async with open_kit("reporter", settings) as kit:
        running = Running("reporter", kit, Parts(_Nothing(), create_app(kit, title="reporter")), ["consumer"])
        working = asyncio.create_task(running.until(asyncio.Event()))
        async with asyncio.timeout(60):
            while (await kit.health.ready()).get("consumer", "not joined") is not None:  # noqa: ASYNC110 - it has not joined yet
                await asyncio.sleep(0.02)
        monkeypatch.setattr(Fetcher, "_get_actions_per_node", unexpected)
        async with asyncio.timeout(60):
            with pytest.raises(PartEndedError, match="consumer"):
                await working
