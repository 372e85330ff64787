"""`python -m services.reporter serve|migrate`."""

from pathlib import Path

from services.reporter.app import build
from services.reporter.settings import Settings
from shared.service import service_main

main = service_main("reporter", Settings, build, migrations=Path(__file__).parent / "migrations")

if __name__ == "__main__":
    main()
