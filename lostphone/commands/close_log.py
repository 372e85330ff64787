"""`ops close-log`: makes room for a log under a new origin, where the old one cannot be continued honestly."""

import asyncio

import asyncpg

from lostphone.commands.backup import Postgres
from lostphone.commands.options import AsJson
from lostphone.database import TimelineInUseError, set_timeline_aside
from lostphone.screen import CouldNotError, SaidNoError, Sentence, result


def close_log(*, postgres: Postgres = None, as_json: AsJson = False) -> None:
    """続けられないログを閉じる · Set the tables of the timeline aside, for `services.audit begin`; nothing is lost."""
    if postgres is None:
        raise CouldNotError(
            "データベースのスーパーユーザーの DSN を --postgres で指定してください。",
            "Name the database, as its superuser, with --postgres.",
        )
    try:
        aside = asyncio.run(set_timeline_aside(postgres))
    except TimelineInUseError as error:
        raise SaidNoError("audit が動いています。先に止めてください。", str(error)) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CouldNotError(f"閉じられません: {error}", f"Not closed: {error}") from error
    said = Sentence(f"ログのテーブルは {aside} にあります。", f"The tables of the log are in the schema {aside}.")
    result({"schema": aside}, as_json, lambda out: out.print(str(said)))
