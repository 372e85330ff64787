"""What is owed and what waits for people, for operations. Drills owe nothing."""

from functools import partial

import asyncpg

from shared.telemetry import Gauges, metrics

_FIGURES = {
    metrics.DUTIES_OPEN: """
        SELECT count(*) FROM duty JOIN incident USING (incident) WHERE duty.state = 'open' AND NOT drill""",
    metrics.DUTIES_OVERDUE: """
        SELECT count(*) FROM duty JOIN incident USING (incident)
        WHERE duty.state = 'open' AND NOT drill AND (opened->>'due')::timestamptz < now()""",
    metrics.DUTY_NEXT_DUE: """
        SELECT coalesce(min(extract(epoch FROM (opened->>'due')::timestamptz - now())), 'Infinity')::float8
        FROM duty JOIN incident USING (incident)
        WHERE duty.state = 'open' AND NOT drill AND (opened->>'due')::timestamptz >= now()""",
    # Newest editions that the two people have not both approved.
    metrics.APPROVALS_PENDING.labels("disclosure"): """
        SELECT count(*)
        FROM (SELECT disclosure, max(version) AS version FROM edition GROUP BY disclosure) AS newest
        JOIN edition USING (disclosure, version) JOIN disclosure USING (disclosure)
        WHERE edition.issued_at IS NULL AND disclosure.retracted_at IS NULL AND NOT disclosure.drill
          AND 2 > (SELECT count(*) FROM approval
                   WHERE approval.disclosure = newest.disclosure AND approval.version = newest.version)""",
    # Until the duty towards the people is ended; where none is owed, until the case is.
    metrics.NOTICES_UNCERTAIN: """
        SELECT count(*) FROM notice JOIN batch USING (batch) JOIN incident USING (incident)
        WHERE notice.state = 'uncertain' AND NOT drill AND coalesce(
            (SELECT bool_or(duty.state = 'open') FROM duty
             WHERE duty.incident = batch.incident AND opened->>'recipient' = 'principal'),
            facts->>'state' IN ('open', 'recovered'))""",
}


def watch(gauges: Gauges, pool: asyncpg.Pool) -> None:
    """Have these figures asked for when metrics are read."""
    for gauge, query in _FIGURES.items():
        gauges.ask(gauge, partial(pool.fetchval, query))
