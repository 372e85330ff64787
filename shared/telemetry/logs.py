"""structlog: one line of JSON per entry on standard error, with service, trace and what was bound, without secrets."""

import logging
import re
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TextIO

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import Processor

_SECRET_NAME = re.compile(
    r"password|passwd|passcode|secret|token|authorization|cookie|api_?key|private_?key|signature|\bpin\b|dsn|code_verifier",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://[^\s:/@]+:)[^\s@/]+(?=@)"  # the password in an address
    r"|(?P<bearer>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"  # a JSON web token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)
_INPUT = re.compile(
    r"(?P<pydantic>\binput_value=).*?(?=, input_type=)"  # what was typed, in pydantic's words
    r"|(?P<postgres>^(?:DETAIL|CONTEXT):)[^\n]*$",  # the row that was refused, in PostgreSQL's
    re.DOTALL | re.MULTILINE,
)
REDACTED = "[redacted]"
_MAX_TEXT = 4000
_MAX_DEPTH = 6

_REPEATED_SECONDS = 60.0
_MOST_REPEATED = 1000

type Entry = MutableMapping[str, Any]

_FACTS: ContextVar[dict[str, str]] = ContextVar("facts", default={})  # noqa: B039 - it is never changed


class Seldom(logging.Filter):
    """Lets through once a minute, with how often it was left out meanwhile, what is said again and again while
    something is away: by a library, and by us where an entry has `seldom=True`.
    """

    def __init__(self, library: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._library = library
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this entry is written."""
        ours: Entry = record.msg if isinstance(record.msg, dict) else {}
        if ours.pop("seldom", False):
            what = record.name, f"{ours['event']} {ours.get('error')}"
        elif record.name.partition(".")[0] == self._library:
            what = record.name, str(record.msg)
        else:
            return True
        now = self._clock()
        said_at, left_out = self._said.get(what, (float("-inf"), 0))
        if now - said_at < _REPEATED_SECONDS:
            self._said[what] = said_at, left_out + 1
            return False
        if len(self._said) >= _MOST_REPEATED:
            self._said.clear()
        self._said[what] = now, 0
        if left_out and ours:
            ours["left_out"] = left_out
        elif left_out:
            record.left_out = left_out
        return True


def configure_logs(service: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Every entry of this process, those of libraries too, becomes one line of JSON on `stream` (standard error)."""
    before: list[Processor] = [
        partial(_of_service, service),
        _bound,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        _trace,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                structlog.processors.JSONRenderer(serializer=_dump),
            ],
        )
    )
    handler.addFilter(Seldom("aiokafka"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "httpx2", "httpcore2", "faststream", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    for writing_itself in ("uvicorn", "uvicorn.error", "uvicorn.access", "faststream"):
        logging.getLogger(writing_itself).handlers = []
        logging.getLogger(writing_itself).propagate = True


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger; `name` is the module's."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


@contextmanager
def bind(**facts: str | None) -> Iterator[None]:
    """Say in every entry inside the block what it is about: `incident`, `event_id`, `organisation`."""
    # One variable for all: structlog has one for each name, and every event that is handled binds three.
    before = _FACTS.set(_FACTS.get() | {name: fact for name, fact in facts.items() if fact is not None})
    try:
        yield
    finally:
        _FACTS.reset(before)


def redact(_logger: Any, _method: str, entry: Entry) -> Entry:
    """Replace what looks like a secret, by its name or by its shape."""
    return {name: _redacted(name, value, 0) for name, value in entry.items()}


def _redacted(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_NAME.search(name):
        return REDACTED
    if isinstance(value, bytes) or depth > _MAX_DEPTH:
        return f"<{type(value).__name__}>"
    if isinstance(value, dict):
        return {str(key): _redacted(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", item, depth + 1) for item in value]
    return redact_text(str(value))


def redact_text(text: str) -> str:
    """The text without secrets and the values that error messages quote; of a long one 4,000 characters, its beginning
    and its end.
    """
    clean = _SECRET_VALUE.sub(lambda match: (match["scheme"] or match["bearer"] or "") + REDACTED, text)
    clean = _INPUT.sub(lambda match: (match["pydantic"] or match["postgres"]) + REDACTED, clean)
    return clean if len(clean) <= _MAX_TEXT else f"{clean[: _MAX_TEXT // 3]}…{clean[-_MAX_TEXT * 2 // 3 :]}"


def _bound(_logger: Any, _method: str, entry: Entry) -> Entry:
    return {**_FACTS.get(), **entry}


def _of_service(service: str, _logger: Any, _method: str, entry: Entry) -> Entry:
    entry["service"] = service
    return entry


def _trace(_logger: Any, _method: str, entry: Entry) -> Entry:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        entry["trace_id"] = format(context.trace_id, "032x")
    return entry


def _dump(entry: Any, **_: Any) -> str:
    return orjson.dumps(entry, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
