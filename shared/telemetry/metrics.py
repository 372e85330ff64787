"""Every Prometheus metric of Lostphone, in one list. Labels never hold ids of cases or people.

metrics.CONSUMED.labels(topic="lostphone.log.v1", partition="3").inc(500)
metrics.OUTBOX_PENDING.set(0)
"""

from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

REGISTRY = CollectorRegistry(auto_describe=True)
CONTENT_TYPE = CONTENT_TYPE_LATEST

_BATCH_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(f"lostphone_{name}", meaning, labels, registry=REGISTRY)


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    gauge = Gauge(f"lostphone_{name}", meaning, labels, registry=REGISTRY)
    if not labels:
        # All services tell all metrics: where nobody measures one, nought would be a claim.
        gauge.set(nan)
    return gauge


def _seconds(name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"lostphone_{name}_seconds", meaning, labels, buckets=buckets, registry=REGISTRY)


# The consume loop.
CONSUMED = _counter("events_consumed_total", "Records taken from the log.", "topic", "partition")
PROCESSED = _counter("events_processed_total", "Events that a handler took.", "type")
HANDLING = _seconds("event_handling", "Seconds that a handler took for one event.", _BATCH_BUCKETS, "type")
DUPLICATES = _counter("events_duplicate_total", "Records dropped because they were handled before.", "topic")
REJECTED = _counter(
    "events_rejected_total", "Records that act nowhere: kind is unparsed or unverified.", "kind", "reason"
)
SKIPPED = _counter("events_skipped_total", "Verified events of a type that this version does not know.", "topic")
GAPS = _counter("events_gap_total", "Sequences of a source and subject that were found to be missing.", "source")
RETRIED = _counter("events_retried_total", "Records taken again one by one after their batch failed.", "topic")
PARKED = _counter("events_parked_total", "Records parked among the dead letters.", "reason")
PARKED_OPEN = _gauge("dead_letters_open", "Parked records that have not acted since.")
DELETED_UNREAD = _gauge("deleted_unread_records", "Offsets of the log deleted before they were taken, to be seen to.")
REDRIVEN = _counter("events_redriven_total", "Dead letters that were offered again, by what came of it.", "outcome")
PAUSES = _counter("consumer_pauses_total", "Times that consuming paused; readiness says for what.")
REBALANCES = _counter("consumer_rebalances_total", "Assignments of partitions.")
COMMIT_FAILURES = _counter("consumer_commit_failures_total", "Offset commits that Kafka refused; they are for display.")
BATCH = _seconds("consumer_batch", "Seconds from a fetched batch to its commit in the database.", _BATCH_BUCKETS)
OLDEST_UNPROCESSED = _gauge("consumer_oldest_unprocessed_seconds", "Age of the oldest record not yet handled.")
LAG = _gauge("consumer_lag_records", "Records between the stored position and the end.", "topic", "partition")

# The outbox and the relay.
OUTBOX_PENDING = _gauge("outbox_pending", "Events committed but not yet on the log.")
OUTBOX_OLDEST = _gauge("outbox_oldest_seconds", "Age of the oldest of them; 0 when there is none.")
RELAYED = _counter("events_relayed_total", "Events written to Kafka and acknowledged by it.", "topic")
RELAY_FAILURES = _counter(
    "relay_failures_total", "Writes that Kafka did not acknowledge; they are tried again.", "error"
)

# Timers.
TIMERS_OVERDUE = _gauge("timers_overdue_seconds", "How late the timer is that is due and longest not finished.")
TIMERS_FIRED = _counter("timers_fired_total", "Timers whose handler was called.", "kind", "outcome")

# Calls to the outside.
PROVIDER_CALLS = _counter(
    "provider_calls_total",
    "Calls to providers: answered, refused, away, broken_off.",
    "provider",
    "operation",
    "outcome",
)
PROVIDER_AWAY = _gauge("provider_away", "1 while it is away; where organisations have accounts, how many.", "provider")

# Wipes, duties and disclosures.
BREAKERS_OPEN = _gauge("breakers_open", "Organisations whose wipes are held by an open breaker.")
APPROVALS_PENDING = _gauge("approvals_pending", "Decisions that wait for another person: wipe, disclosure.", "what")
DUTIES_OPEN = _gauge("duties_open", "Duties that are neither met, filed nor waived.")
DUTIES_OVERDUE = _gauge("duties_overdue", "Open duties whose time is over.")
DUTY_NEXT_DUE = _gauge("duty_next_due_seconds", "Seconds to the next due time of an open duty, or +Inf.")
NOTICES_UNCERTAIN = _gauge(
    "notices_uncertain", "Notices of which nobody knows whether they left, and for which nobody has seen to it yet."
)

# The timeline and the feeds.
LOG_ENTRIES = _gauge("log_entries", "Entries of the timeline: where its chain stands.")
LOG_SIGNED = _gauge("log_signed_entries", "Entries under the newest checkpoint.")
CHECKPOINT_AGE = _gauge("checkpoint_age_seconds", "Since the newest checkpoint was signed; nothing new needs none.")
LOG_VERIFIED = _gauge("log_verified_timestamp_seconds", "When the log was last seen to continue what it had signed.")
FEED_PENDING = _gauge("feed_pending_entries", "Entries that are not yet in the topics for integrators.")
OCSF_FAILURES = _counter(
    "ocsf_failures_total", "Events told to the SIEM without their facts: not of the shape this version knows.", "type"
)

# HTTP.
HTTP_REQUESTS = _counter("http_requests_total", "Requests answered.", "method", "route", "status")
HTTP_SECONDS = _seconds("http_request", "Seconds to the start of the answer.", _HTTP_BUCKETS, "method", "route")
HTTP_LIMITED = _counter("http_limited_total", "Requests refused by a rate limit.", "route")

# Health.
READY = _gauge("ready", "1 when every check of /health/ready passes.")


def expose() -> bytes:
    """The text that `/metrics` answers."""
    return generate_latest(REGISTRY)
