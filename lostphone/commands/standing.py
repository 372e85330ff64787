"""`ops status`: the operator's page."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from lostphone import running
from lostphone.commands.options import AsJson, DataDir
from lostphone.kafka_access import running_connection
from lostphone.screen import NO, CouldNotError, Sentence, result, why
from lostphone.standing import Standing, look
from lostphone.status import Status, data_directory

_MANY = 20
Described = Annotated[
    Path | None,
    typer.Option(
        "--installation",
        help="status --json と同じ形の、別の環境の記述 · Another installation, in the form of status --json.",
    ),
]


def status(
    *,
    installation: Described = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """遅れ・停止・保留と、すべきこと · What is late, stuck or parked, and what to do. Exit 1: a person is needed."""
    found = described(installation, data_dir)
    standing = asyncio.run(look(found, running_connection(found.kafka)))
    result(standing.public(), as_json, lambda out: _draw(out, standing))
    if standing.needs_person:
        raise typer.Exit(NO)


def described(installation: Path | None, data_dir: Path | None) -> Status:
    """The installation of this file, else the running one. Raises `CouldNotError`."""
    if installation is None:
        return running.required(data_directory(data_dir))
    try:
        return Status.model_validate_json(installation.read_bytes())
    except (OSError, ValidationError) as error:
        reason = why(error) if isinstance(error, OSError) else _amiss(error)
        raise CouldNotError(
            f"{installation} は環境の記述として読めません: {reason}",
            f"{installation} does not describe an installation: {reason}",
        ) from error


def _amiss(error: ValidationError) -> str:
    """The first thing, without what the file says: it holds passwords."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def _draw(out: Console, standing: Standing) -> None:
    columns = (
        ("サービス", "service"),
        ("準備", "ready"),
        ("遅れ", "behind"),
        ("未送信", "unsent"),
        ("予定超過", "timers due"),
        ("保留", "parked"),
    )
    table = Table(*(str(Sentence(*column)) for column in columns), box=None, pad_edge=False)
    for name, figures in standing.services.items():
        ready = str(Sentence("可", "yes")) if figures["ready"] else str(Sentence("不可", "no"))
        counts = (str(figures.get(key, "?")) for key in ("lag", "outbox", "timers_due", "parked"))
        table.add_row(name, ready, *counts)
    out.print(table)
    log = standing.services.get("audit", {}).get("log")
    if log:
        signed = f"{log['signed']}/{log['size']}"
        out.print(str(Sentence(f"監査ログ: 署名済み {signed} 件", f"timeline: {signed} entries signed")), markup=False)
    if not standing.findings:
        out.print(str(Sentence("することはありません。", "Nothing to do.")))
    for finding in standing.findings[:_MANY]:
        mark = "!" if finding.level == "person" else "·"
        out.print(f"{mark} {Sentence(*finding.sentences())}", markup=False)
    if len(standing.findings) > _MANY:
        more = len(standing.findings) - _MANY
        out.print(str(Sentence(f"ほか {more} 件(--json で全部)", f"and {more} more (--json shows all)")))
