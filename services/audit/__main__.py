"""`python -m services.audit serve | migrate | vkey | bridge`."""

from pathlib import Path
from typing import Annotated

import typer

from services.audit.app import build
from services.audit.feeds.bridge_command import bridge
from services.audit.settings import Settings
from services.audit.tlog import log_vkey
from shared.service import service_main

main = service_main("audit", Settings, build, migrations=Path(__file__).parent / "migrations")


@main.command()
def vkey(
    key: Annotated[Path, typer.Argument(help="A private key of the log, PEM.")],
    origin: Annotated[str, typer.Option(help="The log's origin.")],
) -> None:
    """Print the verifier key that readers of the log are given."""
    typer.echo(log_vkey(key, origin))


main.command("bridge")(bridge)


if __name__ == "__main__":
    main()
