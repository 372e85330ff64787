"""The parts of a run: one that fails is said to have failed, and the others go on."""

from collections.abc import Awaitable, Callable, Collection

from benchmarks.figures import Figure, progress, say


class Parts:
    """Runs parts one after the other, all of them or those that are named."""

    def __init__(self, only: Collection[str] | None = None) -> None:
        self._only = only
        self.failed = 0
        """How many failed."""

    def run(self, name: str, part: Callable[[], None]) -> None:
        """A part that does its work at once."""
        if self._is_wanted(name):
            try:
                part()
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                self._say(name, error)

    async def go(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        """A part that is awaited."""
        if self._is_wanted(name):
            try:
                await part()
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                self._say(name, error)

    def _is_wanted(self, name: str) -> bool:
        return not self._only or name in self._only

    def _say(self, name: str, error: Exception) -> None:
        self.failed += 1
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        reason = f"{type(error).__name__}: {error}"
        progress(f"{name} failed: {reason}")
        say(Figure(name, more={"failed": reason}))
