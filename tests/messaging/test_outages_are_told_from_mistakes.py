"""An outage is waited out; a mistake is not: whoever takes one for the other loses events, or hides a bug for ever."""

import asyncpg
import pytest
from aiokafka import errors as kafka

from shared.messaging import DependencyUnavailableError, is_outage


@pytest.mark.parametrize(
    "error",
    [
        DependencyUnavailableError("the vault"),
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        asyncpg.InvalidPasswordError('password authentication failed for user "notifier"'),
        asyncpg.InvalidCatalogNameError('database "lostphone" does not exist'),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.DiskFullError("could not extend file"),
        asyncpg.PostgresIOError("could not read block 7: Input/output error"),
        asyncpg.AdminShutdownError("terminating connection due to administrator command"),
        asyncpg.CrashShutdownError("terminating connection because of crash of another server process"),
        asyncpg.QueryCanceledError("canceling statement due to statement timeout"),
        asyncpg.DatabaseDroppedError("terminating connection due to conflict with recovery"),
        asyncpg.IdleSessionTimeoutError("terminating connection due to idle-session timeout"),
        asyncpg.IdleInTransactionSessionTimeoutError("terminating connection due to idle-in-transaction timeout"),
        asyncpg.TransactionTimeoutError("terminating connection due to transaction timeout"),
        asyncpg.DeadlockDetectedError("deadlock detected"),
        kafka.KafkaConnectionError("Unable to bootstrap"),
        kafka.KafkaTimeoutError(),
        kafka.UnknownTopicOrPartitionError("a broker that has just come up knows no topic yet"),
        kafka.NotLeaderForPartitionError(),
        kafka.NotEnoughReplicasError(),
        asyncpg.UndefinedTableError("relation does not exist"),
        asyncpg.UndefinedColumnError("column does not exist"),
        asyncpg.UndefinedFunctionError("function does not exist"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_by_itself_is_an_outage(error: Exception) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a rule was broken"),
        KeyError("a field that is not there"),
        asyncpg.UniqueViolationError("duplicate key"),
        asyncpg.NotNullViolationError("null value"),
        asyncpg.InsufficientPrivilegeError("permission denied"),
        asyncpg.DataError("invalid input for query argument"),
        kafka.MessageSizeTooLargeError("1048577"),
        kafka.TopicAuthorizationFailedError("lostphone.log.v1"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_stays_wrong_is_none(error: Exception) -> None:
    assert not is_outage(error)
