"""OpenTelemetry traces, carried from event to event by the W3C `traceparent` in the envelope."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_TRACER = trace.get_tracer("lostphone")
_W3C = TraceContextTextMapPropagator()
_recorded = True
"""Where nobody collects spans, a step in a trace is that trace itself: making a span to drop it takes a third of what
handling an event takes."""


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
    global _recorded  # noqa: PLW0603 - as the provider is
    _recorded = otlp_endpoint is not None


def current_traceparent() -> str | None:
    """The `traceparent` of what runs now, for an envelope or a request; None outside any trace."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent")


def span(name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: str | int | bool) -> AbstractContextManager[Span]:
    """A step inside the current trace. Attributes are ids and counts, never personal data."""
    return _step(name, kind, attributes)


def continue_trace(
    traceparent: str | None, name: str, kind: SpanKind, **attributes: str | int | bool
) -> AbstractContextManager[Span]:
    """A step that goes on with the trace of an event, a request, a timer or a command. Where that is another one than
    runs now, the step is linked to what runs now; without a `traceparent` it belongs to that, or begins a new trace.
    """
    here = trace.get_current_span().get_span_context()
    if traceparent is None or (here.is_valid and traceparent.split("-")[1:2] == [format(here.trace_id, "032x")]):
        return _step(name, kind, attributes)
    return _step(name, kind, attributes, _context(traceparent), [Link(here)] if here.is_valid else [])


@lru_cache(1024)
def _context(traceparent: str) -> Context:
    """Read once for the events of a case, which come one soon after another."""
    return _W3C.extract({"traceparent": traceparent})


@contextmanager
def _step(
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, str | int | bool],
    context: Context | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    going_on = trace.get_current_span(context)
    if not _recorded and going_on.get_span_context().is_valid:
        token = attach(trace.set_span_in_context(going_on))
        try:
            yield going_on
        finally:
            detach(token)
        return
    # What an error says may quote what somebody typed: its kind is enough.
    with _TRACER.start_as_current_span(
        name, context, kind, attributes, links, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
