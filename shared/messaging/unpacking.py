"""Batches of records, unpacked no further than a batch may be long.

What is a kilobyte in Kafka may be hundreds of megabytes unpacked: a broker bounds only what is compressed, and aiokafka
unpacks whatever comes. A batch that would be longer is handed over as it lies in Kafka.
"""

import mmap
import threading
import zlib
from collections.abc import Callable

import cramjam
from aiokafka.record.default_records import DefaultRecordBase

MAX_UNPACKED_BYTES = 2 * 1024 * 1024
"""Twice what a batch of ours has at most. Never to be changed: a log that is recorded again has to be the same."""

_HEADER_BYTES = DefaultRecordBase.HEADER_STRUCT.size
_ATTRIBUTES = DefaultRecordBase.ATTRIBUTES_OFFSET + 1
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16


class _Room(threading.local):
    """Of each thread its own, and kept: a new one for each batch took longer than unpacking. Pages that no batch
    has touched are not there."""

    def __init__(self) -> None:
        self.view = memoryview(mmap.mmap(-1, MAX_UNPACKED_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


_ROOM = _Room()


class NotUnpackedError(Exception):
    """The batch is longer than it may be, or damaged."""


def unpacked(batch: memoryview) -> memoryview:
    """The same batch, with its records as they are. Raises `NotUnpackedError`."""
    codec = batch[_ATTRIBUTES] & DefaultRecordBase.CODEC_MASK
    if codec == DefaultRecordBase.CODEC_NONE:
        return batch
    if codec not in _UNPACK:
        raise NotUnpackedError
    try:
        records = _UNPACK[codec](bytes(batch[_HEADER_BYTES:]))
    except (cramjam.DecompressionError, zlib.error) as error:
        raise NotUnpackedError from error
    whole = bytearray(batch[:_HEADER_BYTES]) + records
    whole[_ATTRIBUTES] &= ~DefaultRecordBase.CODEC_MASK
    return memoryview(whole)


def _gzip(data: bytes) -> bytes:
    unpacking = zlib.decompressobj(16 + zlib.MAX_WBITS)
    records = unpacking.decompress(data, MAX_UNPACKED_BYTES + 1)
    if len(records) > MAX_UNPACKED_BYTES or not unpacking.eof or unpacking.unused_data:
        raise NotUnpackedError
    return records


def _into(unpack: Callable[[bytes, memoryview], int]) -> Callable[[bytes], bytes]:
    """cramjam fills the room that it is given, and fails where that does not do."""

    def unpacking(data: bytes) -> bytes:
        room = _ROOM.view
        return bytes(room[: unpack(data, room)])

    return unpacking


def _snappy(data: bytes, room: memoryview) -> int:
    if not data.startswith(_XERIAL):
        return int(cramjam.snappy.decompress_raw_into(data, room))
    at, filled = _XERIAL_HEADER_BYTES, 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], signed=True)
        at += 4
        if size <= 0 or filled == len(room):
            raise NotUnpackedError
        filled += int(cramjam.snappy.decompress_raw_into(data[at : at + size], room[filled:]))
        at += size
    return filled


_UNPACK: dict[int, Callable[[bytes], bytes]] = {
    DefaultRecordBase.CODEC_GZIP: _gzip,
    DefaultRecordBase.CODEC_SNAPPY: _into(_snappy),
    DefaultRecordBase.CODEC_LZ4: _into(cramjam.lz4.decompress_into),
    DefaultRecordBase.CODEC_ZSTD: _into(cramjam.zstd.decompress_into),
}
