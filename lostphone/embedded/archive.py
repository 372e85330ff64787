"""Make Kafka's class archive: a throw-away broker runs once, while nobody waits."""

import contextlib
import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lostphone.embedded import jars
from lostphone.embedded.child import Child
from lostphone.embedded.java import find_java
from lostphone.embedded.kafka import START_SECONDS, EmbeddedKafka
from lostphone.embedded.place import tools_folder

STOP_SECONDS = 120


def make_archive() -> Path | None:
    """The archive's path; None when another process is making it now."""
    java, class_path = find_java(), jars.class_path()
    archive = tools_folder() / java.archive_name(class_path)
    with _alone(tools_folder() / "archive.lock") as alone:
        if not alone:
            return None
        if not archive.exists():
            for old in tools_folder().glob("kafka-*.*"):
                old.unlink()
            with tempfile.TemporaryDirectory(dir=tools_folder(), prefix="archive-") as folder:
                fresh = Path(folder) / archive.name
                kafka = EmbeddedKafka(Path(folder) / "kafka", archive=False)
                kafka.start()
                kafka.stop()
                recorder = Child(Path(folder) / "kafka", "recorder")
                recorder.start([
                    *java.command(class_path), java.recording(fresh), "kafka.Kafka", kafka.folder / "server.properties"
                ])  # fmt: skip
                recorder.wait_until(kafka.serves, within=START_SECONDS)
                recorder.stop(within=STOP_SECONDS)
                fresh.rename(archive)
    return archive


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[bool]:
    with file.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
