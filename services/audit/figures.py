"""How far the timeline, its checkpoints and its feeds are, for operations."""

from functools import partial

import asyncpg

from shared.telemetry import Gauges, metrics

_FIGURES = {
    metrics.LOG_ENTRIES: "SELECT size FROM log_state",
    metrics.LOG_SIGNED: "SELECT coalesce(max(size), 0) FROM checkpoint",
    metrics.CHECKPOINT_AGE: "SELECT extract(epoch FROM now() - max(signed_at))::float8 FROM checkpoint",
    metrics.FEED_PENDING: "SELECT size - (SELECT next_seq FROM feed WHERE name = 'outward') FROM log_state",
}


def watch(gauges: Gauges, pool: asyncpg.Pool) -> None:
    """Have these figures asked for when metrics are read."""
    for gauge, query in _FIGURES.items():
        gauges.ask(gauge, partial(pool.fetchval, query))
