"""The one command: `lostphone up`, `report`, `approve`, `timeline`, …"""

import sys

import typer

from lostphone.commands import approve, backup, dead_letters, drill, lazy, ops, report, stack, standing, tail, timeline
from lostphone.screen import COULD_NOT, NO, CouldNotError, SaidNoError

app = typer.Typer(
    name="lostphone",
    help="携帯紛失への対応を、報告から検証できる記録まで · A lost phone, from report to verified timeline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command(context_settings=lazy.PASS_ON)(lazy.demo)
app.command()(report.report)
app.command()(approve.approve)
app.command()(approve.keygen)
app.command()(timeline.timeline)
app.command()(tail.tail)
app.command(context_settings=lazy.PASS_ON)(lazy.verify)
app.command()(drill.drill)
ops.ops.command()(standing.status)
ops.ops.command()(backup.backup)
ops.ops.command()(backup.restore)
ops.ops.add_typer(dead_letters.dead_letters, name="dead-letters")
app.add_typer(ops.ops, name="ops")


def main() -> None:
    """Run the command. Exit status: 0 done, 1 the answer is no, 2 could not."""
    try:
        app()
    except SaidNoError as answer:
        print(answer.sentence, file=sys.stderr)
        sys.exit(NO)
    except CouldNotError as error:
        print(error.sentence, file=sys.stderr)
        sys.exit(COULD_NOT)
    except KeyboardInterrupt:
        sys.exit(COULD_NOT)


if __name__ == "__main__":
    main()
