"""Which errors are an outage of something else, and so nobody's fault: the work waits and is done again."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import structlog
from aiokafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError

_PAUSE_SECONDS = 1.0

_log = structlog.get_logger()


class DependencyUnavailableError(Exception):
    """Something that this service needs cannot be reached; what was being done has not been done."""


_OUTAGES = (
    DependencyUnavailableError,
    KafkaConnectionError,
    KafkaTimeoutError,
    OSError,  # TimeoutError and ConnectionError among them
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection broke off in the middle of an exchange
    asyncpg.OperatorInterventionError,  # it is ended, starts, was ended by a crash, or somebody cut this session
    asyncpg.IdleInTransactionSessionTimeoutError,  # cut as well, by a limit of the server
    asyncpg.TransactionTimeoutError,
    asyncpg.PostgresSystemError,  # its disk fails
    # Nobody is let in: a password that was changed on one side alone, a database that is being restored.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientResourcesError,  # full disk, too many connections
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,  # deadlock, serialisation
    asyncpg.LockNotAvailableError,
    # The tables are of another release than this process, in the middle of an upgrade.
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
)


def is_outage(error: BaseException) -> bool:
    """Whether trying again later, unchanged, is the right answer to `error`."""
    if isinstance(error, KafkaError) and error.retriable:
        # Such as a topic that is unknown, or without a leader, while a broker comes up.
        return True
    # asyncpg reports an argument of the wrong type as an InterfaceError that is also a ValueError: that is our bug.
    return isinstance(error, _OUTAGES) and not isinstance(error, ValueError)


async def outlast[T](ask: Callable[[], Awaitable[T]]) -> T:
    """What the database answers, asked again every second while it is away: so a service waits that starts."""
    while True:
        try:
            return await ask()
        except Exception as error:
            if not is_outage(error):
                raise
            _log.warning("database_unreachable", error=type(error).__name__, seldom=True)
            await asyncio.sleep(_PAUSE_SECONDS)
