"""The one command: `lostphone up`, `report`, `approve`, `timeline`, …"""

import importlib
import sys
import traceback
from typing import Any, Final

import typer
import typer.core

from lostphone.commands import lazy
from lostphone.screen import COULD_NOT, NO, CouldNotError, SaidNoError, settle_rich, what

_COMMANDS: Final = {
    "up": "stack",
    "down": "stack",
    "status": "stack",
    "demo": "lazy",
    "report": "report",
    "approve": "approve",
    "keygen": "approve",
    "timeline": "timeline",
    "tail": "tail",
    "verify": "lazy",
    "drill": "drill",
    "ops": "ops",
}
"""Which module of `lostphone.commands` has it. Only that one is loaded: all together take a second."""


class _Commands(typer.core.TyperGroup):
    """The commands in this order, each loaded when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"lostphone.commands.{_COMMANDS[cmd_name]}")
        if cmd_name == "ops":
            group = typer.main.get_command(_ops(module.ops))
            group.name = cmd_name
            return group
        one = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        passed_on = lazy.PASS_ON if module is lazy else {}
        one.command(cmd_name, context_settings=passed_on)(getattr(module, cmd_name))
        return typer.main.get_command(one)


def _ops(ops: typer.Typer) -> typer.Typer:
    from lostphone.commands import (  # noqa: PLC0415 - as all commands
        backup,
        close_log,
        dead_letters,
        deleted_unread,
        evidence,
        standing,
    )

    if "status" not in [command.name for command in ops.registered_commands]:
        ops.command("status")(standing.status)
        ops.command("backup")(backup.backup)
        ops.command("restore")(backup.restore)
        ops.command("close-log")(close_log.close_log)
        ops.command("deleted-unread")(deleted_unread.deleted_unread)
        ops.command("evidence")(evidence.evidence)
        ops.add_typer(dead_letters.dead_letters, name="dead-letters")
    return ops


app = typer.Typer(
    cls=_Commands,
    name="lostphone",
    help="携帯紛失への対応を、報告から検証できる記録まで · A lost phone, from report to verified timeline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


settle_rich()


@app.callback()
def _lostphone() -> None:
    pass


def main() -> None:
    """Run the command. Exit status: 0 done, 1 the answer is no, 2 could not; nothing unforeseen passes for a no."""
    try:
        app()
    except SaidNoError as answer:
        print(answer.sentence, file=sys.stderr)
        sys.exit(NO)
    except CouldNotError as error:
        print(error.sentence, file=sys.stderr)
        sys.exit(COULD_NOT)
    except OSError as error:  # such as a disk that is full, or a file of somebody else
        print(what(error), file=sys.stderr)
        sys.exit(COULD_NOT)
    except Exception:  # noqa: BLE001 - a mistake of ours, which is no answer
        traceback.print_exc()
        sys.exit(COULD_NOT)


if __name__ == "__main__":
    main()
