"""`report`: posts a report of a lost phone, through the signed-in door or the emergency door."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from lostphone.client import Client, connect
from lostphone.commands.options import AsJson, DataDir, Token, Url, Who
from lostphone.screen import CouldNotError, Sentence, language, result, why
from lostphone.status import data_directory


def report(
    *,
    phone: Annotated[
        str | None, typer.Option(help="どの携帯か: 番号、資産番号、IMEI · Number, asset tag, serial or IMEI.")
    ] = None,
    callback: Annotated[
        str | None, typer.Option(help="折り返し先(その携帯以外)· A way to reach you, not that phone.")
    ] = None,
    holder: Annotated[
        str | None, typer.Option(help="持っていた人(代理の報告)· Who held it, when it was not you.")
    ] = None,
    noticed_at: Annotated[str | None, typer.Option(help="気づいた時刻 · When it was noticed (RFC 3339).")] = None,
    cause: Annotated[str | None, typer.Option(help="left_behind, theft, lost_while_out, …")] = None,
    place: Annotated[str | None, typer.Option(help="taxi, train, restaurant, …")] = None,
    circumstances: Annotated[str | None, typer.Option(help="状況 · What happened, in your words.")] = None,
    answers: Annotated[
        Path | None,
        typer.Option("--answers", help="JSON ファイル(- は標準入力)· All answers from a JSON file, - for stdin."),
    ] = None,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="サインインなしの緊急窓口 · The door without sign-in.")
    ] = False,
    organisation: Annotated[str, typer.Option(help="緊急窓口での組織 · Organisation, for --emergency.")] = "",
    data_dir: DataDir = None,
    url: Url = None,
    token: Token = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """紛失を報告する · Report a lost phone."""
    given = {
        "phone": phone,
        "callback": callback,
        "holder_name": holder,
        "noticed_at": noticed_at,
        "cause": cause,
        "place": place,
        "circumstances": circumstances,
    }
    body = _read(answers) | {name: value for name, value in given.items() if value is not None}
    body.setdefault("reported_as", "proxy" if "holder_name" in body else "holder")
    body.setdefault("locale", language())
    if emergency and not organisation:
        raise CouldNotError(
            "--emergency には --organisation も必要です。", "--emergency needs --organisation, such as acme-kk, too."
        )
    role = None if emergency else "employee"
    client = connect("reporter", data_dir=data_directory(data_dir), url=url, token=token, who=who, role=role)
    send(client, body, organisation if emergency else None, as_json)


def send(client: Client, body: dict[str, Any], emergency_for: str | None, as_json: bool) -> None:
    """Post a report and print its receipt; with `emergency_for` through the door without sign-in."""
    if emergency_for is None:
        accepted = client.post("/v1/reports", body)
    else:
        accepted = client.post("/v1/emergency-reports", body | {"organisation": emergency_for})
    result(accepted, as_json, lambda out: _draw(out, accepted))


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        body = json.loads(text)
    except (OSError, ValueError) as error:
        raise CouldNotError(f"{file} を読めません: {why(error)}", f"{file} cannot be read: {why(error)}") from error
    if not isinstance(body, dict):
        raise CouldNotError(f"{file} は JSON オブジェクトではありません。", f"{file} does not hold a JSON object.")
    return body


def _draw(out: Console, accepted: dict[str, Any]) -> None:
    out.print(str(Sentence("受け付けました。", "Accepted.")))
    for name, value in accepted.items():
        if isinstance(value, str | int | bool):
            out.print(f"{name}: {value}", markup=False)
