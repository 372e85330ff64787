"""`ops deleted-unread`: what was deleted from the log before a service had read it."""

import asyncio
import getpass
from typing import Annotated

import asyncpg
import typer
from rich.console import Console

from lostphone import deleted_unread as unread
from lostphone.commands.options import AsJson, DataDir
from lostphone.commands.standing import Described, described
from lostphone.deleted_unread import Deleted
from lostphone.screen import CouldNotError, Sentence, foreign, result, why
from lostphone.status import Status


def deleted_unread(
    *,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="確認を終えた · All of it was seen to: ops status is quiet again.")
    ] = False,
    installation: Described = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """読む前にログから消された記録 · Records deleted before a service read them, and what the timeline has of them."""
    found = _read(described(installation, data_dir), acknowledge=acknowledge)
    result([one.public() for one in found], as_json, lambda out: _draw(out, found))


def _read(status: Status, *, acknowledge: bool) -> list[Deleted]:
    try:
        if acknowledge:
            asyncio.run(unread.acknowledge(status, getpass.getuser()))
        return asyncio.run(unread.read_all(status))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CouldNotError(f"データベースで失敗しました: {why(error)}", f"Database: {why(error)}") from error


def _draw(out: Console, found: list[Deleted]) -> None:
    if not found:
        out.print(str(Sentence("ありません。", "None.")))
    for one in found:
        offsets = f"{one.topic}/{one.partition}@{one.first_offset}-{one.last_offset}"
        seen = f" ({one.acknowledged_at}, {foreign(one.acknowledged_by or '')})" if one.acknowledged_at else ""
        said = Sentence(
            f"{one.service} が読んでいません: {offsets}、{one.noticed_at}{seen}",
            f"{one.service} never read {offsets}, noticed {one.noticed_at}{seen}",
        )
        out.print(str(said))
        for subject, names in one.recorded.items():
            out.print(f"  {foreign(subject)}: {foreign(', '.join(names))}")
        if not one.recorded:
            out.print(f"  {Sentence('タイムラインにもありません。', 'The timeline has none of it.')}")
