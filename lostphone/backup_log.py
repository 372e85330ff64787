"""The log in a backup: the records that the database of the same backup knows of, and no others.

Everything that left an outbox before the snapshot lies in the log before anything that was committed after it. So the
records of a partition are cut before the first that the snapshot does not know: what is behind the cut and was
committed before is still in the restored outbox, and goes to the log again.
"""

import base64
import gzip
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from shared.events import Event, KeyRing, Received, Unopened, read

type Sequences = Mapping[tuple[str, str], int]
"""The last sequence of each source and subject that the snapshot knows."""


def known(record: Received, keyring: KeyRing, sequences: Sequences) -> bool:
    """Whether the snapshot knows of this record. What is no event of ours says nothing about it."""
    reading = read(record, keyring)
    if not isinstance(reading, Event):
        return True
    envelope = reading.envelope
    return envelope.sequence <= sequences.get((envelope.source, envelope.subject), 0)


def cut(found: Iterable[Received], keyring: KeyRing, sequences: Sequences) -> Iterator[Received]:
    """These records, each partition only up to the first that the snapshot does not know."""
    ended: set[int] = set()
    for record in found:
        if record.partition in ended:
            continue
        if known(record, keyring, sequences):
            yield record
        else:
            ended.add(record.partition)


def write(file: Path, found: Iterable[Received]) -> dict[str, int]:
    """One line of JSON a record, compressed; how many there are by topic."""
    counts: dict[str, int] = {}
    with gzip.open(file, "wb", compresslevel=6) as out:
        for record in found:
            out.write(orjson.dumps(_as_json(record)) + b"\n")
            counts[record.topic] = counts.get(record.topic, 0) + 1
    return counts


def read_file(file: Path) -> Iterator[Received]:
    """The records of such a file, in their order."""
    with gzip.open(file, "rb") as lines:
        for line in lines:
            yield _from_json(orjson.loads(line))


def _as_json(record: Received) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp_ms,
        "key": _text(record.key),
        "headers": [[name, _text(data)] for name, data in record.headers],
        "value": _text(record.value),
        **({"unopened": True} if isinstance(record.value, Unopened) else {}),
    }


def _from_json(said: Mapping[str, Any]) -> Received:
    return Received(
        topic=said["topic"],
        partition=said["partition"],
        offset=said["offset"],
        timestamp_ms=said["timestamp"],
        key=_data(said["key"]),
        headers=tuple((name, _data(data)) for name, data in said["headers"]),
        value=Unopened(_data(said["value"]) or b"") if said.get("unopened") else _data(said["value"]),
    )


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _data(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
