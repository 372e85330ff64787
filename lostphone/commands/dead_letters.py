"""`ops dead-letters`: what the services could not handle, looked at and offered to them again."""

import asyncio
import getpass
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from lostphone import running
from lostphone.commands.ops import Bootstrap, _broker, _connection
from lostphone.commands.options import AsJson, DataDir
from lostphone.dead_letters import DeadLetter, read_all, redrive, settled, states
from lostphone.installation import SERVICES
from lostphone.screen import NO, CouldNotError, SaidNoError, Sentence, foreign, progress, result, why
from lostphone.status import Status, data_directory
from lostphone.topics import BrokerError
from shared.events.contracts import REDRIVABLE

dead_letters = typer.Typer(help="処理できなかった記録 · Records that could not be handled.", no_args_is_help=True)
_WAIT_SECONDS = 20.0

Service = Annotated[str | None, typer.Option(help="このサービスだけ · Only of this service.")]
Ids = Annotated[list[str], typer.Argument(help="list が示す番号 · Ids, as list shows them.", metavar="ID...")]


@dead_letters.command("list")
def list_(
    *, service: Service = None, bootstrap: Bootstrap = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """処理できず脇に置かれた記録 · Records that were parked, with the reason and what became of them."""
    letters = _read(service, bootstrap, data_dir)
    result([letter.public() for letter in letters], as_json, lambda out: _draw(out, letters))


@dead_letters.command()
def show(*, ids: Ids, bootstrap: Bootstrap = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """ヘッダーと中身を示す · Show the headers and the value of parked records."""
    letters = _chosen(_read(None, bootstrap, data_dir), ids)
    result([letter.whole() for letter in letters], as_json, lambda out: _draw_whole(out, letters))
    for letter in letters:
        if not letter.is_legible:
            progress(
                f"{letter.id}: 中身は JSON ではないか、入れ子が深すぎて並べられません。base64 で示しました。",
                f"{letter.id}: its value is not JSON, or nests too deep to be laid out. It is shown in base64.",
            )


@dead_letters.command("redrive")
def redrive_(
    *,
    ids: Annotated[
        list[str] | None, typer.Argument(help="list が示す番号 · Ids, as list shows them.", metavar="[ID...]")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="待っているものすべて · All that wait.")] = False,
    service: Service = None,
    kind: Annotated[str | None, typer.Option("--type", help="この型だけ · Only events of this type.")] = None,
    subject: Annotated[str | None, typer.Option(help="この対象だけ · Only of this subject.")] = None,
    reason: Annotated[str | None, typer.Option(help="この理由だけ · Only with this reason.")] = None,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="実際に行う(既定は試行)· Do it; default is a dry run.")
    ] = False,
    bootstrap: Bootstrap = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """サービスにもう一度渡す · Offer parked records to their service again; each acts once. Exit 1 when one did not."""
    if not ids and not every:
        raise CouldNotError(
            "番号を挙げるか --all を付けてください。", "Name letters by their ids, or say --all with filters."
        )
    letters = _read(service, bootstrap, data_dir)
    if ids:
        letters = _chosen(letters, ids)
        _refuse_unless_redrivable(letters)
    wanted = {"type": kind, "subject": subject, "reason": reason}
    letters = [
        letter
        for letter in letters
        if letter.state in ("", "waiting")
        and letter.service in REDRIVABLE
        and all(value is None or getattr(letter, name) == value for name, value in wanted.items())
    ]
    if apply:
        letters = _apply(letters, bootstrap, data_dir)
    said = {"applied": apply, "letters": [letter.public() for letter in letters]}
    result(said, as_json, lambda out: _draw_redriven(out, letters, apply))
    if apply and any(letter.state == "waiting" for letter in letters):
        progress("まだ処理できていない記録があります。", "Some did not act; the service's log says why.")
        raise typer.Exit(NO)


def _read(service: str | None, bootstrap: str | None, data_dir: Path | None) -> list[DeadLetter]:
    if service is not None and service not in SERVICES:
        raise CouldNotError(f"{service} というサービスはありません。", f"There is no service {service}.")
    try:
        letters = read_all(_connection(bootstrap, data_dir), [service] if service else SERVICES)
    except BrokerError as error:
        raise _broker(error) from error
    status = _status(bootstrap, data_dir)
    if status is None:
        return letters
    known = {name: _asked(states(status.postgres[name].dsn, name)) for name in {letter.service for letter in letters}}
    return [_with_state(letter, known[letter.service].get(letter.place, "")) for letter in letters]


def _apply(letters: list[DeadLetter], bootstrap: str | None, data_dir: Path | None) -> list[DeadLetter]:
    try:
        redrive(_connection(bootstrap, data_dir), letters, by=getpass.getuser())
    except BrokerError as error:
        raise _broker(error) from error
    status = _status(bootstrap, data_dir)
    if status is None:
        return letters
    found: dict[str, str] = {}
    for name in {letter.service for letter in letters}:
        own = [letter for letter in letters if letter.service == name]
        found |= _asked(settled(status.postgres[name].dsn, own, _WAIT_SECONDS))
    return [_with_state(letter, found[letter.id]) for letter in letters]


def _status(bootstrap: str | None, data_dir: Path | None) -> Status | None:
    return None if bootstrap is not None else running.running(data_directory(data_dir))


def _asked(question: Any) -> Any:
    try:
        return asyncio.run(question)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CouldNotError(f"データベースで失敗しました: {why(error)}", f"Database: {why(error)}") from error


def _with_state(letter: DeadLetter, state: str) -> DeadLetter:
    return DeadLetter(**{**{name: getattr(letter, name) for name in letter.__slots__}, "state": state})


def _chosen(letters: list[DeadLetter], ids: list[str]) -> list[DeadLetter]:
    by_id = {letter.id: letter for letter in letters}
    missing = [name for name in ids if name not in by_id]
    if missing:
        raise SaidNoError(f"見つかりません: {', '.join(missing)}", f"There is no dead letter {', '.join(missing)}.")
    return [by_id[name] for name in ids]


def _refuse_unless_redrivable(letters: list[DeadLetter]) -> None:
    left = [letter.id for letter in letters if letter.service not in REDRIVABLE]
    if left:
        raise SaidNoError(
            f"渡し直せません。タイムラインに欠けとして残ります: {', '.join(left)}",
            f"What audit could not record stays a gap in the timeline and is not offered again: {', '.join(left)}.",
        )


def _draw(out: Console, letters: list[DeadLetter]) -> None:
    if not letters:
        out.print(str(Sentence("ありません。", "None.")))
        return
    columns = (
        ("番号", "id"),
        ("時刻", "parked at"),
        ("型", "type"),
        ("対象", "subject"),
        ("元の場所", "from"),
        ("理由", "reason"),
        ("状態", "state"),
    )
    table = Table(*(str(Sentence(*column)) for column in columns), box=None, pad_edge=False)
    for letter in letters:
        said = (letter.id, letter.parked_at, letter.type, letter.subject, letter.origin, letter.reason, letter.state)
        table.add_row(*map(foreign, said))
    out.print(table)


def _draw_whole(out: Console, letters: list[DeadLetter]) -> None:
    for letter in letters:
        whole = letter.whole()
        headers, value = whole.pop("headers"), whole.pop("value")
        for name, said in [*whole.items(), *headers.items()]:
            out.print(f"{foreign(name)}: {foreign(said)}")
        out.print_json(data=value)


def _draw_redriven(out: Console, letters: list[DeadLetter], applied: bool) -> None:
    _draw(out, letters)
    if not applied:
        out.print(
            str(Sentence("試行です。行うには --apply を付けます。", "A dry run. Add --apply to offer them again."))
        )
