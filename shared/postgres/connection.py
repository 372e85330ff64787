"""A pool of connections that see one schema."""

import asyncpg
import orjson

_STATEMENT_TIMEOUT = "30s"
_LOCK_TIMEOUT = "10s"
_IDLE_IN_TRANSACTION = "60s"
"""A unit of work is milliseconds; a connection that holds locks for longer belongs to a process that hangs."""
COMMAND_SECONDS = 40.0
"""How long an answer is waited for: a network that is half open never brings one. Above the server's own limit."""
VANISHED_CLIENT = {"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Session settings: the server ends the session of a client that is gone without a word, and frees its locks."""


async def connect(dsn: str, schema: str, *, max_size: int = 10) -> asyncpg.Pool:
    """A pool whose unqualified names mean `schema`. `jsonb` columns are Python objects on both sides.

    Raises `OSError` or `asyncpg.PostgresError` when the server cannot be reached or refuses the role.
    """
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=max_size,
        init=_prepare,
        reset=keep,
        command_timeout=COMMAND_SECONDS,
        server_settings={
            "search_path": schema,
            "application_name": f"lostphone {schema}",
            "statement_timeout": _STATEMENT_TIMEOUT,
            "lock_timeout": _LOCK_TIMEOUT,
            "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION,
            "timezone": "UTC",
            **VANISHED_CLIENT,
        },
    )


async def _prepare(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
    )


async def keep(_connection: asyncpg.Connection) -> None:
    """No reset when a connection goes back: nothing here changes a session, and the reset is a round trip each."""
