"""Kafka's own jars, kept in `.lostphone/kafka`: resolved by jgo from jgo.toml, locked with hashes in jgo.lock.toml.

`python -m lostphone.embedded lock` resolves anew; `install` fetches what the lock names. The lock holds no addresses:
jars come from Maven Central, or from the repository that `LOSTPHONE_MAVEN_REPOSITORY` names.
"""

import hashlib
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lostphone.embedded.errors import EmbeddedError
from lostphone.embedded.java import OLDEST
from lostphone.embedded.place import PROJECT, tools_folder

# jgo takes a third of a second to import, so only the two functions that resolve and fetch do it.
if TYPE_CHECKING:
    from jgo.maven import MavenContext

SPEC = PROJECT / "jgo.toml"
LOCK = PROJECT / "jgo.lock.toml"
DOWNLOADS_AT_ONCE = 8

type Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Jar:
    """One entry of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def locked_jars() -> list[Jar]:
    """What jgo.lock.toml names, in the order of their file names: a class archive fits one order only."""
    entries = tomllib.loads(LOCK.read_text())["dependencies"]
    jars = [Jar(entry["groupId"], entry["artifactId"], entry["version"], entry["sha256"]) for entry in entries]
    return sorted(jars, key=lambda jar: jar.file_name)


def jars_folder() -> Path:
    return tools_folder() / "kafka"


def class_path() -> list[Path]:
    """Every jar of the lock. Raises EmbeddedError when one is missing."""
    paths = [jars_folder() / jar.file_name for jar in locked_jars()]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise EmbeddedError(
            f"{len(missing)} of Kafka's {len(paths)} jars are missing from {jars_folder()}: run `make install`."
        )
    return paths


def install(progress: Progress = lambda _done, _all: None) -> bool:
    """Fetch what the lock names and check every hash. False when all was there already."""
    locked = locked_jars()
    folder = jars_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for stray in {path.name for path in folder.glob("*.jar")} - {jar.file_name for jar in locked}:
        (folder / stray).unlink()
    wanted = [jar for jar in locked if _sha256(folder / jar.file_name) != jar.sha256]
    if not wanted:
        return False
    with tempfile.TemporaryDirectory(dir=tools_folder(), prefix="jars-") as cache:
        context = _context(Path(cache))
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            fetches = [pool.submit(_fetch, context, jar, folder) for jar in wanted]
            for done, fetch in enumerate(as_completed(fetches), start=1):
                fetch.result()
                progress(done, len(fetches))
    return True


def lock() -> int:
    """Resolve jgo.toml and write jgo.lock.toml; the number of jars."""
    from jgo.env import EnvironmentBuilder, EnvironmentSpec, LockFile, compute_spec_hash  # noqa: PLC0415

    spec = EnvironmentSpec.load(SPEC)
    with tempfile.TemporaryDirectory() as cache:
        context = _context(Path(cache) / "repository")
        # jgo's own `lock` command sorts jars into modules with a JDK that it downloads; a class path needs no such.
        wanted = EnvironmentBuilder(context, cache_dir=Path(cache)).spec_to_dependencies(spec)
        asked, brought = context.resolver.resolve(wanted)
        jars = sorted(
            (jar for jar in [*asked, *brought] if jar.scope in ("compile", "runtime")),
            key=lambda jar: (jar.artifact.groupId, jar.artifact.artifactId),
        )
        LockFile.from_resolved_dependencies(
            jars, environment_name=spec.name, java_version=spec.java_version, spec_hash=compute_spec_hash(SPEC)
        ).save(LOCK)
    return len(jars)


def _context(repository: Path) -> "MavenContext":
    from jgo.maven import MavenContext, ProfileConstraints, PythonResolver  # noqa: PLC0415

    named = os.environ.get("LOSTPHONE_MAVEN_REPOSITORY")
    # The oldest Java is named so that the answer does not depend on the machine that asks.
    resolver = PythonResolver(profile_constraints=ProfileConstraints(jdk=str(OLDEST)))
    return MavenContext(
        resolver=resolver, repo_cache=repository, remote_repos={"named": named} if named else None, timeout=60
    )


def _fetch(context: "MavenContext", jar: Jar, folder: Path) -> None:
    name = jar.file_name
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    try:
        found = component.artifact().resolve()
    except (OSError, RuntimeError) as error:
        raise EmbeddedError(
            f"Could not download {name} ({type(error).__name__}): check the network, or name a reachable repository in "
            "LOSTPHONE_MAVEN_REPOSITORY, and run `make install` again."
        ) from error
    if _sha256(found) != jar.sha256:
        raise EmbeddedError(f"{name} does not have the hash that jgo.lock.toml names; nothing was installed from it.")
    shutil.move(found, folder / name)


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
