"""Install and lock what the embedded stack runs: `python -m lostphone.embedded install | lock | archive`."""

import os
import sys
import time

from lostphone.embedded import jars, nanomdm
from lostphone.embedded.archive import make_archive
from lostphone.embedded.errors import EmbeddedError
from lostphone.embedded.java import find_java
from lostphone.embedded.postgres import find_programs

USAGE = "usage: python -m lostphone.embedded install | lock | archive"


def install() -> None:
    """Kafka's jars and NanoMDM, with a line for each; and a look at Java and PostgreSQL, which are wheels."""
    find_java()
    find_programs()
    if jars.install(_show_jars):
        _say(f"  Apache Kafka: {len(jars.locked_jars())} jars installed")
    if not nanomdm.is_built():
        _say(f"  NanoMDM {nanomdm.VERSION}: building, about a minute the first time …")
        began = time.monotonic()
        nanomdm.build()
        _say(f"  NanoMDM {nanomdm.VERSION}: built in {time.monotonic() - began:.0f} s")


def _show_jars(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r  Apache Kafka: {done} of {total} jars", end="\r", file=sys.stderr, flush=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main(words: list[str]) -> int:
    try:
        match words:
            case ["install"]:
                install()
            case ["lock"]:
                print(f"{jars.lock()} jars locked in {jars.LOCK.name}")
            case ["archive"]:
                os.nice(10)
                make_archive()
            case _:
                print(USAGE, file=sys.stderr)
                return 2
    except EmbeddedError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
