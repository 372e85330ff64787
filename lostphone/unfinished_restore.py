"""A restore that was interrupted: nothing may start on what it left, and another one goes over it.

It leaves a mark in the data directory from before it changes anything until all is in place.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from lostphone import topic_reader, topics
from lostphone.backup import BackupError
from lostphone.batch_writer import without_producer, without_times
from lostphone.private_file import replace_private
from lostphone.refill import end_what_was_begun
from lostphone.screen import CouldNotError
from shared.events import LOG_TOPIC, Received, Unopened
from shared.events.contracts import dead_letter_topic
from shared.events.contracts.topics import SERVICES

FILE: Final = "restore-under-way.json"
_WRITTEN = {LOG_TOPIC, *map(dead_letter_topic, SERVICES)}


def require_done(data_dir: Path) -> None:
    """Raises `CouldNotError` when a restore was interrupted."""
    if is_marked(data_dir):
        raise CouldNotError(
            "復元が途中です。lostphone ops restore をもう一度実行してください。",
            "A restore was interrupted. Run lostphone ops restore again.",
        )


def is_marked(data_dir: Path) -> bool:
    """Whether one was interrupted, or is under way."""
    return (data_dir / FILE).exists()


def wrote_log(data_dir: Path) -> bool:
    """Whether the one that was interrupted found the log empty, so that what lies in it now is its own."""
    return is_marked(data_dir) and bool(json.loads((data_dir / FILE).read_bytes())["writes_log"])


@contextmanager
def marked(data_dir: Path, *, writes_log: bool) -> Iterator[None]:
    """The mark stays when what is done inside fails."""
    replace_private(data_dir / FILE, json.dumps({"writes_log": writes_log}).encode())
    yield
    (data_dir / FILE).unlink()


def start_over(connection: Mapping[str, Any], kept: Iterator[Received]) -> None:
    """Make the log anew that one wrote in part. Raises `BackupError`, and changes nothing, when it holds anything but
    what is kept; else `BrokerError`."""
    strange = _strange(connection, kept)
    if strange is not None:
        raise BackupError(
            f"a restore was interrupted, and {strange.topic}/{strange.partition}@{strange.offset} is not of this "
            "backup: restore the same one again, or begin in an empty place"
        )
    # Its end would come to lie in the new topic.
    end_what_was_begun(connection)
    wanted = {topic.name: topic for topic in topics.manifest() if topic.name in _WRITTEN}
    topics.delete(connection, list(wanted))
    topics.apply(connection, wanted.values())


def _strange(connection: Mapping[str, Any], kept: Iterator[Received]) -> Received | None:
    """A record of the log that is not of the backup."""
    with closing(topic_reader.records(connection, LOG_TOPIC, topic_reader.ends(connection, LOG_TOPIC))) as found:
        for theirs in found:
            if (theirs.key, theirs.headers, theirs.value) == (None, (), None):
                continue  # stands for a beginning that is deleted when all is written
            place = (theirs.partition, theirs.offset)
            mine = next((mine for mine in kept if (mine.partition, mine.offset) == place), None)
            if mine is None or not same(mine, theirs):
                return theirs
    return None


def same(mine: Received, theirs: Received) -> bool:
    """Whether one is the other, or what a restore wrote in its place."""
    return _bare(mine) == _bare(theirs)


def _bare(record: Received) -> Received:
    if not isinstance(record.value, Unopened):
        return record
    # The broker's time of the whole batch is not brought back: the new one takes that of the records.
    return dataclasses.replace(record, value=without_times(without_producer(record.value)), timestamp_ms=0)
