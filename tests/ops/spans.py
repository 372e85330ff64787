"""A collector of traces: takes what services export over OTLP/HTTP, and keeps it in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Step:
    """One span."""

    trace: str
    id: str
    parent: str
    service: str
    name: str
    subject: str


class Collector:
    """What was exported to it so far."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._steps: list[Step] = []

    def steps(self, trace: str) -> list[Step]:
        """The spans of one trace, in the order in which they ended."""
        return [step for step in self._steps if step.trace == trace]

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            said = {fact.key: fact.value.string_value for fact in resource.resource.attributes}
            self._steps += [
                Step(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    said["service.name"].removeprefix("lostphone-"),
                    span.name,
                    next((fact.value.string_value for fact in span.attributes if fact.key == "subject"), ""),
                )
                for scope in resource.scope_spans
                for span in scope.spans
            ]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector at an address of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
