"""One connection of a pool, kept from use to use: to be lent one and to give it back takes as long as a statement."""

import asyncpg


class Line:
    """For work that is done one after the other. Give it back at the end, or the pool waits for it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._connection: asyncpg.pool.PoolConnectionProxy | None = None
        self._session: str | None = None

    async def connection(self, session: str | None = None) -> asyncpg.pool.PoolConnectionProxy:
        """The connection; another one where the last was given back, or is closed. `session`: statements that set what
        the work wants of its session. The pool resets nothing, so that such a connection ends when it is given back."""
        if self._connection is not None and self._connection.is_closed():
            await self.give_back()
        if self._connection is None:
            self._connection = await self._pool.acquire()
        if session is not None and session != self._session:
            self._session = session
            await self._connection.execute(session)
        return self._connection

    async def give_back(self) -> None:
        """To the pool; also after an error, because nobody knows in which state it left the session."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            if self._session is not None:
                self._session = None
                connection.terminate()
            await self._pool.release(connection)
