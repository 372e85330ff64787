"""`timeline`: an incident as the audit service recorded it."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lostphone.client import connect
from lostphone.commands.options import AsJson, DataDir, Token, Url, Who
from lostphone.screen import Sentence, result
from lostphone.status import data_directory
from shared.events import find


def timeline(
    *,
    incident: Annotated[str, typer.Argument(help="案件 · Incident id.")],
    data_dir: DataDir = None,
    url: Url = None,
    token: Token = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """案件の記録を表示 · Print an incident's timeline."""
    client = connect("audit", data_dir=data_directory(data_dir), url=url, token=token, who=who, role="auditor")
    said = client.get(f"/v1/incidents/{incident}/timeline")
    result(said, as_json, lambda out: _draw(out, said))


def _draw(out: Console, said: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in (("#", "#"), ("時刻", "time"), ("出来事", "event"), ("実行者", "by"), ("ログ内の番号", "in the log")):
        table.add_column(str(Sentence(*column)))
    for entry in said["entries"]:
        moment = entry["said_at"] or entry["recorded_at"] or ""
        table.add_row(str(entry["n"]), moment[:19], _name(entry), entry["actor"] or "", str(entry["seq"]))
    out.print(table)
    if sealed := said["sealed"]:
        out.print(str(Sentence(f"封印済み({sealed['seq']} 番)", f"Sealed by entry {sealed['seq']}.")))


def _name(entry: dict[str, Any]) -> str:
    known = find(entry["type"] or "")
    return known.name if known is not None else entry["type"] or entry["kind"]
