"""`python -m shared.events.contracts [--check] [--root FOLDER]`"""

import argparse
import sys
from pathlib import Path

from shared.events.contracts.files import differences, write


def main() -> int:
    """0: done, or nothing differs. 1: with `--check`, files differ."""
    parser = argparse.ArgumentParser(prog="python -m shared.events.contracts", description="Generate the contracts.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout (default: here)")
    arguments = parser.parse_args()
    if arguments.check:
        found = differences(arguments.root)
        for line in found:
            sys.stderr.write(f"{line}\n")
        if found:
            sys.stderr.write("run: python -m shared.events.contracts\n")
        return 1 if found else 0
    write(arguments.root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
