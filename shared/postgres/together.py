"""One question for what many ask in the same turn of the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping


class Together[Key, Value]:
    """Callers ask for one; the database is asked once for all who came before it could be.

    For what a timer's firing reads: timers that are due together fire together, and a statement for each of them costs
    many times what its rows do.
    """

    def __init__(self, ask: Callable[[list[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        """`ask`: what there is for these keys, each once; keys without an answer may be missing."""
        self._ask = ask
        self._waiting: dict[Key, asyncio.Future[Value | None]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def of(self, key: Key) -> Value | None:
        """What there is for `key`, or None. Raises what asking raises."""
        if not self._waiting:
            task = asyncio.create_task(self._go())
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        answer = self._waiting.setdefault(key, asyncio.get_running_loop().create_future())
        # Who gives up waiting leaves the answer to others who asked for the same.
        return await asyncio.shield(answer)

    async def _go(self) -> None:
        waiting, self._waiting = self._waiting, {}
        try:
            found = await self._ask(list(waiting))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            for answer in waiting.values():
                answer.set_exception(error)
        else:
            for key, answer in waiting.items():
                answer.set_result(found.get(key))
