"""`timeline`: an incident as the audit service recorded it."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lostphone.client import connect
from lostphone.commands.options import AsJson, DataDir, Token, Url, Who
from lostphone.screen import Sentence, result
from lostphone.status import data_directory


def timeline(
    *,
    incident: Annotated[str, typer.Argument(help="事案 · Incident id.")],
    data_dir: DataDir = None,
    url: Url = None,
    token: Token = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """事案の記録を表示 · Print an incident's timeline."""
    client = connect("audit", data_dir=data_directory(data_dir), url=url, token=token, who=who, role="auditor")
    said = client.get(f"/v1/incidents/{incident}/timeline")
    result(said, as_json, lambda out: _draw(out, said))


def _draw(out: Console, said: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in (("#", "#"), ("時刻", "time"), ("出来事", "event"), ("実行者", "by"), ("場所", "place in the log")):
        table.add_column(str(Sentence(*column)))
    for entry in said.get("entries", []):
        table.add_row(*(str(entry.get(name, "")) for name in ("n", "time", "type", "actor", "seq")))
    out.print(table)
