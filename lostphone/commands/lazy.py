"""`demo` and `verify`: commands with options of their own, whose modules load only when they are asked for."""

import importlib
from typing import Any, Final

import typer

from lostphone.screen import CouldNotError

PASS_ON: Final[dict[str, Any]] = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],
}
"""Everything after the command's name is for the module's own command line, `--help` too."""


def demo(context: typer.Context) -> None:
    """物語を最初から最後まで見る · Watch the whole story, from a lost phone to the verified timeline."""
    _run("lostphone.demo", context)


def verify(context: typer.Context) -> None:
    """記録が改ざんされていないことを検証 · Prove that the timeline is whole and unchanged."""
    _run("lostphone.verify", context)


def _run(module: str, context: typer.Context) -> None:
    """Run the module's `app`, a typer application."""
    try:
        app = importlib.import_module(module).app
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise CouldNotError(
            f"この環境には {module} がありません。", f"{module} is not part of this installation."
        ) from error
    name = f"lostphone {module.rpartition('.')[2]}"
    status = typer.main.get_command(app).main(args=context.args, prog_name=name, standalone_mode=False)
    if isinstance(status, int) and status:
        raise typer.Exit(status)
