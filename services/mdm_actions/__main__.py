"""`python -m services.mdm_actions serve|migrate`."""

from pathlib import Path

from services.mdm_actions.app import build
from services.mdm_actions.settings import Settings
from shared.service import service_main

main = service_main("mdm_actions", Settings, build, migrations=Path(__file__).parent / "migrations")

if __name__ == "__main__":
    main()
