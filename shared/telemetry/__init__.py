"""What a running service says about itself: log lines, traces, metrics. Never personal data, never a secret."""

from shared.telemetry import metrics
from shared.telemetry.gauges import Gauges
from shared.telemetry.health import Health
from shared.telemetry.logs import bind, configure_logs, logger
from shared.telemetry.provider import ProviderAwayError, ProviderCalls
from shared.telemetry.traces import configure_traces, continue_trace, current_traceparent, span

__all__ = [
    "Gauges",
    "Health",
    "ProviderAwayError",
    "ProviderCalls",
    "bind",
    "configure",
    "configure_logs",
    "configure_traces",
    "continue_trace",
    "current_traceparent",
    "logger",
    "metrics",
    "span",
]


def configure(service: str, *, log_level: str = "INFO", otlp_endpoint: str | None = None) -> None:
    """Set up logs and traces of this process. Traces leave it only when an endpoint is given."""
    configure_logs(service, log_level)
    configure_traces(service, otlp_endpoint)
