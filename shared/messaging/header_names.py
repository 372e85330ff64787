"""Names of headers that are not UTF-8, read as Kafka's own client reads them: with U+FFFD where a byte means nothing.

aiokafka gives up at a batch that has one, and no reader would ever get past it.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy


def read_any_header_name() -> None:
    """From here on the consumers of this process read them."""
    fetcher.MemoryRecords = _Batches


class _Batches(_MemoryRecordsPy):  # type: ignore[misc] # aiokafka ships no types
    """What one fetch brought of one partition."""

    def next_batch(self) -> Any:
        data = self._next_slice
        batch = super().next_batch()
        return _Batch(batch, data) if isinstance(batch, DefaultRecordBatch) else batch


class _Batch:
    """aiokafka's fast reader of a batch, with its slow one, which can be helped, behind it."""

    def __init__(self, fast: DefaultRecordBatch, data: memoryview) -> None:
        self._fast = fast
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fast, name)

    def __next__(self) -> Any:
        return next(self._fast)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._fast:
                yield record
                read += 1
        except UnicodeDecodeError:
            yield from islice(_slow(self._data), read, None)


def _slow(data: memoryview) -> Any:
    batch = _DefaultRecordBatchPy(data)
    iter(batch)  # decompresses it
    batch._buffer = _Lenient(batch._buffer)  # noqa: SLF001
    return batch


class _Lenient(bytearray):
    """The parts of it decode whatever they hold."""

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        return _Name(part) if isinstance(part, bytearray) else part


class _Name(bytearray):
    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "replace")
