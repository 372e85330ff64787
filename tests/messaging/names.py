"""Names of headers that are not UTF-8, as a client of another make may write them."""

from typing import Self

import pytest
from aiokafka.producer import message_accumulator, producer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy


class NameInBytes(str):
    """The name of a header, which is written as these bytes."""

    __slots__ = ("data",)

    def __new__(cls, data: bytes) -> Self:
        name = super().__new__(cls, data.decode(errors="replace"))
        name.data = data
        return name

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self.data


def write_any_header_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on our producer takes such names. The batch has to be worth compressing: Kafka writes one that is not
    compressed anew, with names that are UTF-8."""
    for module in (message_accumulator, producer):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
