"""`python -m services.audit serve | migrate | vkey | rotate | recover | begin | bridge`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from services.audit.app import build
from services.audit.clerk import BegunError, Clerk
from services.audit.domain.leaf import LeafBuilder
from services.audit.feeds.bridge_command import bridge
from services.audit.guard import ForkedError, Guard
from services.audit.kept import Kept
from services.audit.recovery import Recovery, RecoveryError
from services.audit.settings import Settings
from services.audit.timeline import Timeline
from services.audit.tlog import Checkpoint, LogKey, SignedNote, VerifierKey, log_vkey
from shared.events import KeyRing
from shared.postgres import connect
from shared.service import open_kit, service_main

main = service_main("audit", Settings, build, migrations=Path(__file__).parent / "migrations")


@main.command()
def vkey(
    key: Annotated[Path, typer.Argument(help="A private key of the log, PEM.")],
    origin: Annotated[str, typer.Option(help="The log's origin.")],
) -> None:
    """Print the verifier key that readers of the log are given."""
    typer.echo(log_vkey(key, origin))


@main.command()
def rotate(
    new: Annotated[list[Path], typer.Argument(help="The private keys with which the log goes on, PEM.")],
) -> None:
    """Log a change of keys, signed by the present one. Then put the new keys in place and start the service again."""
    settings = Settings.read()

    async def write() -> int:
        async with open_kit("audit", settings) as kit:
            builder = LeafBuilder(settings.blinding_key())
            clerk = Clerk(kit.units, Timeline(builder), builder)
            keys = [LogKey.from_pem(file, settings.log_origin) for file in new]
            return await clerk.keys(settings.log_keys()[0], keys)

    typer.echo(f"entry {asyncio.run(write())} says with which keys the log goes on")


PastKeys = Annotated[list[str] | None, typer.Option("--vkey", help="A verifier key that the log had before.")]


@main.command()
def recover(
    copy: Annotated[Path, typer.Argument(help="A copy of the log, as `lostphone verify --save` makes.")],
    vkey: PastKeys = None,
) -> None:
    """Add the entries that a restored database lacks from a copy of the log, after all of it was verified."""
    settings = Settings.read()

    async def run() -> int:
        pool = await connect(settings.postgres_dsn.get_secret_value(), "audit", max_size=2)
        try:
            keys = [*(key.verifier for key in settings.log_keys()), *map(VerifierKey.of_log, vkey or ())]
            added = await Recovery(copy, keys, KeyRing(settings.event_keys_file)).run(pool)
            async with pool.acquire() as connection:
                await Kept(settings.log_state_dir).put_back(connection, keys)
            return added
        finally:
            await pool.close()

    try:
        typer.echo(f"{asyncio.run(run())} entries were added")
    except RecoveryError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


@main.command()
def begin(
    checkpoint: Annotated[Path, typer.Argument(help="The newest checkpoint of the log that was closed.")],
    vkey: Annotated[list[str], typer.Option(help="Its verifier key.")],
) -> None:
    """Begin a new log under a new origin, where another one could not be recovered: its first entry says from which."""
    settings = Settings.read()

    async def write(closed: Checkpoint, note: bytes) -> None:
        async with open_kit("audit", settings) as kit:
            builder = LeafBuilder(settings.blinding_key())
            guard = Guard(settings.log_origin, [], settings.log_state_dir, None)
            await Clerk(kit.units, Timeline(builder), builder).begin(closed, note, guard)

    try:
        note = SignedNote.parse(checkpoint.read_bytes())
        closed, _ = Checkpoint.signed(note, [VerifierKey.of_log(key) for key in vkey])
        asyncio.run(write(closed, bytes(note)))
    except (OSError, ValueError, ForkedError, BegunError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{settings.log_origin} begins where {closed.origin} was closed, at {closed.size} entries")


main.command("bridge")(bridge)


if __name__ == "__main__":
    main()
