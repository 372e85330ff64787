"""`python -m sandbox`: play the parts that LOSTPHONE_SANDBOX_CONFIG names, until SIGTERM. See README.md."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from sandbox import certificates, companies, kept
from sandbox.config import Config, ConfigError
from sandbox.playing import playing

main = typer.Typer(help="The outside world in miniature.", no_args_is_help=False)


@main.callback(invoke_without_command=True)
def play(context: typer.Context) -> None:
    """Play the parts; print one JSON line when all of them answer."""
    if context.invoked_subcommand is None:
        try:
            asyncio.run(_play(Config.from_environment()))
        except ConfigError as error:
            sys.stderr.write(f"{error}\n")
            raise typer.Exit(2) from error


@main.command()
def inventory(organisation: str) -> None:
    """Print an organisation's phones as the CSV file that the inventory import reads."""
    if organisation not in companies.fleet():
        sys.stderr.write(f"fleet.yaml has no organisation {organisation}\n")
        raise typer.Exit(2)
    sys.stdout.write(companies.inventory(organisation))


@main.command()
def authority(cert: Path, key: Annotated[Path, typer.Argument()]) -> None:
    """Make the phones' certificate authority in these files, when it is not there yet."""
    certificates.authority(cert, key)


async def _play(config: Config) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with playing(config) as addresses:
        line = orjson.dumps({"ready": True, "parts": addresses}) + b"\n"
        if config.notify is not None:
            kept.write(config.notify, line)
        sys.stdout.buffer.write(line)
        sys.stdout.flush()
        await ended.wait()


if __name__ == "__main__":
    main()
