"""What one fetch brings of a partition, read whatever somebody else wrote into it. aiokafka gives up, or takes the
memory of the process, at a batch of which no reader would then ever get past:

- one that is compressed, and unpacked longer than any batch may be, is one record, with the batch as it lies in Kafka
  for its value;
- names of headers that are not UTF-8 are read as Kafka's own client reads them: with U+FFFD where a byte means nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

from shared.events import Unopened
from shared.messaging.unpacking import NotUnpackedError, unpacked


def read_whatever_is_fetched() -> None:
    """From here on the consumers of this process do."""
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
            data = unpacked(self._data)
            for record in self._fast if data is self._data else DefaultRecordBatch(data):
                yield record
                read += 1
        except NotUnpackedError:
            # In the place of its last one, so that whoever goes on behind it gets past the batch.
            place = self._fast.next_offset - 1
            yield _Record(place, self._fast.max_timestamp, self._fast.timestamp_type, Unopened(self._data))
        except UnicodeDecodeError:
            yield from islice(_slow(data), read, None)


@dataclass(frozen=True, slots=True)
class _Record:
    """As aiokafka takes one."""

    offset: int
    timestamp: int
    timestamp_type: int
    value: Unopened
    key: None = None
    checksum: None = None
    headers: tuple[()] = ()


def _slow(data: memoryview) -> Any:
    batch = _DefaultRecordBatchPy(data)
    iter(batch)
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
