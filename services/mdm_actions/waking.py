"""Phones that have not fetched what lies ready for them are pushed once more.

A server pushes when it takes a command, and answers that it took it even where the push failed: NanoMDM says 500 with a
`push_error` and no `command_error`. A phone that was not pushed may not connect for days. Beside the work, one call at
a time: a push service that is slow holds up no order.
"""

import asyncio
from datetime import datetime, timedelta

from services.mdm_actions.domain.command import DEVICE_KINDS, State
from services.mdm_actions.outside import Outside
from services.mdm_actions.store import Command

_OFTEN = timedelta(minutes=10)
"""So long each look at a command that nobody fetched wakes its phone."""
_SELDOM = timedelta(hours=1)
"""Then once in so long: Apple keeps the last push for a phone that is off, if it ever got one."""


class Waking:
    """Pushes beside the work. Its task ends when there is nobody left to wake."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._commands: dict[str, Command] = {}
        self._task: asyncio.Task[None] | None = None

    def soon(self, command: Command) -> None:
        """Have the phone of this command woken, with all others that are."""
        self._commands[command.target] = command
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._wake())

    async def _wake(self) -> None:
        while self._commands:
            commands, self._commands = list(self._commands.values()), {}
            await self._outside.wake(commands)


def is_to_be_woken(command: Command, now: datetime, pause: timedelta) -> bool:
    """Whether the phone of a command that is looked at now, and after `pause` again, is to be pushed once more."""
    if command.kind not in DEVICE_KINDS or command.state is not State.QUEUED:
        return False
    since = now - command.ordered_at
    return since < _OFTEN or since % _SELDOM < pause
