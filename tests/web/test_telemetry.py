"""Logs are one line of JSON without secrets; traces go on from event to event."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import suppress

import faststream  # noqa: F401 - brings its handler
import httpx2
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from shared.telemetry import bind, configure_logs, configure_traces, continue_trace, current_traceparent, logger, span
from shared.telemetry.logs import REDACTED, Seldom, redact_text


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers, root.level, structlog.get_config()
    stream = io.StringIO()
    configure_logs("reporter", "INFO", stream)
    yield stream
    root.handlers, root.level = before[0], before[1]
    structlog.configure(**before[2])


def entries(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_entry_is_one_line_with_service_time_level_and_what_was_bound(lines: io.StringIO) -> None:
    with bind(incident="i-1", event_id=None):
        logger("services.reporter.handlers").info("report accepted", door="signed_in", text="two\nlines")
    logging.getLogger("a.library").warning("from %s", "elsewhere")
    first, second = entries(lines)
    assert first["event"] == "report accepted"
    assert (first["service"], first["level"], first["incident"]) == ("reporter", "info", "i-1")
    assert first["text"] == "two\nlines"
    assert "event_id" not in first
    assert str(first["timestamp"]).endswith("Z")
    assert (second["event"], second["service"]) == ("from elsewhere", "reporter")
    assert "incident" not in second


def test_a_library_that_brings_a_handler_of_its_own_writes_lines_like_every_other(lines: io.StringIO) -> None:
    logging.getLogger("faststream.broker").error("at postgresql://reporter:hunter2@db/lostphone")
    logging.getLogger("uvicorn.error").error("and here")
    first, second = entries(lines)
    assert first["event"] == f"at postgresql://reporter:{REDACTED}@db/lostphone"
    assert second["event"] == "and here"


def test_what_a_library_says_again_and_again_is_heard_once_a_minute() -> None:
    now = [0.0]
    heard = Seldom("aiokafka", clock=lambda: now[0])

    def said(name: str, text: str, *facts: object) -> tuple[bool, int]:
        record = logging.LogRecord(name, logging.ERROR, "", 0, text, facts, None)
        return bool(heard.filter(record)), getattr(record, "left_out", 0)

    assert said("aiokafka.conn", "Unable connect to node with id %s", 1) == (True, 0)
    assert [said("aiokafka.conn", "Unable connect to node with id %s", at) for at in range(50)] == [(False, 0)] * 50
    assert said("aiokafka.consumer", "Failed fetch messages from %s", 1) == (True, 0)
    now[0] = 61
    assert said("aiokafka.conn", "Unable connect to node with id %s", 1) == (True, 50)
    assert [said("services.reporter", "said") for _ in range(2)] == [(True, 0)] * 2


def test_an_outage_of_kafka_does_not_flood_the_log(lines: io.StringIO) -> None:
    for _ in range(100):
        logging.getLogger("aiokafka.conn").error("Unable connect to node with id %s: %s", 1, "refused")
        logger("relay").warning("relay_waits", error="ConnectionRefusedError", seldom=True)
    logger("relay").warning("relay_waits", error="TimeoutError", seldom=True)
    assert [(entry["event"], entry.get("error")) for entry in entries(lines)] == [
        ("Unable connect to node with id 1: refused", None),
        ("relay_waits", "ConnectionRefusedError"),
        ("relay_waits", "TimeoutError"),
    ]
    assert all("seldom" not in entry for entry in entries(lines))


def test_secrets_are_redacted_by_name_and_by_shape(lines: io.StringIO) -> None:
    logger("x").error(
        "could not connect to postgresql://reporter:hunter2@db/lostphone",
        password="hunter2",  # noqa: S106 - planted
        authorization="Bearer hunter2hunter2",
        nested={"api_key": "hunter2", "list": ["Bearer hunter2hunter2", 3]},
        token_count=3,
        jwt="eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.c2ln",
        pem="-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        raw=b"hunter2",
    )
    text = lines.getvalue()
    assert "hunter2" not in text
    assert "eyJ" not in text
    (entry,) = entries(lines)
    assert entry["event"] == f"could not connect to postgresql://reporter:{REDACTED}@db/lostphone"
    assert entry["token_count"] == 3


def broken(message: str) -> Exception:
    def fail() -> None:
        raise ConnectionError(message)

    try:
        fail()
    except ConnectionError as error:
        return error
    raise AssertionError("unreachable")


def test_a_traceback_is_in_the_same_line_and_redacted(lines: io.StringIO) -> None:
    logger("x").error("no database", exc_info=broken("postgresql://reporter:hunter2@db refused"))
    (entry,) = entries(lines)
    assert "Traceback" in str(entry["exception"])
    assert "hunter2" not in lines.getvalue()


@given(st.text(max_size=500))
def test_redaction_never_fails_and_is_bounded(text: str) -> None:
    assert len(redact_text(text)) <= 4001
    assert redact_text(redact_text(text)) == redact_text(text)


def test_a_trace_goes_on_from_one_service_to_the_next(lines: io.StringIO) -> None:
    configure_traces("reporter")
    assert current_traceparent() is None
    with span("accept report"):
        sent = current_traceparent()
        assert sent
    with continue_trace(sent, "handle", SpanKind.CONSUMER):
        logger("x").info("handled")
        received = current_traceparent()
        assert received
    assert sent.split("-")[1] == received.split("-")[1]
    assert entries(lines)[0]["trace_id"] == sent.split("-")[1]
    with continue_trace("nonsense", "handle", SpanKind.CONSUMER):
        assert current_traceparent()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Spans are recorded only where they are sent: here, to memory."""
    told = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(told))
    monkeypatch.setattr("shared.telemetry.traces._TRACER", provider.get_tracer("test"))
    monkeypatch.setattr("shared.telemetry.traces._recorded", True)
    return told


def test_what_belongs_to_another_trace_goes_there_and_what_names_none_stays(recorded: InMemorySpanExporter) -> None:
    with span("order a command"):
        ordered = current_traceparent()
        assert ordered
        with continue_trace(None, "no trace is named", SpanKind.INTERNAL):
            assert _trace(current_traceparent()) == _trace(ordered)
    with span("webhook") as webhook:
        with continue_trace(ordered, "the command succeeded", SpanKind.INTERNAL):
            assert _trace(current_traceparent()) == _trace(ordered)
            assert current_traceparent() != ordered, "where spans are collected each is a step of its own"
        assert _trace(current_traceparent()) != _trace(ordered)
    (heard,) = [told for told in recorded.get_finished_spans() if told.name == "the command succeeded"]
    assert [link.context for link in heard.links] == [webhook.get_span_context()]


def test_a_step_that_fails_says_the_kind_of_error_and_not_its_words(recorded: InMemorySpanExporter) -> None:
    with suppress(ValueError), span("decode"):
        raise ValueError("input_value=090-1234-5678")
    (failed,) = recorded.get_finished_spans()
    assert failed.status.description == "ValueError"
    assert not failed.events


async def test_the_span_of_a_request_tells_its_route_and_nothing_that_was_asked(
    client: httpx2.AsyncClient, recorded: InMemorySpanExporter
) -> None:
    await client.get("/cases/planted-code?receipt=planted-query")
    (told,) = recorded.get_finished_spans()
    assert told.name == "GET /cases/{code}"
    assert "planted" not in told.to_json()


def _trace(traceparent: str | None) -> str:
    assert traceparent
    return traceparent.split("-")[1]
