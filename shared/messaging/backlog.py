"""What waits in the database of a service: events to be sent, timers that are due, dead letters, and what was deleted
before it came to it."""

from functools import partial

import asyncpg

from shared.telemetry import Gauges, metrics

_FIGURES = {
    metrics.OUTBOX_PENDING: "SELECT count(*)::float8 FROM outbox",
    metrics.OUTBOX_OLDEST: """
        SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 FROM outbox""",
    metrics.TIMERS_OVERDUE: """
        SELECT greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0))::float8 FROM timer""",
    metrics.PARKED_OPEN: "SELECT count(*)::float8 FROM parked WHERE settled_at IS NULL",
    metrics.DELETED_UNREAD: """
        SELECT coalesce(sum(next_offset - first_offset), 0)::float8 FROM deleted_unread
        WHERE acknowledged_at IS NULL""",
}


def watch(gauges: Gauges, pool: asyncpg.Pool) -> None:
    """Have these figures asked for when metrics are read."""
    for gauge, query in _FIGURES.items():
        gauges.ask(gauge, partial(pool.fetchval, query))
