"""Who works behind the writer in this process, and is told when entries were added."""

import asyncio


class Added:
    """One for a process. What is not done here is done in another process, which the database has to wake."""

    def __init__(self, *names: str) -> None:
        """`names`: all the work that somewhere waits for entries."""
        self._names = frozenset(names)
        self._here: dict[str, asyncio.Event] = {}

    def begin(self, name: str, wake: asyncio.Event) -> None:
        """The work of this name is done here, and woken by this."""
        self._here[name] = wake

    def end(self, name: str) -> None:
        self._here.pop(name, None)

    def tell(self) -> None:
        """Entries were added, and committed."""
        for wake in self._here.values():
            wake.set()

    @property
    def elsewhere(self) -> bool:
        """Whether some of the work may be done in another process."""
        return not self._names <= self._here.keys()
