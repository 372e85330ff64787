"""OpenTelemetry traces, carried from event to event by the W3C `traceparent` in the envelope."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_TRACER = trace.get_tracer("lostphone")
_W3C = TraceContextTextMapPropagator()


def configure_traces(service: str, otlp_endpoint: str | None = None) -> None:
    """Start tracing in this process. Without an endpoint, ids are made and passed on, and nothing is sent.

    `otlp_endpoint` is the base address of an OTLP/HTTP collector, such as `http://127.0.0.1:4318`.
    """
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    provider = TracerProvider(
        sampler=DEFAULT_ON if otlp_endpoint else ALWAYS_OFF,
        resource=Resource.create({"service.name": f"lostphone-{service}"}),
    )
    if otlp_endpoint:
        # A tenth of the time that a service takes to start, and few send traces.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        exporter = OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces")
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def current_traceparent() -> str | None:
    """The `traceparent` of what runs now, for an envelope or a request; None outside any trace."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int | bool) -> Iterator[Span]:
    """A step inside the current trace. Attributes are ids and counts, never personal data."""
    with _TRACER.start_as_current_span(name, kind=kind, attributes=attributes) as current:
        yield current


@contextmanager
def continue_trace(
    traceparent: str | None, name: str = "handle event", kind: SpanKind = SpanKind.CONSUMER
) -> Iterator[Span]:
    """A step that goes on with the trace of an event or request that came in; a new trace when it carried none."""
    context = _W3C.extract({"traceparent": traceparent} if traceparent else {})
    with _TRACER.start_as_current_span(name, context=context, kind=kind) as current:
        yield current
