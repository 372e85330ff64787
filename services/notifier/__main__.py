"""`python -m services.notifier serve|migrate`."""

from pathlib import Path

from services.notifier.app import build
from services.notifier.settings import Settings
from shared.service import service_main

main = service_main("notifier", Settings, build, migrations=Path(__file__).parent / "migrations")

if __name__ == "__main__":
    main()
